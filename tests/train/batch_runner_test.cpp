// Micro-batches of which few tokens are trained: the runner's choice to drop the other rows in the
// last block against computing all of them. With SFT_TEST_CUDA on the GPU as well.
#include "train/batch_runner.h"
#include "support/paths.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "core/json.h"
#include "core/rng.h"

namespace sft {
namespace {

const fs::path kModel = fs::path(SFT_TEST_DIR) / "model" / "golden" / "qwen2";

// `documents` of `length` tokens end to end; of each the last `trained` have a label, of every
// fifth none.
MicroBatch micro_batch(int64_t documents, int64_t length, int64_t trained, uint64_t seed) {
  MicroBatch b;
  b.cu_seqlens = {0};
  for (int64_t d = 0; d < documents; ++d) {
    const int64_t from = d % 5 == 4 ? length : length - trained;
    for (int64_t i = 0; i < length; ++i) {
      const auto at = static_cast<uint64_t>(d * length + i);
      const auto token = static_cast<int32_t>(philox(5, seed, at)[0] % 128U);
      if (i > 0) {
        b.targets.push_back(i >= from ? token : kIgnored);
      }
      b.tokens.push_back(token);
      b.positions.push_back(static_cast<int32_t>(i));
    }
    b.targets.push_back(kIgnored);
    b.cu_seqlens.push_back(static_cast<int32_t>(b.tokens.size()));
  }
  b.num_tokens = static_cast<int64_t>(b.tokens.size());
  return b;
}

struct Outcome {
  std::vector<BatchStats> stats;
  std::vector<float> gradients;
  int64_t arena = 0;
};

// A step of several micro-batches: a quarter trained, nothing, all, and a quarter of fewer tokens.
Outcome run_step(Device& device, DType compute, const MemoryPolicy& memory, bool training,
                 bool drop_rows) {
  const auto source = ModelSource::open(kModel.string(), "", {});
  LoadedModel model = load_model(*source, device, compute);
  Arena arena(device);
  const Buffer gradients = device.allocate(static_cast<size_t>(model.elements()) * sizeof(float));
  BatchRunner runner(device, arena, model,
                     training ? model.views(gradients.f32()) : std::vector<Tensor>(),
                     {LossType::nll, memory, 2048, training, drop_rows});
  const int64_t arena_before = arena.bytes();
  const MicroBatch batches[] = {micro_batch(32, 64, 20, 1), micro_batch(32, 64, 0, 2),
                                micro_batch(32, 64, 63, 3), micro_batch(17, 61, 16, 4)};
  Outcome out;
  for (int step = 0; step < 3; ++step) {  // a GPU records the second and replays from then on
    for (const MicroBatch& b : batches) {
      runner.run(b, 1e-3F, &b == batches);
    }
    out.stats = runner.collect();
  }
  EXPECT_EQ(arena.bytes(), arena_before);
  const HostView view(device, gradients.data(), gradients.size());
  out.gradients.assign(view.f32(), view.f32() + model.model.layout.elements);
  out.arena = arena.bytes();
  return out;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    norm += a[i] * a[i];
  }
  return std::sqrt(error / norm);
}

// Whether the runner does drop rows of a batch of 2,048 tokens in this little model.
bool drops(const Device& device, DType compute, const MemoryPolicy& memory, bool training) {
  const Model model = Model::from_config(read_json(kModel / "config.json"));
  BatchSize size = program_size(device.kind(), 2048, 32, 64);
  const auto bytes = [&] {
    const Target target = device.target(compute);
    return plan_memory(
               record_training(model, size, LossType::nll, training, memory, target).program)
        .bytes;
  };
  const int64_t all = bytes();
  size.kept = kept_bound(device.kind(), 2048, 26 * 20, true);
  return size.kept > 0 && bytes() <= all;
}

void expect_dropping_changes_nothing(Device& device, DType compute, double loss_tolerance,
                                     double gradient_tolerance) {
  for (const char* policy : {"none", "norms", "mlp", "block"}) {
    SCOPED_TRACE(policy);
    MemoryPolicy memory;
    while (name_of(memory.recompute) != std::string_view(policy)) {
      memory.recompute = static_cast<Recompute>(static_cast<int>(memory.recompute) + 1);
    }
    for (const bool training : {true, false}) {
      EXPECT_TRUE(drops(device, compute, memory, training));
      const Outcome all = run_step(device, compute, memory, training, false);
      const Outcome some = run_step(device, compute, memory, training, true);
      EXPECT_EQ(all.arena, some.arena);
      ASSERT_EQ(all.stats.size(), some.stats.size());
      for (size_t i = 0; i < all.stats.size(); ++i) {
        const LossStats& a = all.stats[i];
        const LossStats& b = some.stats[i];
        EXPECT_EQ(a.tokens, b.tokens);
        EXPECT_NEAR(a.loss, b.loss, loss_tolerance * a.loss);
        EXPECT_NEAR(a.entropy, b.entropy, loss_tolerance * a.entropy);
        EXPECT_NEAR(a.correct, b.correct, compute == DType::f32 ? 0 : 2);
      }
      if (training) {
        EXPECT_LE(distance(all.gradients, some.gradients), gradient_tolerance);
      }
    }
  }
}

TEST(BatchRunner, dropping_rows_without_a_label_changes_nothing) {
  const auto device = Device::cpu(2);
  expect_dropping_changes_nothing(*device, DType::f32, 1e-6, 1e-6);
}

// Products of other sizes may sum in another order.
TEST(BatchRunner, dropping_rows_changes_nothing_on_the_gpu) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const auto device = Device::cuda(0, 2);
  expect_dropping_changes_nothing(*device, DType::f32, 1e-5, 1e-5);
  expect_dropping_changes_nothing(*device, DType::bf16, 1e-3, 1e-2);
}

TEST(BatchRunner, few_numbers_of_rows_that_are_kept) {
  for (const DeviceKind device : {DeviceKind::cpu, DeviceKind::cuda}) {
    for (const bool alike : {false, true}) {
      for (int64_t tokens = 16; tokens < 70000; tokens = ladder_size(tokens + 1)) {
        std::vector<int64_t> seen;
        for (int64_t trained = 0; trained <= tokens; ++trained) {
          const int64_t kept = kept_bound(device, tokens, trained, alike);
          EXPECT_TRUE(kept == 0 || (kept >= trained && 5 * kept <= 4 * tokens));
          if (seen.empty() || seen.back() != kept) {
            seen.push_back(kept);
          }
        }
        EXPECT_LE(seen.size(), alike ? 14U : 4U) << tokens;
        EXPECT_GE(seen.size(), tokens < 1024 ? 1U : 2U) << tokens;
        EXPECT_EQ(seen.back(), 0);  // nothing to drop
      }
    }
  }
}

}  // namespace
}  // namespace sft
