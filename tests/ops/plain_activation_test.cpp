#include "ops/plain_activation.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

// As torch has them: x sigmoid(x), and gelu with approximate="tanh".
double act(double x, Activation activation) {
  if (activation == Activation::silu) {
    return x / (1.0 + std::exp(-x));
  }
  return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST(PlainActivation, values_and_gradients) {
  for (const Activation activation : {Activation::silu, Activation::gelu_tanh}) {
    for (const int64_t width : {3, 40, 1500}) {
      OpCase c;
      c.operands = {sft::testing::activation({5, width}, 1, 2.0)};
      c.build = [=](Program& p, const std::vector<Value>& in) {
        return std::vector{plain_activation(p, in[0], activation)};
      };
      c.reference = [=](const std::vector<Numbers>& in) {
        Numbers y;
        for (const double x : in[0]) {
          y.push_back(act(x, activation));
        }
        return std::vector<Numbers>{y};
      };
      check_op(c);
    }
  }
}

}  // namespace
}  // namespace sft::testing
