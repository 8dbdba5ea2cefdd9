#include "ops/add_noise.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase noise_case(int64_t tokens, int64_t hidden) {
  OpCase c;
  c.operands = {activation({tokens, hidden}, 1), frozen({tokens, hidden}, DType::f32, 2)};
  c.operands[1].wide = true;
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{add_noise(p, in[0], in[1])};
  };
  c.reference = [](const std::vector<Numbers>& in) {
    Numbers y;
    for (size_t i = 0; i < in[0].size(); ++i) {
      y.push_back(in[0][i] + in[1][i]);
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(AddNoise, is_added_and_the_gradient_passes_through) {
  check_op(noise_case(7, 24));
  check_op(noise_case(3, 5));
  check_op(noise_case(1, 1));
}

}  // namespace
}  // namespace sft::testing
