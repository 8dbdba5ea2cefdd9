#include <gtest/gtest.h>

#include <fmt/format.h>

#include "graph/executor.h"
#include "ops/attention_reference.h"

namespace sft::testing {
namespace {

// Feeds `steps` tokens at a time through the cache; returns all outputs in order.
std::vector<float> run_cached(const Operand& qkv, const Attention& options,
                              const std::vector<int>& steps, int threads) {
  const auto device = Device::cpu(threads);
  Arena arena(*device);
  std::vector<float> x(qkv.values.begin(), qkv.values.end());
  const int64_t tokens = qkv.shape[0];
  const int64_t cache_row = 2 * int64_t{options.heads.kv_heads} * options.heads.head_dim;
  std::vector<float> cache(static_cast<size_t>(tokens * cache_row), NAN);
  std::vector<float> y;
  int32_t past = 0;
  for (const int step : steps) {
    Program p(Program::Purpose::inference, Recompute::none);
    const Value in = p.input("qkv", {step, options.heads.row()}, DType::f32);
    const Value held = p.input("cache", {tokens, cache_row}, DType::f32);
    const Value out = cached_attention(p, in, held, p.input("past", {1}, DType::i32), options);
    Executor executor(*device, arena, std::move(p));
    Bindings bindings;
    bindings.inputs["qkv"] = {
        x.data() + past * options.heads.row(), {step, options.heads.row()}, DType::f32};
    bindings.inputs["cache"] = {cache.data(), {tokens, cache_row}, DType::f32};
    bindings.inputs["past"] = {&past, {1}, DType::i32};
    executor.run(bindings);
    const Tensor t = executor.tensor(out);
    y.insert(y.end(), t.f32(), t.f32() + t.shape.elements());
    past += step;
  }
  return y;
}

TEST(CachedAttention, equals_attention_over_the_whole_document) {
  for (const int window : {0, 1, 5, 64, 90}) {
    for (const Heads& heads : {Heads{2, 1, 8}, Heads{4, 2, 6}, Heads{3, 3, 4}}) {
      const Attention options{heads, 0.4F, window};
      const Operand qkv = activation({100, heads.row()}, 1);
      const Numbers want = attention_reference(qkv.values, {0, 100}, options);
      for (const std::vector<int>& steps :
           {std::vector<int>{100}, std::vector<int>{1, 64, 1, 1, 33}, std::vector<int>{65, 35}}) {
        const std::vector<float> y = run_cached(qkv, options, steps, 2);
        ASSERT_EQ(y.size(), want.size());
        for (size_t i = 0; i < y.size(); ++i) {
          ASSERT_NEAR(y[i], want[i], 5e-6) << fmt::format("window {} element {}", window, i);
        }
      }
    }
  }
}

TEST(CachedAttention, caps_scores_as_attention_does) {
  Attention options{{4, 2, 6}, 0.6F, 0};
  options.cap = 1.5F;
  const Operand qkv = activation({40, options.heads.row()}, 1);
  const Numbers want = attention_reference(qkv.values, {0, 40}, options);
  const std::vector<float> y = run_cached(qkv, options, {17, 1, 22}, 2);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_NEAR(y[i], want[i], 5e-6) << i;
  }
}

TEST(CachedAttention, does_not_depend_on_threads) {
  const Attention options{{4, 2, 8}, 0.4F, 0};
  const Operand qkv = activation({70, options.heads.row()}, 1);
  const std::vector<float> one = run_cached(qkv, options, {66, 1, 3}, 1);
  EXPECT_EQ(run_cached(qkv, options, {66, 1, 3}, 3), one);
}

}  // namespace
}  // namespace sft::testing
