#include "ops/add_scaled.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase add_case(int64_t rows, int64_t hidden, float factor) {
  OpCase c;
  c.operands = {activation({rows, hidden}, 1), activation({rows, hidden}, 2)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{add_scaled(p, in[0], in[1], factor)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y(in[0].size());
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = in[0][i] + double{factor} * in[1][i];
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(AddScaled, values_and_gradients) {
  for (const float factor : {1.0F, 0.25F, -3.0F}) {
    SCOPED_TRACE(factor);
    check_op(add_case(5, 33, factor));
    check_op(add_case(4, 64, factor));
  }
}

TEST(AddScaled, without_a_residual_it_scales) {
  OpCase c = add_case(3, 17, 0.5F);
  c.operands.erase(c.operands.begin());
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{add_scaled(p, {}, in[0], 0.5F)};
  };
  c.reference = [](const std::vector<Numbers>& in) {
    Numbers y = in[0];
    for (double& x : y) {
      x *= 0.5;
    }
    return std::vector<Numbers>{y};
  };
  check_op(c);
}

}  // namespace
}  // namespace sft::testing
