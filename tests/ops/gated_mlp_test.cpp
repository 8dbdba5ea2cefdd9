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

// What a layer's adapter adds to y (tokens, out): each piece has its rows of b and of the middle.
void add_adapter(const Numbers& x, const Numbers& a, const Numbers& b, size_t in,
                 const std::vector<LoraPiece>& pieces, Numbers& y) {
  const Numbers low = product(x, a, in);
  const size_t tokens = x.size() / in, width = low.size() / tokens, out = y.size() / tokens;
  const size_t rank = width / pieces.size();
  size_t row = 0;
  for (size_t p = 0; p < pieces.size(); ++p) {
    for (int64_t i = 0; i < pieces[p].rows; ++i, ++row) {
      for (size_t t = 0; t < tokens; ++t) {
        double sum = 0.0;
        for (size_t k = 0; k < rank; ++k) {
          sum += low[t * width + p * rank + k] * b[row * rank + k];
        }
        y[t * out + static_cast<size_t>(pieces[p].first_row + i)] += pieces[p].scale * sum;
      }
    }
  }
}

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

// The same with adapters: of gate and up, or of up alone, and of down.
OpCase adapted_case(const Sizes& s, Activation kind, int64_t rank, bool gate, DType stored) {
  OpCase c;
  const double spread = 1.0 / std::sqrt(static_cast<double>(s.hidden));
  std::vector<LoraPiece> pieces{{s.intermediate, s.intermediate, 1.5F}};
  if (gate) {
    pieces.insert(pieces.begin(), {0, s.intermediate, 0.5F});
  }
  const auto count = static_cast<int64_t>(pieces.size());
  c.operands = {activation({s.tokens, s.hidden}, 1),
                frozen({2 * s.intermediate, s.hidden}, stored, 2, spread),
                frozen({s.hidden, s.intermediate}, stored, 3, spread),
                parameter({count * rank, s.hidden}, 4, spread),
                parameter({count * s.intermediate, rank}, 5, spread),
                parameter({rank, s.intermediate}, 6, spread),
                parameter({s.hidden, rank}, 7, spread)};
  for (Operand& o : c.operands) {
    for (double& x : o.values) {
      x = is_packed(o.dtype) ? x : to_float(to_bfloat16(static_cast<float>(x)));
    }
  }
  const std::vector<LoraPiece> all{{0, s.hidden, 2.0F}};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{gated_mlp(p, in[0], {in[1], {}, {Lora{in[3], in[4], pieces}}},
                                 {in[2], {}, {Lora{in[5], in[6], all}}}, kind)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const auto n = static_cast<size_t>(s.intermediate), hidden = static_cast<size_t>(s.hidden);
    Numbers gate_up = product(in[0], in[1], hidden);
    add_adapter(in[0], in[3], in[4], hidden, pieces, gate_up);
    Numbers y;
    for (size_t row = 0; row < gate_up.size(); row += 2 * n) {
      for (size_t i = 0; i < n; ++i) {
        y.push_back(activate(gate_up[row + i], kind) * gate_up[row + n + i]);
      }
    }
    Numbers out = product(y, in[2], n);
    add_adapter(y, in[5], in[6], n, all, out);
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

TEST_P(GatedMlp, with_adapters) {
  check_op(adapted_case({5, 8, 16}, GetParam(), 4, true, DType::f32));
  check_op(adapted_case({3, 7, 5}, GetParam(), 3, true, DType::bf16));
  check_op(adapted_case({6, 8, 8}, GetParam(), 2, false, DType::nf4));
}

double distance(const std::vector<float>& x, const std::vector<float>& y) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - y[i], 2);
    size += std::pow(y[i], 2);
  }
  return std::sqrt(difference / size);
}

// A tile has its part of the tokens; the last has fewer.
TEST_P(GatedMlp, some_tokens_at_a_time_give_the_same) {
  for (const OpRun& run : runs_everywhere()) {
    for (const bool gate : {true, false}) {
      const OpCase c = adapted_case({11, 8, 16}, GetParam(), 4, gate, DType::nf4);
      OpRun tiled = run;
      tiled.mlp_tile = 4;
      const OpResult want = run_op(c, run), got = run_op(c, tiled);
      EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 1e-5);
      OpRun again = tiled;
      again.recompute = Recompute::block;
      const OpResult recomputed = run_op(c, again);
      OpRun more = tiled;
      more.first_micro_batch = false;
      const OpResult added = run_op(c, more);
      for (size_t i = 0; i < c.operands.size(); ++i) {
        if (c.operands[i].differentiable()) {
          EXPECT_LT(distance(got.gradients[i], want.gradients[i]), 1e-5) << i;
          EXPECT_EQ(got.gradients[i], recomputed.gradients[i]) << i;
          EXPECT_NEAR(added.gradients[i][0] - got.gradients[i][0], kGradientBefore, 1e-5) << i;
        }
      }
    }
  }
}

void compare_with_gpu(const OpCase& c) {
  Device* const gpu = test_gpu();
  const OpResult want = run_op(c, {.threads = 2});
  const OpResult got = run_op(c, {.device = gpu, .compute = DType::bf16});
  const OpResult again = run_op(c, {.device = gpu, .compute = DType::bf16});
  EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 8e-3);
  EXPECT_EQ(got.outputs[0], again.outputs[0]);
  for (size_t i = 0; i < c.operands.size(); ++i) {
    if (!c.operands[i].differentiable()) {
      continue;
    }
    SCOPED_TRACE(i);
    EXPECT_LT(distance(got.gradients[i], want.gradients[i]), 8e-3);
    EXPECT_EQ(got.gradients[i], again.gradients[i]);
  }
}

// Large enough for the kernels that join product and activation; no size fits a tile.
TEST_P(GatedMlp, many_tokens_on_a_gpu) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const Sizes& s : {Sizes{2048, 64, 128}, Sizes{2100, 200, 264}, Sizes{5001, 72, 1032}}) {
    SCOPED_TRACE(s.tokens);
    compare_with_gpu(mlp_case(s, GetParam(), false));
  }
}

TEST_P(GatedMlp, many_tokens_and_adapters_on_a_gpu) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const Sizes& s : {Sizes{2048, 64, 128}, Sizes{2100, 200, 264}, Sizes{5001, 72, 1032}}) {
    for (const int64_t rank : {4, 16, 40, 136}) {
      SCOPED_TRACE(s.tokens + rank);
      compare_with_gpu(adapted_case(s, GetParam(), rank, s.tokens != 2100, DType::bf16));
    }
  }
  compare_with_gpu(adapted_case({2050, 128, 192}, GetParam(), 16, true, DType::nf4_nested));
}

INSTANTIATE_TEST_SUITE_P(Kinds, GatedMlp,
                         ::testing::Values(Activation::silu, Activation::gelu_tanh),
                         [](const auto& kind) {
                           return kind.param == Activation::silu ? "silu" : "gelu_tanh";
                         });

}  // namespace
}  // namespace sft::testing
