#include "ops/gated_mlp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "ops/activation.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

// x (rows, k) weight (n, k)^T
Numbers product(const Numbers& x, const Numbers& weight, size_t k) {
  Numbers y;
  for (size_t row = 0; row < x.size(); row += k) {
    for (size_t i = 0; i < weight.size(); i += k) {
      double sum = 0.0;
      for (size_t j = 0; j < k; ++j) {
        sum += x[row + j] * weight[i + j];
      }
      y.push_back(sum);
    }
  }
  return y;
}

struct Sizes {
  int64_t tokens, hidden, intermediate;
};

// `bias`: of down, which makes the op of its parts.
OpCase mlp_case(const Sizes& s, Activation kind, bool bias) {
  OpCase c;
  const double spread = 1.0 / std::sqrt(static_cast<double>(s.hidden));
  c.operands = {activation({s.tokens, s.hidden}, 1),
                parameter({2 * s.intermediate, s.hidden}, 2, spread),
                parameter({s.hidden, s.intermediate}, 3, spread)};
  if (bias) {
    c.operands.push_back(parameter({s.hidden}, 4));
  }
  for (Operand& o : c.operands) {
    for (double& x : o.values) {  // so that a GPU that computes in bfloat16 has the same
      x = to_float(to_bfloat16(static_cast<float>(x)));
    }
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value b = bias ? in[3] : Value{};
    return std::vector{gated_mlp(p, in[0], {in[1], {}, {}}, {in[2], b, {}}, kind)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const auto n = static_cast<size_t>(s.intermediate);
    const Numbers gate_up = product(in[0], in[1], static_cast<size_t>(s.hidden));
    Numbers y;
    for (size_t row = 0; row < gate_up.size(); row += 2 * n) {
      for (size_t i = 0; i < n; ++i) {
        y.push_back(activate(gate_up[row + i], kind) * gate_up[row + n + i]);
      }
    }
    Numbers out = product(y, in[2], n);
    for (size_t i = 0; bias && i < out.size(); ++i) {
      out[i] += in[3][i % static_cast<size_t>(s.hidden)];
    }
    return std::vector<Numbers>{out};
  };
  return c;
}

class GatedMlp : public ::testing::TestWithParam<Activation> {};

TEST_P(GatedMlp, values_and_gradients) {
  check_op(mlp_case({5, 8, 16}, GetParam(), false));
  check_op(mlp_case({3, 7, 5}, GetParam(), false));
  check_op(mlp_case({1, 1, 1}, GetParam(), false));
}

TEST_P(GatedMlp, with_a_bias) { check_op(mlp_case({5, 8, 16}, GetParam(), true)); }

double distance(const std::vector<float>& x, const std::vector<float>& y) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - y[i], 2);
    size += std::pow(y[i], 2);
  }
  return std::sqrt(difference / size);
}

// Large enough for the kernels that join product and activation; no size fits a tile.
TEST_P(GatedMlp, many_tokens_on_a_gpu) {
  Device* gpu = test_gpu();
  if (gpu == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const Sizes& s : {Sizes{2048, 64, 128}, Sizes{2100, 200, 264}, Sizes{5001, 72, 1032}}) {
    SCOPED_TRACE(s.tokens);
    const OpCase c = mlp_case(s, GetParam(), false);
    const OpResult want = run_op(c, {.threads = 2});
    const OpResult got = run_op(c, {.device = gpu, .compute = DType::bf16});
    const OpResult again = run_op(c, {.device = gpu, .compute = DType::bf16});
    EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 8e-3);
    EXPECT_EQ(got.outputs[0], again.outputs[0]);
    for (size_t i = 0; i < c.operands.size(); ++i) {
      SCOPED_TRACE(i);
      EXPECT_LT(distance(got.gradients[i], want.gradients[i]), 8e-3);
      EXPECT_EQ(got.gradients[i], again.gradients[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GatedMlp,
                         ::testing::Values(Activation::silu, Activation::gelu_tanh),
                         [](const auto& kind) {
                           return kind.param == Activation::silu ? "silu" : "gelu_tanh";
                         });

}  // namespace
}  // namespace sft::testing
