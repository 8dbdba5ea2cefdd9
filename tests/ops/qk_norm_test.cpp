#include "ops/qk_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase qk_norm_case(int64_t tokens, const Heads& heads, const RmsNorm& options,
                    bool values = false) {
  OpCase c;
  c.operands = {activation({tokens, heads.row()}, 1), norm_weight({heads.head_dim}, 2),
                norm_weight({heads.head_dim}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{qk_norm(p, in[0], in[1], in[2], heads, options, values)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y = in[0];
    const auto d = static_cast<size_t>(heads.head_dim);
    const auto per_row = static_cast<size_t>(heads.heads + 2 * heads.kv_heads);
    for (size_t head = 0; head < y.size() / d; ++head) {
      const auto place = static_cast<int>(head % per_row);
      const bool value = place >= heads.heads + heads.kv_heads;
      if (value && !values) {
        continue;
      }
      const Numbers& weight = place < heads.heads ? in[1] : in[2];
      double squares = 0.0;
      for (size_t i = 0; i < d; ++i) {
        squares += y[head * d + i] * y[head * d + i];
      }
      const double root = std::sqrt(squares / static_cast<double>(d) + double{options.eps});
      for (size_t i = 0; i < d; ++i) {
        y[head * d + i] *= (value ? 1.0 : double{options.weight_offset} + weight[i]) / root;
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(QkNorm, of_values_too_and_of_wide_heads) {
  check_op(qk_norm_case(5, {4, 2, 16}, {1e-6F, 0.0F}, true));
  check_op(qk_norm_case(6, {3, 1, 20}, {1e-5F, 1.0F}, true));
  check_op(qk_norm_case(3, {2, 1, 512}, {1e-6F, 0.0F}, true));
  check_op(qk_norm_case(3, {2, 1, 264}, {1e-6F, 0.0F}));
}

TEST(QkNorm, values_and_gradients) {
  check_op(qk_norm_case(5, {4, 2, 16}, {1e-6F, 0.0F}));
  check_op(qk_norm_case(1, {1, 1, 8}, {1e-6F, 0.0F}));
  check_op(qk_norm_case(7, {3, 1, 20}, {1e-5F, 1.0F}));
}

// OLMo 2's: all query heads are one row of the norm, and all key heads.
OpCase together_case(int64_t tokens, const Heads& heads, const RmsNorm& options) {
  const int64_t q = int64_t{heads.heads} * heads.head_dim;
  const int64_t k = int64_t{heads.kv_heads} * heads.head_dim;
  OpCase c;
  c.operands = {activation({tokens, heads.row()}, 1), norm_weight({q}, 2), norm_weight({k}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{qk_norm(p, in[0], in[1], in[2], heads, options)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y = in[0];
    for (int64_t t = 0; t < tokens; ++t) {
      for (const bool key : {false, true}) {
        const Numbers& weight = in[key ? 2 : 1];
        double* const row = y.data() + t * heads.row() + (key ? q : 0);
        double squares = 0.0;
        for (size_t i = 0; i < weight.size(); ++i) {
          squares += row[i] * row[i];
        }
        const double root =
            std::sqrt(squares / static_cast<double>(weight.size()) + double{options.eps});
        for (size_t i = 0; i < weight.size(); ++i) {
          row[i] *= (double{options.weight_offset} + weight[i]) / root;
        }
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(QkNorm, of_all_heads_together) {
  check_op(together_case(5, {4, 2, 16}, {1e-6F, 0.0F}));
  check_op(together_case(3, {3, 3, 10}, {1e-5F, 1.0F}));
  check_op(together_case(2, {8, 2, 64}, {1e-5F, 0.0F}));
}

TEST(QkNorm, values_are_copied_bit_for_bit) {
  const OpCase c = qk_norm_case(2, {2, 1, 4}, {1e-6F, 0.0F});
  const OpResult r = run_op(c);
  for (const size_t row : {0, 1}) {
    for (size_t i = 12; i < 16; ++i) {
      EXPECT_EQ(r.outputs[0][row * 16 + i], static_cast<float>(c.operands[0].values[row * 16 + i]));
    }
  }
}

}  // namespace
}  // namespace sft::testing
