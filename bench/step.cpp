// Times a training step of a model shape on random weights, and where it goes by op.
//   step_bench CONFIG.json [tokens per document] [documents] [threads] [steps]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"
#include "graph/executor.h"
#include "model/model.h"
#include "optim/optimizer.h"

using namespace sft;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int run(int argc, char** argv) {
  const auto number = [&](int i, int64_t fallback) {
    return argc > i ? std::strtoll(argv[i], nullptr, 10) : fallback;
  };
  const int64_t length = number(2, 512);
  const int64_t documents = number(3, 1);
  const int64_t tokens = length * documents;
  const int64_t steps = number(5, 5);
  const auto device = Device::cpu(static_cast<int>(number(4, default_threads())));
  const Model model = Model::from_config(read_json(argv[1]));
  const auto bytes = static_cast<size_t>(model.layout.elements) * sizeof(float);
  Buffer weights(bytes), gradients(bytes);
  for (int64_t i = 0; i < model.layout.elements; ++i) {
    weights.f32()[i] = 0.02F * normal(1, 0, static_cast<uint64_t>(i));
  }
  Optimizer optimizer(*device, model.trained, model.layout, {});
  Arena arena(*device);
  auto recorded =
      record_training(model, {tokens, documents, length}, LossType::nll, true, Recompute::none);
  Executor executor(*device, arena, std::move(recorded.program));
  Bindings b;
  for (size_t i = 0; i < model.trained.size(); ++i) {
    b.parameters.push_back({weights.f32() + model.layout.offsets[i], model.trained[i].shape});
    b.gradients.push_back({gradients.f32() + model.layout.offsets[i], model.trained[i].shape});
  }
  std::vector<int32_t> ids, positions, starts{0};
  for (int64_t i = 0; i < tokens; ++i) {
    ids.push_back(static_cast<int32_t>(philox(2, 0, static_cast<uint64_t>(i))[0] %
                                       static_cast<uint32_t>(model.config.vocab)));
    positions.push_back(static_cast<int32_t>(i % length));
    if ((i + 1) % length == 0) {
      starts.push_back(static_cast<int32_t>(i + 1));
    }
  }
  float scale = 1.0F / static_cast<float>(tokens);
  const auto bind = [&](const char* name, std::vector<int32_t>& v) {
    b.inputs[name] = {v.data(), {static_cast<int64_t>(v.size())}, DType::i32};
  };
  std::vector<int32_t> rows(ids.size());
  std::iota(rows.begin(), rows.end(), 0);
  bind("rows", rows);
  bind("tokens", ids), bind("positions", positions), bind("targets", ids),
      bind("documents", starts);
  b.inputs["loss_scale"] = {&scale, {1}, DType::f32};
  std::map<std::string, double> by_op;
  double best = 1e9, best_optimizer = 1e9;
  for (int64_t step = 0; step <= steps; ++step) {
    if (step == 1) {
      executor.profile(&by_op);
    }
    const double start = seconds();
    executor.run(b);
    const double middle = seconds();
    const double norm = l2_norm(*device, gradients.f32(), model.layout.elements);
    optimizer.step(weights.f32(), gradients.f32(), 1e-5, clip_factor(norm, 1.0), step + 1);
    const double end = seconds();
    if (step > 0) {
      best = std::min(best, end - start);
      best_optimizer = std::min(best_optimizer, end - middle);
    }
  }
  fmt::print(
      "{} tokens: best step {:.3f} s = {:.1f} tokens/s, of it optimizer {:.3f} s; arena {} MB\n",
      tokens, best, static_cast<double>(tokens) / best, best_optimizer,
      executor.plan().bytes >> 20);
  std::vector<std::pair<double, std::string>> sorted;
  for (const auto& [name, s] : by_op) {
    sorted.emplace_back(s / static_cast<double>(steps), name);
  }
  std::ranges::sort(sorted, std::greater<>());
  for (const auto& [s, name] : sorted) {
    fmt::print("  {:8.1f} ms  {}\n", 1e3 * s, name);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.text());
    return static_cast<int>(e.exit_code());
  }
}
