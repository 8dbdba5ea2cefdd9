#include "ops/layer_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase layer_norm_case(int64_t rows, int64_t hidden, bool bias, double spread = 1.0) {
  constexpr float kEps = 1e-5F;
  OpCase c;
  c.operands = {activation({rows, hidden}, 1, spread), norm_weight({hidden}, 2)};
  if (bias) {
    c.operands.push_back(parameter({hidden}, 3));
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{layer_norm(p, in[0], in[1], bias ? in[2] : Value{}, kEps)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const auto n = static_cast<size_t>(hidden);
    Numbers y(in[0].size());
    for (size_t row = 0; row < y.size(); row += n) {
      double mean = 0.0;
      for (size_t i = 0; i < n; ++i) {
        mean += in[0][row + i] / static_cast<double>(n);
      }
      double variance = 0.0;
      for (size_t i = 0; i < n; ++i) {
        variance += (in[0][row + i] - mean) * (in[0][row + i] - mean) / static_cast<double>(n);
      }
      for (size_t i = 0; i < n; ++i) {
        y[row + i] = (in[0][row + i] - mean) / std::sqrt(variance + double{kEps}) * in[1][i] +
                     (bias ? in[2][i] : 0.0);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(LayerNorm, values_and_gradients) {
  for (const bool bias : {false, true}) {
    for (const int64_t hidden : {3, 7, 64, 577, 2100}) {
      SCOPED_TRACE(hidden);
      check_op(layer_norm_case(5, hidden, bias));
    }
  }
}

TEST(LayerNorm, tiny_rows_feel_epsilon) { check_op(layer_norm_case(3, 32, true, 1e-3)); }

// x is used again after its norm: both gradients meet.
TEST(LayerNorm, of_a_value_that_has_another_reader) {
  OpCase c = layer_norm_case(4, 24, true);
  const auto once = c.reference;
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{layer_norm(p, in[0], in[1], in[2], 1e-5F),
                       layer_norm(p, in[0], in[1], in[2], 1e-5F)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>(2, once(in)[0]);
  };
  check_op(c);
}

}  // namespace
}  // namespace sft::testing
