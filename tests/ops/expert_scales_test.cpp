#include "ops/expert_scales.h"

#include <gtest/gtest.h>

#include "support/op_case.h"

namespace sft::testing {
namespace {

// Experts that no token goes to have a gradient of zero.
TEST(ExpertScales, each_weight_is_multiplied_by_its_experts) {
  for (const int64_t tokens : {3, 200}) {
    constexpr int64_t kChosen = 3, kExperts = 7;
    std::vector<int> experts;
    for (int64_t i = 0; i < tokens * kChosen; ++i) {
      experts.push_back(static_cast<int>((i / kChosen + i % kChosen * 2) % (kExperts - 1)));
    }
    OpCase c;
    // Both in float32 whatever the program computes in.
    c.operands = {norm_weight({tokens, kChosen}, 1), norm_weight({kExperts}, 2), indices(experts)};
    c.build = [tokens](Program& p, const std::vector<Value>& in) {
      const Value numbers = p.make("numbers", {tokens, kChosen}, DType::i32);
      p.emit("shape", {in[2]}, {numbers}, [](const sft::Run& r) {
        r.device().copy(r.out(0).data, r.in(0).data, r.in(0).bytes());
      });
      return std::vector{scale_experts(p, {in[0], numbers}, in[1]).weights};
    };
    c.reference = [experts](const std::vector<Numbers>& in) {
      Numbers out;
      for (size_t i = 0; i < experts.size(); ++i) {
        out.push_back(in[0][i] * in[1][static_cast<size_t>(experts[i])]);
      }
      return std::vector<Numbers>{out};
    };
    check_op(c);
  }
}

}  // namespace
}  // namespace sft::testing
