#include "run/sample_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "run/batch_writer.h"
#include "text/answer_scores.h"

namespace sft {

namespace {

constexpr uint64_t kSamples = 0x5A;  // of the seed: other draws than training's

SamplingOptions sampling_of(const TrainOptions& o) {
  SamplingOptions sampling;
  sampling.sample = o.report.eval_do_sample;
  sampling.temperature = o.report.eval_temperature;
  sampling.top_k = 0;
  sampling.seed = static_cast<uint64_t>(o.seed) ^ kSamples;
  return sampling;
}

// Answers as numbers that ranks can add up: of each its length, whether it ended, and its tokens.
class Sheet {
 public:
  Sheet(size_t answers, int64_t most)
      : row_(static_cast<size_t>(most) + 2), values_(answers * row_) {}

  void put(size_t answer, const Writing& writing) {
    double* at = values_.data() + answer * row_;
    at[0] = static_cast<double>(writing.ids.size());
    at[1] = writing.ended ? 1 : 0;
    std::ranges::copy(writing.ids, at + 2);
  }
  Writing get(size_t answer) const {
    const double* at = values_.data() + answer * row_;
    Writing writing;
    writing.ended = at[1] > 0;
    for (size_t i = 0; i < static_cast<size_t>(at[0]); ++i) {
      writing.ids.push_back(static_cast<int32_t>(at[2 + i]));
    }
    return writing;
  }
  std::span<double> values() { return values_; }

 private:
  size_t row_;
  std::vector<double> values_;
};

WrittenSamples scored(std::vector<SampleLog> samples) {
  double exact = 0, rouge = 0, compared = 0;
  for (const SampleLog& sample : samples) {
    if (sample.reference) {
      exact += is_exact_match(sample.text, *sample.reference) ? 1 : 0;
      rouge += rouge_l(sample.text, *sample.reference);
      ++compared;
    }
  }
  WrittenSamples out{std::move(samples), {}};
  if (compared > 0) {
    out.metrics = {{"eval_exact_match", exact / compared}, {"eval_rougeL", rouge / compared}};
  }
  return out;
}

}  // namespace

GeneratorRoom sample_room(const std::vector<Prompt>& prompts, const TrainOptions& options,
                          const ModelConfig& config, int world) {
  size_t longest = 0;
  for (const Prompt& prompt : prompts) {
    longest = std::max(longest, prompt.ids.size());
    if (static_cast<int64_t>(prompt.ids.size()) >= config.max_positions) {
      throw Error("M037", fmt::format("a prompt has {} tokens, and the model has {} positions",
                                      prompt.ids.size(), config.max_positions))
          .at(prompt.place)
          .hint("shorten the prompt, or leave its row out");
    }
  }
  const int64_t own = (static_cast<int64_t>(prompts.size()) + world - 1) / world;
  return {std::min<int64_t>(static_cast<int64_t>(longest) + options.report.eval_max_new_tokens,
                            config.max_positions),
          std::clamp<int64_t>(own, 1, options.per_device_eval_batch_size)};
}

SampleWriter::SampleWriter(OpenRun& run) : run_(run), ends_(end_tokens(run.source(), run.text())) {}

std::optional<WrittenSamples> SampleWriter::write(Arena& arena, BlockWatcher* watcher) {
  const TrainOptions& o = run_.options();
  const std::vector<Prompt>& prompts = run_.prompts();
  Communicator& ranks = run_.ranks();
  if (!generator_) {
    generator_ = std::make_unique<Generator>(
        run_.device(), run_.weights(), sample_room(prompts, o, run_.shape().config, ranks.size()),
        &arena);
  }
  generator_->watch(watcher);
  std::vector<std::vector<int32_t>> own;
  std::vector<int64_t> numbers;
  for (auto i = static_cast<size_t>(ranks.rank()); i < prompts.size();
       i += static_cast<size_t>(ranks.size())) {
    own.push_back(prompts[i].ids);
    numbers.push_back(static_cast<int64_t>(i));
  }
  Sheet sheet(prompts.size(), o.report.eval_max_new_tokens);
  bool stopped = false;
  BatchWriter writer(*generator_, {o.report.eval_max_new_tokens, sampling_of(o), ends_});
  writer.write(
      own, numbers,
      [&](size_t i, const Writing& writing) {
        sheet.put(static_cast<size_t>(numbers[i]), writing);
      },
      [&](bool has_work) {
        const auto* const signal = run_.surroundings().stop_signal;
        std::array<double, 2> sums{has_work ? 1.0 : 0.0,
                                   signal != nullptr && *signal != 0 ? 1.0 : 0.0};
        ranks.all_reduce(std::span<double>(sums));
        stopped = sums[1] > 0;
        return sums[0] > 0 && !stopped;
      });
  if (stopped) {
    return std::nullopt;
  }
  ranks.all_reduce(sheet.values());
  std::vector<SampleLog> samples;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const Writing writing = sheet.get(i);
    samples.push_back({prompts[i].shown, run_.text().tokenizer.decode(writing.ids, true),
                       prompts[i].reference, writing.ended,
                       static_cast<int64_t>(writing.ids.size())});
  }
  return scored(std::move(samples));
}

}  // namespace sft
