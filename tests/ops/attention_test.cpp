#include "ops/attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "ops/attention_reference.h"
#include "ops/dropout_draw.h"

namespace sft::testing {
namespace {

// Documents of `lengths` and, after them, `padding` tokens that belong to none.
OpCase attention_case(const std::vector<int>& lengths, int padding, const Attention& options) {
  std::vector<int> starts{0};
  for (const int length : lengths) {
    starts.push_back(starts.back() + length);
  }
  OpCase c;
  c.operands = {activation({starts.back() + padding, options.heads.row()}, 1), indices(starts)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{
        attention(p, in[0], document_table(p, in[1], options.heads, p.shape(in[0])[0]), options)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{attention_reference(in[0], in[1], options)};
  };
  c.checked = 60;
  return c;
}

TEST(Attention, lengths_around_a_tile) {
  for (const int length : {1, 2, 63, 64, 65, 130}) {
    SCOPED_TRACE(length);
    check_op(attention_case({length}, 0, {{2, 1, 8}, 0.35F, 0}));
  }
}

TEST(Attention, several_documents_some_of_them_empty) {
  check_op(attention_case({0, 3, 0, 64, 1, 0, 7, 0}, 0, {{4, 2, 8}, 0.35F, 0}));
}

TEST(Attention, heads_in_groups) {
  for (const Heads& heads : {Heads{1, 1, 4}, Heads{3, 3, 6}, Heads{6, 2, 5}, Heads{5, 1, 16}}) {
    SCOPED_TRACE(heads.heads);
    check_op(attention_case({9, 4}, 2, {heads, 0.5F, 0}));
  }
}

TEST(Attention, windows) {
  for (const int window : {1, 2, 63, 64, 65, 100, 1000}) {
    SCOPED_TRACE(window);
    check_op(attention_case({5, 100, 70}, 3, {{2, 1, 8}, 0.35F, window}));
  }
}

TEST(Attention, scores_with_a_soft_cap) {
  for (const int window : {0, 20}) {
    SCOPED_TRACE(window);
    Attention options{{4, 2, 8}, 0.6F, window};
    options.cap = 1.5F;
    check_op(attention_case({5, 70}, 3, options));
  }
}

// The same with a sink for each head.
OpCase sinks_case(const std::vector<int>& lengths, int padding, const Attention& options,
                  double spread = 1.0) {
  OpCase c = attention_case(lengths, padding, options);
  Operand sinks = parameter({options.heads.heads}, 3, spread);
  sinks.wide = true;
  c.operands.push_back(sinks);
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value table = document_table(p, in[1], options.heads, p.shape(in[0])[0]);
    return std::vector{attention(p, in[0], table, options, in[2])};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{attention_reference(in[0], in[1], options, in[2])};
  };
  return c;
}

constexpr float kDropped = 0.3F;

// The same with weights that are dropped. Documents have numbers from 40 on.
OpCase dropout_case(const std::vector<int>& lengths, int padding, const Attention& options) {
  OpCase c = attention_case(lengths, padding, options);
  std::vector<int32_t> keys;
  for (size_t d = 0; d < lengths.size(); ++d) {
    for (int32_t i = 0; i < lengths[d]; ++i) {
      keys.insert(keys.end(), {40 + static_cast<int32_t>(d), i});
    }
  }
  keys.resize(keys.size() + 2 * static_cast<size_t>(padding));
  c.operands.push_back(indices(keys));
  c.operands[2].shape = {static_cast<int64_t>(keys.size()) / 2, 2};
  c.operands.push_back(indices({123, 45}));
  c.build = [=](Program& p, const std::vector<Value>& in) {
    Attention with = options;
    with.dropout = {kDropped, 9, {in[2], {}, in[3]}};
    const Value table = document_table(p, in[1], options.heads, p.shape(in[0])[0]);
    return std::vector{attention(p, in[0], table, with)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const std::vector<int32_t> words{123, 45};
    const DropoutDraw draw(words.data(), kDropped, 9);
    const auto factor = [&](int64_t query, int64_t key, int head) {
      const int64_t i = DropoutDraw::pair(head, keys[static_cast<size_t>(2 * key) + 1]);
      return draw.kept(draw.words(keys.data() + 2 * query, i / 4 * 4), i) ? draw.scale : 0.0F;
    };
    return std::vector<Numbers>{attention_reference(in[0], in[1], options, {}, factor)};
  };
  return c;
}

TEST(AttentionDropout, values_and_gradients) {
  check_op(dropout_case({0, 3, 66, 1}, 3, {{4, 2, 8}, 0.35F, 0}));
  check_op(dropout_case({5, 100, 70}, 0, {{3, 1, 6}, 0.35F, 20}));
  Attention capped{{2, 1, 8}, 0.6F, 0};
  capped.cap = 1.5F;
  check_op(dropout_case({70, 9}, 2, capped));
}

// Values of 1: a row is the sum of its weights.
TEST(AttentionDropout, drops_its_share_and_keeps_the_mean) {
  constexpr int kTokens = 300, kHeads = 6;
  OpCase c = dropout_case({kTokens}, 0, {{kHeads, kHeads, 1}, 0.0F, 0});
  for (size_t t = 0; t < kTokens; ++t) {
    std::fill_n(c.operands[0].values.begin() + static_cast<long>(t * 3 * kHeads + 2 * kHeads),
                kHeads, 1.0);
  }
  double kept = 0.0;  // of pairs, each with the weight 1 / (place + 1)
  const OpResult r = run_op(c);
  for (size_t t = 0; t < kTokens; ++t) {
    std::set<float> different;
    for (size_t h = 0; h < kHeads; ++h) {
      const float sum = r.outputs[0][t * kHeads + h];
      kept += std::round(sum * (1.0F - kDropped) * static_cast<float>(t + 1));
      different.insert(sum);
    }
    EXPECT_TRUE(t < 100 || different.size() > 1) << t;  // heads draw apart
  }
  const double pairs = kHeads * kTokens * (kTokens + 1) / 2.0;
  EXPECT_NEAR(kept, pairs * (1.0 - kDropped), 4 * std::sqrt(pairs * kDropped * (1 - kDropped)));
}

// Of 12 rows of qkv the last two belong to no document.
void expect_padding_stays_outside(OpCase c) {
  const OpResult clean = run_op(c);
  const size_t row = c.operands[0].values.size() / 12;
  std::fill(c.operands[0].values.end() - static_cast<int64_t>(2 * row), c.operands[0].values.end(),
            NAN);
  const OpResult r = run_op(c);
  EXPECT_EQ(r.outputs, clean.outputs);
  EXPECT_EQ(r.gradients, clean.gradients);
}

TEST(AttentionSinks, values_and_gradients) {
  check_op(sinks_case({1, 66, 0, 9}, 3, {{4, 2, 8}, 0.35F, 0}));
  check_op(sinks_case({5, 100}, 0, {{3, 1, 6}, 0.35F, 20}));
  check_op(sinks_case({130}, 2, {{2, 2, 64}, 0.125F, 0}));
}

TEST(AttentionSinks, far_above_and_below_the_scores) {
  check_op(sinks_case({40, 3}, 1, {{4, 2, 8}, 0.35F, 0}, 8.0));
  for (const double sink : {90.0, 1e4, -90.0, -1e4}) {
    SCOPED_TRACE(sink);
    OpCase c = sinks_case({20}, 0, {{1, 1, 8}, 0.35F, 0});
    c.operands[2].values[0] = sink;
    const OpResult r = run_op(c);
    const OpResult without = run_op(attention_case({20}, 0, {{1, 1, 8}, 0.35F, 0}));
    for (size_t i = 0; i < r.outputs[0].size(); ++i) {
      EXPECT_NEAR(r.outputs[0][i], sink > 0 ? 0.0F : without.outputs[0][i], 1e-6F);
    }
    EXPECT_NEAR(r.gradients[2][0], 0.0F, 1e-6F);
  }
}

TEST(AttentionSinks, padding_that_is_no_number_stays_outside) {
  expect_padding_stays_outside(sinks_case({10}, 2, {{2, 1, 8}, 0.35F, 0}));
}

TEST(Attention, a_window_of_one_gives_the_tokens_own_value) {
  const OpCase c = attention_case({5}, 0, {{1, 1, 4}, 1.0F, 1});
  const OpResult r = run_op(c);
  for (size_t t = 0; t < 5; ++t) {
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(r.outputs[0][t * 4 + i], static_cast<float>(c.operands[0].values[t * 12 + 8 + i]));
    }
  }
}

TEST(Attention, scales) {
  check_op(attention_case({40}, 0, {{2, 2, 8}, 1.0F, 0}));
  check_op(attention_case({40}, 0, {{2, 2, 8}, 0.01F, 0}));
}

TEST(Attention, sharp_scores_lose_nothing) {
  OpCase c = attention_case({30}, 0, {{1, 1, 8}, 30.0F, 0});
  c.tolerance = 1e-4;  // the scores themselves reach hundreds
  c.gradient_tolerance = 1e-3;
  c.bf16_tolerance = 2.0;  // 16 bits cannot tell such scores apart
  check_op(c);
}

TEST(Attention, rows_after_the_last_document_are_exactly_zero) {
  for (const std::vector<int>& lengths : {std::vector<int>{70, 3}, std::vector<int>{}, {0}}) {
    const OpCase c = attention_case(lengths, 6, {{2, 1, 8}, 0.35F, 0});
    const OpResult r = run_op(c, {.threads = 2});
    const auto row = static_cast<size_t>(Heads{2, 1, 8}.row());
    for (size_t i = r.outputs[0].size() - 6 * 16; i < r.outputs[0].size(); ++i) {
      EXPECT_EQ(r.outputs[0][i], 0.0F);
    }
    for (size_t i = r.gradients[0].size() - 6 * row; i < r.gradients[0].size(); ++i) {
      EXPECT_EQ(r.gradients[0][i], 0.0F);
    }
  }
}

TEST(Attention, padding_that_is_no_number_stays_outside) {
  expect_padding_stays_outside(attention_case({10}, 2, {{2, 1, 8}, 0.35F, 0}));
}

// A document's rows are the same bits wherever it lies and whatever lies beside it.
TEST(Attention, neighbours_do_not_matter) {
  const Attention options{{2, 1, 8}, 0.35F, 0};
  OpCase both = attention_case({20, 50}, 0, options);
  OpCase one = attention_case({50}, 0, options);
  std::copy_n(both.operands[0].values.begin() + 20 * options.heads.row(),
              one.operands[0].values.size(), one.operands[0].values.begin());
  const OpResult a = run_op(both);
  const OpResult b = run_op(one);
  EXPECT_TRUE(std::ranges::equal(b.outputs[0], std::span(a.outputs[0]).subspan(20 * 16)));
}

TEST(Attention, a_broken_value_reaches_the_rows_that_see_it) {
  OpCase c = attention_case({8}, 0, {{1, 1, 4}, 0.5F, 0});
  c.operands[0].values[3 * 12 + 4] = NAN;  // a key of token 3
  const OpResult r = run_op(c);
  for (size_t t = 0; t < 8; ++t) {
    EXPECT_EQ(std::isfinite(r.outputs[0][t * 4]), t < 3) << t;
  }
}

// Runs a case on the GPU, twice to the same bits, and compares its output and the gradients of
// these operands with the CPU's.
void compare_with_cpu(const OpCase& c, DType compute, double tolerance,
                      const std::vector<size_t>& operands) {
  const OpResult cpu = run_op(c, {.threads = 2});
  const OpRun on_gpu{.device = test_gpu(), .compute = compute};
  const OpResult once = run_op(c, on_gpu);
  const OpResult twice = run_op(c, on_gpu);
  EXPECT_EQ(once.outputs, twice.outputs);
  EXPECT_EQ(once.gradients, twice.gradients);
  const auto compare = [&](const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0.0;
    double size = 1e-30;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += std::pow(double{a[i]} - b[i], 2);
      size += std::pow(b[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / size), tolerance);  // NaN is not less
  };
  compare(once.outputs[0], cpu.outputs[0]);
  for (const size_t operand : operands) {
    compare(once.gradients[operand], cpu.gradients[operand]);
  }
}

// On a GPU of compute capability 9.0 these run in kernels of their own, whose tiles hold 64, 128 or
// 192 rows: tokens times the query heads of a key head. The CPU is their reference.
void check_fused(const std::vector<int>& lengths, int padding, const Attention& options,
                 DType compute = DType::bf16, double tolerance = 0.015, bool sinks = false) {
  if (sinks) {
    compare_with_cpu(sinks_case(lengths, padding, options), compute, tolerance, {0, 2});
  } else {
    compare_with_cpu(attention_case(lengths, padding, options), compute, tolerance, {0});
  }
}

Attention options_of(const Heads& heads, int window = 0) {
  return {heads, 1.0F / std::sqrt(static_cast<float>(heads.head_dim)), window};
}

TEST(FusedAttention, groups_of_heads) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int d : {64, 128}) {
    for (const int group : {1, 3, 4, 5, 6, 7, 8, 12, 64}) {
      SCOPED_TRACE(fmt::format("{} heads of {}", group, d));
      check_fused({1, 70, 1, 0, 130, 2, 63}, 5, options_of({2 * group, 2, d}));
    }
  }
}

TEST(FusedAttention, lengths_around_every_tile) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int d : {64, 128}) {
    for (const int length :
         {1, 2, 9, 10, 18, 19, 27, 28, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257, 400}) {
      SCOPED_TRACE(fmt::format("{} tokens, heads of {}", length, d));
      check_fused({length}, length % 3, options_of({7, 1, d}));
    }
  }
}

// Documents that begin at every place of a tile.
TEST(FusedAttention, boundaries_everywhere) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  std::vector<int> lengths;
  for (int i = 0; i < 66; ++i) {
    lengths.push_back(i);
  }
  check_fused(lengths, 0, options_of({4, 1, 64}));
  check_fused(lengths, 3, options_of({6, 1, 128}));
  check_fused({}, 20, options_of({7, 1, 64}));
  check_fused({0, 0, 20, 0}, 20, options_of({7, 1, 128}));
}

TEST(FusedAttention, windows) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int d : {64, 128}) {
    for (const int window : {2, 17, 63, 64, 65, 100, 128, 129, 1000}) {
      SCOPED_TRACE(fmt::format("a window of {}, heads of {}", window, d));
      check_fused({5, 100, 300, 1, 70}, 3, options_of({4, 1, d}, window));
    }
  }
}

TEST(FusedAttention, sinks) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const DType compute : {DType::bf16, DType::f16, DType::f32}) {
    for (const int window : {0, 128}) {
      SCOPED_TRACE(fmt::format("{}, window {}", name_of(compute), window));
      check_fused({5, 100, 300, 1, 70}, 3, options_of({16, 2, 64}, window), compute, 0.02, true);
      check_fused({400}, 0, options_of({4, 1, 128}, window), compute, 0.02, true);
    }
  }
}

TEST(TiledAttention, dropout) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const DType compute : {DType::f32, DType::bf16, DType::f16}) {
    for (const int d : {8, 64, 128, 200}) {
      for (const int window : {0, 33}) {
        SCOPED_TRACE(fmt::format("{}, heads of {}, window {}", name_of(compute), d, window));
        const OpCase c = dropout_case({1, 70, 0, 130, 2, 63}, 5, options_of({6, 2, d}, window));
        compare_with_cpu(c, compute, compute == DType::f32 ? 1e-5 : 0.015, {0});
      }
    }
  }
}

// In float32 tiles hold 64 or 32 rows of one head.
TEST(TiledAttention, lengths_groups_and_windows_in_float32) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int d : {8, 64, 80, 128, 200, 256}) {
    for (const int window : {0, 1, 17, 32, 33, 100}) {
      for (const Heads& heads : {Heads{1, 1, d}, Heads{6, 2, d}}) {
        SCOPED_TRACE(fmt::format("heads of {}, a window of {}", d, window));
        check_fused({1, 70, 1, 0, 130, 2, 63, 64, 65}, 5, options_of(heads, window), DType::f32,
                    1e-5);
      }
    }
    check_fused({}, 20, options_of({2, 1, d}), DType::f32, 1e-5);
    check_fused({0, 0, 20, 0}, 70, options_of({2, 1, d}), DType::f32, 1e-5);
    check_fused({700}, 0, options_of({2, 1, d}), DType::f32, 1e-5);
  }
}

// No tiles of such heads fit in float32: a warp takes a row.
TEST(WideAttention, heads_of_512_in_float32) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int window : {0, 17}) {
    check_fused({1, 70, 0, 33}, 5, options_of({4, 2, 512}, window), DType::f32, 1e-5);
    check_fused({40}, 0, options_of({2, 1, 264}, window), DType::f32, 1e-5);
  }
}

// Without a soft cap too, heads are too wide for cuDNN.
TEST(WideAttention, heads_of_512_in_16_bits) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const Heads& heads : {Heads{8, 1, 512}, Heads{8, 2, 512}, Heads{4, 4, 384}}) {
    check_fused({1, 70, 1, 0, 130, 2, 700}, 5, options_of(heads));
  }
}

// In 16 bits with a soft cap products run on tensor cores all the same: tiles hold 64 rows of one
// head, and 64 or 32 of what they look at.
TEST(MmaAttention, soft_caps_windows_and_groups_in_16_bits) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const DType compute : {DType::bf16, DType::f16}) {
    for (const int d : {8, 64, 80, 128, 200, 256, 512}) {
      for (const int window : {0, 1, 17, 32, 33, 100}) {
        for (const Heads& heads : {Heads{1, 1, d}, Heads{6, 2, d}}) {
          SCOPED_TRACE(fmt::format("heads of {}, a window of {}", d, window));
          Attention options = options_of(heads, window);
          options.cap = 1.5F;
          check_fused({1, 70, 1, 0, 130, 2, 63, 64, 65}, 5, options, compute);
        }
      }
      Attention options = options_of({2, 1, d});
      options.cap = 50.0F;
      check_fused({}, 20, options, compute);
      check_fused({0, 0, 20, 0}, 70, options, compute);
      check_fused({700}, 0, options, compute);
    }
  }
}

TEST(MmaAttention, padding_that_is_no_number_stays_outside) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const int d : {64, 256, 512}) {
    Attention options = options_of({7, 1, d});
    options.cap = 1.5F;
    OpCase c = attention_case({100, 33}, 40, options);
    const OpRun on_gpu{.device = test_gpu(), .compute = DType::bf16};
    const OpResult clean = run_op(c, on_gpu);
    std::fill(c.operands[0].values.end() - int64_t{40} * 9 * d, c.operands[0].values.end(), NAN);
    const OpResult r = run_op(c, on_gpu);
    EXPECT_EQ(r.outputs, clean.outputs);
    EXPECT_EQ(r.gradients, clean.gradients);
  }
}

TEST(FusedAttention, padding_that_is_no_number_stays_outside) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const auto& [d, compute] : {std::pair(64, DType::bf16), std::pair(128, DType::bf16),
                                   std::pair(64, DType::f32), std::pair(128, DType::f32)}) {
    OpCase c = attention_case({100, 33}, 40, options_of({7, 1, d}));
    const OpRun on_gpu{.device = test_gpu(), .compute = compute};
    const OpResult clean = run_op(c, on_gpu);
    std::fill(c.operands[0].values.end() - int64_t{40} * 9 * d, c.operands[0].values.end(), NAN);
    const OpResult r = run_op(c, on_gpu);
    EXPECT_EQ(r.outputs, clean.outputs);
    EXPECT_EQ(r.gradients, clean.gradients);
  }
}

// A token that all look at, among many that each hardly count: the last query's answer.
TEST(Attention, a_long_document_costs_no_digits) {
  constexpr int kTokens = 12000;
  constexpr double kScore = -16.0;
  OpCase c = attention_case({kTokens}, 0, {{1, 1, 2}, 1.0F, 0});
  for (size_t t = 0; t < kTokens; ++t) {  // the first key has a score of 0 and a value of 0
    const Numbers row = {1.0, 0.0, t == 0 ? 0.0 : kScore, 0.0, t == 0 ? 0.0 : 0x1p20, 1.0};
    std::ranges::copy(row, c.operands[0].values.begin() + static_cast<long>(6 * t));
  }
  const double others = (kTokens - 1) * std::exp(kScore);
  for (const OpRun& run : runs_everywhere()) {
    const std::vector<float> y =
        run_op(c, {.threads = run.threads, .training = false, .device = run.device}).outputs[0];
    EXPECT_NEAR(y[2 * kTokens - 2] / (0x1p20 * others / (1.0 + others)), 1.0, 3e-6);
    EXPECT_NEAR(y[2 * kTokens - 1], 1.0, 1e-5);  // a matrix product, in float32
  }
}

}  // namespace
}  // namespace sft::testing
