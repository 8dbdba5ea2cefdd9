#include "ops/rmsnorm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

Numbers norm_rows(const Numbers& x, const Numbers& weight, const RmsNorm& options) {
  const size_t n = weight.size();
  Numbers y(x.size());
  for (size_t row = 0; row < x.size(); row += n) {
    double squares = 0.0;
    for (size_t i = 0; i < n; ++i) {
      squares += x[row + i] * x[row + i];
    }
    const double root = std::sqrt(squares / static_cast<double>(n) + double{options.eps});
    for (size_t i = 0; i < n; ++i) {
      y[row + i] = x[row + i] / root * (double{options.weight_offset} + weight[i]);
    }
  }
  return y;
}

Numbers sum_of(const Numbers& a, const Numbers& b) {
  Numbers sum(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    sum[i] = a[i] + b[i];
  }
  return sum;
}

OpCase norm_case(int64_t rows, int64_t hidden, const RmsNorm& options, double spread = 1.0) {
  OpCase c;
  c.operands = {activation({rows, hidden}, 1, spread), norm_weight({hidden}, 2)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rmsnorm(p, in[0], in[1], options)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{norm_rows(in[0], in[1], options)};
  };
  return c;
}

TEST(RmsNorm, values_and_gradients) {
  for (const int64_t hidden : {2, 7, 64, 577}) {
    SCOPED_TRACE(hidden);
    check_op(norm_case(5, hidden, {1e-6F, 0.0F}));
  }
}

TEST(RmsNorm, pieces_of_rows_are_normed_by_themselves) {
  for (const int64_t n : {7, 48, 256}) {
    SCOPED_TRACE(n);
    OpCase c = norm_case(5, 3 * n, {1e-6F, 0.0F});
    c.operands[1] = norm_weight({n}, 2);
    check_op(c);
  }
}

TEST(RmsNorm, offset_weights) { check_op(norm_case(4, 48, {1e-6F, 1.0F})); }

TEST(RmsNorm, tiny_rows_feel_epsilon) { check_op(norm_case(3, 32, {1e-5F, 0.0F}, 1e-3)); }

TEST(RmsNorm, large_rows) { check_op(norm_case(3, 32, {1e-6F, 0.0F}, 1e6)); }

TEST(RmsNorm, a_row_of_zeros_stays_zero) {
  OpCase c = norm_case(2, 16, {1e-6F, 0.0F});
  std::fill_n(c.operands[0].values.begin(), 16, 0.0);
  c.gradient_tolerance = 1e-4;
  const OpResult r = run_op(c);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(r.outputs[0][i], 0.0F);
    EXPECT_TRUE(std::isfinite(r.gradients[0][i]));
  }
}

// x is used again after its norm: both gradients meet.
TEST(RmsNorm, of_a_value_that_has_another_reader) {
  OpCase c = norm_case(4, 24, {1e-6F, 0.0F});
  const auto options = RmsNorm{1e-6F, 0.0F};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rmsnorm(p, in[0], in[1], options), rmsnorm(p, in[0], in[1], options)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>(2, norm_rows(in[0], in[1], options));
  };
  check_op(c);
}

OpCase add_norm_case(bool sum_is_used, bool norm_is_used, const RmsNorm& options) {
  OpCase c;
  c.operands = {activation({6, 40}, 1), activation({6, 40}, 2), norm_weight({40}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const auto [sum, y] = add_rmsnorm(p, in[0], in[1], in[2], options);
    std::vector<Value> out;
    if (norm_is_used) {
      out.push_back(y);
    }
    if (sum_is_used) {
      out.push_back(sum);
    }
    return out;
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers sum = sum_of(in[0], in[1]);
    std::vector<Numbers> out;
    if (norm_is_used) {
      out.push_back(norm_rows(sum, in[2], options));
    }
    if (sum_is_used) {
      out.push_back(sum);
    }
    return out;
  };
  return c;
}

TEST(AddRmsNorm, only_the_norm_is_used) { check_op(add_norm_case(false, true, {1e-6F, 0.0F})); }

TEST(AddRmsNorm, the_sum_is_used_later) { check_op(add_norm_case(true, true, {1e-6F, 1.0F})); }

TEST(AddRmsNorm, only_the_sum_is_used) {
  OpCase c = add_norm_case(true, false, {1e-6F, 0.0F});
  c.operands[2].kind = Operand::Kind::frozen;
  check_op(c);
}

TEST(AddRmsNorm, of_a_value_with_itself) {
  OpCase c;
  const RmsNorm options{1e-6F, 0.0F};
  c.operands = {activation({3, 16}, 1), norm_weight({16}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const auto [sum, y] = add_rmsnorm(p, in[0], in[0], in[1], options);
    return std::vector{sum, y};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers sum = sum_of(in[0], in[0]);
    return std::vector<Numbers>{sum, norm_rows(sum, in[1], options)};
  };
  check_op(c);
}

// Two in a row, as in a decoder: the residual's gradient flows past the second norm into the first.
TEST(AddRmsNorm, a_chain_of_two) {
  OpCase c;
  const RmsNorm options{1e-6F, 0.0F};
  c.operands = {activation({5, 32}, 1), activation({5, 32}, 2), activation({5, 32}, 3),
                norm_weight({32}, 4), norm_weight({32}, 5)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const auto [a, ya] = add_rmsnorm(p, in[0], in[1], in[3], options);
    const auto [b, yb] = add_rmsnorm(p, a, in[2], in[4], options);
    return std::vector{ya, b, yb};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers a = sum_of(in[0], in[1]);
    const Numbers b = sum_of(a, in[2]);
    return std::vector<Numbers>{norm_rows(a, in[3], options), b, norm_rows(b, in[4], options)};
  };
  check_op(c);
}

// One large value among small ones that a float32 sum of the squares would lose: 1e-4 of it. The
// sanitizers' build has no vector lanes, so that a block of the sum is one chain of additions.
TEST(RmsNorm, a_long_row_costs_no_digits) {
#ifdef SFT_SANITIZED
  constexpr double kTolerance = 1e-5;
#else
  constexpr double kTolerance = 1e-6;
#endif
  for (const int64_t hidden : {4096, 8192}) {
    OpCase c = norm_case(1, hidden, {0.0F, 0.0F});
    std::fill(c.operands[0].values.begin(), c.operands[0].values.end(), 0x1p-12);
    c.operands[0].values[3] = 1.0;
    std::fill(c.operands[1].values.begin(), c.operands[1].values.end(), 1.0);
    const Numbers want = norm_rows(c.operands[0].values, c.operands[1].values, {0.0F, 0.0F});
    for (const OpRun& run : runs_everywhere()) {
      EXPECT_NEAR(run_op(c, run).outputs[0][3] / want[3], 1.0, kTolerance) << hidden;
    }
  }
}

// The weight's gradient sums over all tokens; here every one adds the same.
TEST(RmsNorm, many_tokens_cost_no_digits) {
  constexpr int64_t kRows = 300000;
  OpCase c = norm_case(kRows, 2, {0.0F, 0.0F});
  std::fill(c.operands[0].values.begin(), c.operands[0].values.end(), 1.0);
  c.even_gradients = true;
  for (const OpRun& run : runs_everywhere()) {
    const OpResult r = run_op(c, run);
    for (const float g : r.gradients[1]) {
      EXPECT_NEAR(g / (static_cast<double>(kRows) * kEvenGradient), 1.0, 1e-6);
    }
  }
}

}  // namespace
}  // namespace sft::testing
