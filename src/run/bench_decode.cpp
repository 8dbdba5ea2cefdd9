#include "run/bench_decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "run/generator.h"
#include "train/batch_runner.h"

namespace sft {

namespace {

constexpr int kRuns = 4;  // the first choose algorithms and record; the fastest of them counts

template <class Work>
double fastest(Device& device, const Work& work) {
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    device.synchronize();
    const auto start = std::chrono::steady_clock::now();
    work();
    device.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = i == 0 ? took.count() : std::min(best, took.count());
  }
  return best;
}

double read_weight_bytes(const LoadedModel& model) {
  const std::vector<Tensor> tensors = model.parameters();
  const std::vector<const ParamSpec*> specs = model.model.parameters();
  double bytes = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool head = specs[i]->name == kEmbeddingWeight && model.model.config.tied;
    const bool table = specs[i]->words && !head;
    bytes += table ? 0.0 : static_cast<double>(tensors[i].bytes());
  }
  return bytes;
}

}  // namespace

DecodeResult run_decode_bench(const BenchSettings& settings, int64_t tokens, LoadedModel& model,
                              Device& device) {
  const ModelConfig& config = model.model.config;
  if (settings.seq + tokens > config.max_positions) {
    throw Error("C067", fmt::format("--seq {} and --new_tokens {} are more than the model's {} "
                                    "positions",
                                    settings.seq, tokens, config.max_positions))
        .hint("--seq 512 --new_tokens 128");
  }
  BenchSettings one = settings;
  one.batch = 1;
  one.trained_share = 1.0 / static_cast<double>(settings.seq);
  const MicroBatch batch = random_batch(one, config.vocab, 0);
  Arena arena(device);
  DecodeResult result;
  result.weight_bytes = read_weight_bytes(model);
  {
    BatchRunner runner(device, arena, model, {}, {.most_tokens = settings.seq, .training = false});
    result.forward_s = fastest(device, [&] {
      runner.run(batch, 1.0F, true);
      runner.collect();
    });
  }
  Generator generator(device, model, {settings.seq + tokens, 1}, &arena);
  std::vector<float> logits;
  result.read_s = fastest(device, [&] {
    generator.rewind(0);
    const std::span<const float> last = generator.feed(batch.tokens);
    logits.assign(last.begin(), last.end());
  });
  const SamplingOptions greedy;
  const double all = fastest(device, [&] {
    generator.rewind(settings.seq);
    result.written = 0;
    generator.write(logits, tokens, greedy, [&](int32_t) {
      ++result.written;
      return true;
    });
  });
  result.token_s = all / static_cast<double>(std::max<int64_t>(1, result.written - 1));
  return result;
}

}  // namespace sft
