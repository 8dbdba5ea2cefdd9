#include <gtest/gtest.h>

#include <fmt/format.h>

#include <array>

#include "graph/executor.h"
#include "ops/attention_reference.h"

namespace sft::testing {
namespace {

// Feeds `steps` tokens at a time through the cache; returns all outputs in order.
std::vector<float> run_cached(const Operand& qkv, const Attention& options,
                              const std::vector<int>& steps, int threads,
                              const Operand& sinks = {}) {
  const auto device = Device::cpu(threads);
  Arena arena(*device);
  std::vector<float> x(qkv.values.begin(), qkv.values.end());
  const int64_t tokens = qkv.shape[0];
  const int64_t cache_row = 2 * int64_t{options.heads.kv_heads} * options.heads.head_dim;
  std::vector<float> cache(static_cast<size_t>(tokens * cache_row), NAN);
  std::vector<float> y;
  int32_t past = 0;
  std::array<int32_t, 2> place{};
  for (const int step : steps) {
    Program p(Program::Purpose::inference, Recompute::none);
    const Value in = p.input("qkv", {step, options.heads.row()}, DType::f32);
    const Value held = p.input("cache", {tokens, cache_row}, DType::f32);
    const Value sink = sinks.values.empty() ? Value{} : p.input("sinks", sinks.shape, DType::f32);
    const Value out =
        cached_attention(p, in, held, p.input("past", {1, 2}, DType::i32), options, sink);
    Executor executor(*device, arena, std::move(p));
    Bindings bindings;
    bindings.inputs["qkv"] = {
        x.data() + past * options.heads.row(), {step, options.heads.row()}, DType::f32};
    bindings.inputs["cache"] = {cache.data(), {tokens, cache_row}, DType::f32};
    place = {0, past};
    bindings.inputs["past"] = {place.data(), {1, 2}, DType::i32};
    std::vector<float> learned(sinks.values.begin(), sinks.values.end());
    bindings.inputs["sinks"] = {learned.data(), sinks.shape, DType::f32};
    executor.run(bindings);
    const Tensor t = executor.tensor(out);
    y.insert(y.end(), t.f32(), t.f32() + t.shape.elements());
    past += step;
  }
  return y;
}

TEST(CachedAttention, sinks_take_part_as_in_attention_over_the_whole_document) {
  for (const int window : {0, 5}) {
    const Attention options{{4, 2, 6}, 0.4F, window};
    const Operand qkv = activation({40, options.heads.row()}, 1);
    const Operand sinks = parameter({4}, 2);
    const Numbers want = attention_reference(qkv.values, {0, 40}, options, sinks.values);
    const std::vector<float> y = run_cached(qkv, options, {20, 1, 1, 18}, 2, sinks);
    ASSERT_EQ(y.size(), want.size());
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_NEAR(y[i], want[i], 5e-6) << fmt::format("window {} element {}", window, i);
    }
  }
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

// Three texts that have 0, 70 and 3 tokens before, in rows of one cache that are in no order.
TEST(CachedAttention, a_lane_among_others_is_as_it_is_alone) {
  const Attention options{{4, 2, 8}, 0.4F, 0};
  const int64_t row = options.heads.row();
  const int64_t cache_row = 2 * int64_t{options.heads.kv_heads} * options.heads.head_dim;
  constexpr int kRows = 80, kFresh = 2;
  const std::array<int, 3> before{0, 70, 3}, begins{160, 0, 80};
  std::vector<float> cache(static_cast<size_t>(3 * kRows * cache_row), NAN);
  std::vector<float> x;
  std::vector<float> want;
  std::vector<int32_t> past;
  for (size_t lane = 0; lane < before.size(); ++lane) {
    const int tokens = before[lane] + kFresh;
    const Operand qkv = activation({tokens, row}, lane + 1);
    const std::vector<float> values(qkv.values.begin(), qkv.values.end());
    x.insert(x.end(), values.end() - kFresh * row, values.end());
    for (int t = 0; t < before[lane]; ++t) {
      std::copy_n(values.begin() + (t + 1) * row - cache_row, cache_row,
                  cache.begin() + (begins[lane] + t) * cache_row);
    }
    const std::vector<float> alone = run_cached(qkv, options, {tokens}, 1);
    want.insert(want.end(), alone.end() - kFresh * 32, alone.end());
    past.insert(past.end(), {begins[lane], before[lane]});
  }
  const auto device = Device::cpu(2);
  Arena arena(*device);
  Program p(Program::Purpose::inference, Recompute::none);
  const Value in = p.input("qkv", {3 * kFresh, row}, DType::f32);
  const Value held = p.input("cache", {3 * kRows, cache_row}, DType::f32);
  const Value out = cached_attention(p, in, held, p.input("past", {3, 2}, DType::i32), options);
  Executor executor(*device, arena, std::move(p));
  Bindings bindings;
  bindings.inputs["qkv"] = {x.data(), {3 * kFresh, row}, DType::f32};
  bindings.inputs["cache"] = {cache.data(), {3 * kRows, cache_row}, DType::f32};
  bindings.inputs["past"] = {past.data(), {3, 2}, DType::i32};
  executor.run(bindings);
  const Tensor t = executor.tensor(out);
  EXPECT_EQ(std::vector<float>(t.f32(), t.f32() + t.shape.elements()), want);
}

TEST(CachedAttention, does_not_depend_on_threads) {
  const Attention options{{4, 2, 8}, 0.4F, 0};
  const Operand qkv = activation({70, options.heads.row()}, 1);
  const std::vector<float> one = run_cached(qkv, options, {66, 1, 3}, 1);
  EXPECT_EQ(run_cached(qkv, options, {66, 1, 3}, 3), one);
}

}  // namespace
}  // namespace sft::testing
