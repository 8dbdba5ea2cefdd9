#include "ops/sigmoid_gate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

TEST(SigmoidGate, of_each_value_and_of_many_at_a_time) {
  for (const auto& [n, gates] : std::vector<std::pair<int64_t, int64_t>>{
           {24, 24}, {7, 7}, {600, 600}, {24, 3}, {577, 1}, {2048, 1}}) {
    SCOPED_TRACE(n);
    SCOPED_TRACE(gates);
    OpCase c;
    c.operands = {activation({5, n}, 1), activation({5, gates}, 2)};
    c.build = [](Program& p, const std::vector<Value>& in) {
      return std::vector{sigmoid_gate(p, in[0], in[1])};
    };
    c.reference = [width = static_cast<size_t>(n / gates)](const std::vector<Numbers>& in) {
      Numbers y(in[0]);
      for (size_t i = 0; i < y.size(); ++i) {
        y[i] /= 1.0 + std::exp(-in[1][i / width]);
      }
      return std::vector<Numbers>{y};
    };
    check_op(c);
  }
}

}  // namespace
}  // namespace sft::testing
