#include "ops/gated_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/activation.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase norm_case(int64_t rows, int64_t heads, int64_t dim, double spread = 1.0) {
  constexpr float kEps = 1e-5F;
  OpCase c;
  c.operands = {activation({rows, heads * dim}, 1, spread), activation({rows, heads * dim}, 2),
                norm_weight({dim}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{gated_norm(p, in[0], in[1], in[2], kEps)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const auto n = static_cast<size_t>(dim);
    Numbers y(in[0].size());
    for (size_t head = 0; head < y.size(); head += n) {
      double squares = 0.0;
      for (size_t i = head; i < head + n; ++i) {
        squares += in[0][i] * in[0][i] / static_cast<double>(n);
      }
      for (size_t i = 0; i < n; ++i) {
        y[head + i] = in[0][head + i] / std::sqrt(squares + double{kEps}) * in[2][i] *
                      activate(in[1][head + i], Activation::silu);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(GatedNorm, values_and_gradients) {
  for (const int64_t dim : {3, 8, 50, 128, 200}) {
    SCOPED_TRACE(dim);
    check_op(norm_case(7, 3, dim));
  }
}

TEST(GatedNorm, tiny_heads_feel_epsilon) { check_op(norm_case(3, 2, 32, 1e-3)); }

}  // namespace
}  // namespace sft::testing
