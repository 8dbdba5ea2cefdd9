#include "ops/linear_cross_entropy.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "support/op_case.h"

namespace sft::testing {
namespace {

constexpr int kMasked = -100;

// The logarithm of each row's probabilities; rows that are not trained stay empty.
std::vector<Numbers> log_probabilities(const std::vector<Numbers>& in, int64_t width,
                                       double cap = 0.0) {
  const auto n = static_cast<size_t>(width);
  std::vector<Numbers> rows(in[2].size());
  for (size_t t = 0; t < rows.size(); ++t) {
    if (in[2][t] < 0) {
      continue;
    }
    for (size_t v = 0; v < in[1].size() / n; ++v) {
      double dot = 0.0;
      for (size_t i = 0; i < n; ++i) {
        dot += in[0][t * n + i] * in[1][v * n + i];
      }
      rows[t].push_back(cap > 0.0 ? cap * std::tanh(dot / cap) : dot);
    }
    const double top = *std::ranges::max_element(rows[t]);
    double sum = 0.0;
    for (const double x : rows[t]) {
      sum += std::exp(x - top);
    }
    for (double& x : rows[t]) {
      x -= top + std::log(sum);
    }
  }
  return rows;
}

Numbers stats_of(const std::vector<Numbers>& in, int64_t width, LossType type) {
  Numbers stats(4, 0.0);
  const auto rows = log_probabilities(in, width);
  for (size_t t = 0; t < rows.size(); ++t) {
    if (rows[t].empty()) {
      continue;
    }
    const auto target = static_cast<size_t>(in[2][t]);
    const double log_p = rows[t][target];
    stats[0] -= (type == LossType::dft ? std::exp(log_p) : 1.0) * log_p;
    stats[1] += std::ranges::max_element(rows[t]) == rows[t].begin() + static_cast<long>(target);
    for (const double x : rows[t]) {
      stats[2] -= std::exp(x) * x;
    }
    stats[3] += 1.0;
  }
  return stats;
}

Operand trained_rows(const std::vector<int>& targets) {
  std::vector<int> rows;
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] >= 0) {
      rows.push_back(static_cast<int>(t));
    }
  }
  Operand o = indices(rows);
  o.sized_by_host = true;
  return o;
}

OpCase loss_case(const std::vector<int>& targets, int64_t width, int64_t vocab, LossType type,
                 double scale = 0.25) {
  OpCase c;
  const auto tokens = static_cast<int64_t>(targets.size());
  c.operands = {activation({tokens, width}, 1),
                parameter({vocab, width}, 2),
                indices(targets),
                {Operand::Kind::index, {1}, {scale}, DType::f32},
                trained_rows(targets)};
  c.bf16_tolerance = 5e-2;
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear_cross_entropy(p, in[0], in[1], in[2], in[4], in[3], type)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{stats_of(in, width, type)};
  };
  // The gradient holds dft's weight where it is.
  Numbers weights;
  const std::vector<Numbers> now{c.operands[0].values, c.operands[1].values, c.operands[2].values};
  const auto rows = log_probabilities(now, width);
  for (size_t t = 0; t < rows.size(); ++t) {
    const bool weighted = type == LossType::dft && !rows[t].empty();
    weights.push_back(weighted ? std::exp(rows[t][static_cast<size_t>(targets[t])]) : 1.0);
  }
  c.loss = [=](const std::vector<Numbers>& in) {
    double loss = 0.0;
    const auto log_p = log_probabilities(in, width);
    for (size_t t = 0; t < log_p.size(); ++t) {
      loss -= log_p[t].empty() ? 0.0 : weights[t] * log_p[t][static_cast<size_t>(targets[t])];
    }
    return scale * loss;
  };
  return c;
}

std::vector<int> some_targets(int tokens, int vocab, int masked_every) {
  std::vector<int> targets;
  for (int t = 0; t < tokens; ++t) {
    targets.push_back(masked_every > 0 && t % masked_every == 0 ? kMasked : t * 7 % vocab);
  }
  return targets;
}

class LinearCrossEntropy : public ::testing::TestWithParam<LossType> {};

TEST_P(LinearCrossEntropy, values_and_gradients) {
  check_op(loss_case(some_targets(9, 37, 0), 12, 37, GetParam()));
  check_op(loss_case({0}, 1, 1, GetParam()));
  check_op(loss_case({4, 1}, 16, 5, GetParam(), 1.0));
}

TEST_P(LinearCrossEntropy, masked_rows_have_no_part) {
  const OpCase c = loss_case(some_targets(10, 20, 3), 12, 20, GetParam());
  check_op(c);
  const OpResult r = run_op(c);
  for (size_t i = 0; i < r.gradients[0].size(); ++i) {
    EXPECT_EQ(r.gradients[0][i] == 0.0F, i / 12 % 3 == 0) << i;
  }
}

TEST_P(LinearCrossEntropy, several_chunks_of_rows) {
  const auto rows = static_cast<int>(loss_workspace({}, 1, 11, 6)[0]);
  OpCase c = loss_case(some_targets(2 * rows + 2 * rows / 5 + 1, 11, 5), 6, 11, GetParam(), 1e-3);
  c.checked = 40;
  check_op(c);
}

TEST_P(LinearCrossEntropy, nothing_trained_gives_exact_zeros) {
  for (const int threads : {1, 3}) {
    const OpCase c = loss_case({kMasked, kMasked, -1}, 12, 20, GetParam());
    const OpResult r = run_op(c, {.threads = threads});
    EXPECT_EQ(r.outputs[0], std::vector<float>(4, 0.0F));
    EXPECT_EQ(r.gradients[0], std::vector<float>(36, 0.0F));
    EXPECT_EQ(r.gradients[1], std::vector<float>(240, 0.0F));
    const OpResult added = run_op(c, {.threads = threads, .first_micro_batch = false});
    EXPECT_EQ(added.gradients[1], std::vector<float>(240, kGradientBefore));
  }
}

// Rows of the head that point along the only hidden unit: the logits are the given numbers.
OpCase logits_case(const std::vector<float>& logits, int target, LossType type) {
  OpCase c = loss_case({target}, 1, static_cast<int64_t>(logits.size()), type, 1.0);
  c.operands[0].values = {1.0};
  c.operands[1].values.assign(logits.begin(), logits.end());
  return c;
}

TEST_P(LinearCrossEntropy, the_first_of_equal_logits_is_the_prediction) {
  const auto correct = [&](const std::vector<float>& logits, int target) {
    return run_op(logits_case(logits, target, GetParam())).outputs[0][1];
  };
  EXPECT_EQ(correct({1, 5, 2, 5, 0}, 1), 1.0F);
  EXPECT_EQ(correct({1, 5, 2, 5, 0}, 3), 0.0F);
  EXPECT_EQ(correct({1, 5, 2, 5, 0}, 2), 0.0F);
  EXPECT_EQ(correct(std::vector<float>(40, 0.5F), 0), 1.0F);
  EXPECT_EQ(correct(std::vector<float>(40, 0.5F), 39), 0.0F);
}

TEST_P(LinearCrossEntropy, even_and_certain_rows) {
  OpResult r = run_op(logits_case(std::vector<float>(64, -3.0F), 5, LossType::nll));
  EXPECT_NEAR(r.outputs[0][0], std::log(64.0), 1e-6);
  EXPECT_NEAR(r.outputs[0][2], std::log(64.0), 1e-6);
  r = run_op(logits_case({-2e4F, 3e4F, 0.0F}, 1, GetParam()));
  EXPECT_EQ(r.outputs[0][0], 0.0F);
  EXPECT_EQ(r.outputs[0][1], 1.0F);
  EXPECT_NEAR(r.outputs[0][2], 0.0, 1e-30);
  r = run_op(logits_case({-2e4F, 3e4F, 0.0F}, 0, LossType::nll));
  EXPECT_EQ(r.outputs[0][0], 5e4F);
}

// Wherever it stands in the row, and whether or not it is the target, a logit that is not finite
// must not give a loss that looks sound.
TEST_P(LinearCrossEntropy, a_broken_logit_breaks_the_loss) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const size_t at : {0, 1, 15, 16, 31, 36}) {
      for (const int target : {0, 7, 36}) {
        std::vector<float> logits(37);
        for (size_t i = 0; i < logits.size(); ++i) {
          logits[i] = std::sin(static_cast<float>(i));
        }
        logits[at] = bad;
        const OpResult r = run_op(logits_case(logits, target, GetParam()));
        EXPECT_FALSE(std::isfinite(r.outputs[0][0]))
            << bad << " at " << at << ", target " << target;
      }
    }
  }
}

TEST_P(LinearCrossEntropy, a_broken_hidden_value_breaks_the_loss) {
  OpCase c = loss_case(some_targets(6, 20, 0), 12, 20, GetParam());
  c.operands[0].values[30] = NAN;
  EXPECT_FALSE(std::isfinite(run_op(c).outputs[0][0]));
}

// A vocabulary of today's size must not cost digits: neither where logits are alike, nor where one
// stands out and the sum of all others is made of terms that each hardly count.
TEST_P(LinearCrossEntropy, a_large_vocabulary_costs_no_digits) {
  for (const size_t vocab : {size_t{151936}, size_t{262144}}) {
    for (const float outlier : {0.0F, 17.0F, 30.0F}) {
      std::vector<float> logits(vocab);
      for (size_t i = 0; i < vocab; ++i) {
        logits[i] = static_cast<float>(1.5 * std::sin(static_cast<double>(i * i % 9973)));
      }
      logits[7] += outlier;
      const OpCase c = logits_case(logits, 7, GetParam());
      const Numbers want =
          stats_of({c.operands[0].values, c.operands[1].values, {7.0}}, 1, GetParam());
      for (const OpRun& run : runs_everywhere()) {
        const OpResult r = run_op(c, run);
        SCOPED_TRACE(fmt::format("{} logits, one larger by {}, GPU {}", vocab, outlier,
                                 run.device != nullptr));
        EXPECT_NEAR(r.outputs[0][0], want[0], 2e-6 + 1e-7 * want[0]);
        EXPECT_NEAR(r.outputs[0][2], want[2], 5e-6 + 2e-7 * want[2]);
        // The gradients of a row's logits, here those of the weights, add up to nothing.
        double sum = 0.0;
        for (const float g : r.gradients[1]) {
          sum += g;
        }
        EXPECT_NEAR(sum, 0.0, 2e-6);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, LinearCrossEntropy, ::testing::Values(LossType::nll, LossType::dft),
                         [](const auto& kind) {
                           return kind.param == LossType::nll ? "nll" : "dft";
                         });

// An adapter on the head is a head that is a few columns wider.
OpCase adapted_case(const std::vector<int>& targets, int64_t width, int64_t rank, int64_t vocab) {
  constexpr double kScale = 1.5;
  OpCase c = loss_case(targets, width, vocab, LossType::nll);
  const auto tokens = static_cast<int64_t>(targets.size());
  c.operands.push_back(activation({tokens, rank}, 7));
  c.operands.push_back(parameter({vocab, rank}, 8));
  const auto widened = [=](const std::vector<Numbers>& in) {
    std::vector<Numbers> out(3);
    const auto join = [](const Numbers& x, int64_t n, const Numbers& y, int64_t m, double scale,
                         Numbers& to) {
      for (size_t row = 0; row < x.size() / static_cast<size_t>(n); ++row) {
        for (int64_t i = 0; i < n; ++i) {
          to.push_back(x[row * static_cast<size_t>(n) + static_cast<size_t>(i)]);
        }
        for (int64_t i = 0; i < m; ++i) {
          to.push_back(scale * y[row * static_cast<size_t>(m) + static_cast<size_t>(i)]);
        }
      }
    };
    join(in[0], width, in[5], rank, kScale, out[0]);
    join(in[1], width, in[6], rank, 1.0, out[1]);
    out[2] = in[2];
    return out;
  };
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear_cross_entropy(p, in[0], in[1], in[2], in[4], in[3], LossType::nll,
                                            {in[5], in[6], static_cast<float>(kScale)})};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{stats_of(widened(in), width + rank, LossType::nll)};
  };
  c.loss = [=](const std::vector<Numbers>& in) {
    double loss = 0.0;
    for (size_t t = 0; const Numbers& log_p : log_probabilities(widened(in), width + rank)) {
      const auto target = static_cast<size_t>(std::max(in[2][t++], 0.0));
      loss -= log_p.empty() ? 0.0 : log_p[target];
    }
    return 0.25 * loss;
  };
  return c;
}

TEST(HeadUpdate, values_and_gradients) {
  check_op(adapted_case(some_targets(9, 37, 0), 12, 3, 37));
  check_op(adapted_case(some_targets(10, 20, 3), 12, 8, 20));
}

// (1 - s) nll + s mean(-log p), as transformers' LabelSmoother has it.
OpCase smoothed_case(const std::vector<int>& targets, int64_t width, int64_t vocab, double s) {
  OpCase c = loss_case(targets, width, vocab, LossType::nll);
  const auto smoothed = [=](const std::vector<Numbers>& in) {
    double loss = 0.0;
    for (size_t t = 0; const Numbers& log_p : log_probabilities(in, width)) {
      const auto target = static_cast<size_t>(std::max(in[2][t++], 0.0));
      for (const double x : log_p) {
        loss -= s * x / static_cast<double>(vocab);
      }
      loss -= log_p.empty() ? 0.0 : (1.0 - s) * log_p[target];
    }
    return loss;
  };
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const TokenLoss loss(LossType::nll, static_cast<float>(s));
    return std::vector{linear_cross_entropy(p, in[0], in[1], in[2], in[4], in[3], loss)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers stats = stats_of(in, width, LossType::nll);
    stats[0] = smoothed(in);
    return std::vector<Numbers>{stats};
  };
  c.loss = [=](const std::vector<Numbers>& in) { return 0.25 * smoothed(in); };
  return c;
}

// Gemma 2's, alone and with label smoothing.
TEST(LogitCap, values_and_gradients) {
  for (const float smoothing : {0.0F, 0.2F}) {
    SCOPED_TRACE(smoothing);
    const std::vector<int> targets{3, kMasked, 0, 5, 17};
    constexpr int64_t kWidth = 8;
    OpCase c = loss_case(targets, kWidth, 24, LossType::nll);
    TokenLoss loss(LossType::nll, smoothing);
    loss.cap = 2.0F;
    c.build = [=](Program& p, const std::vector<Value>& in) {
      return std::vector{linear_cross_entropy(p, in[0], in[1], in[2], in[4], in[3], loss)};
    };
    const auto total = [=](const std::vector<Numbers>& in, Numbers* stats) {
      double sum = 0.0;
      const auto rows = log_probabilities(in, kWidth, 2.0);
      for (size_t t = 0; t < rows.size(); ++t) {
        if (rows[t].empty()) {
          continue;
        }
        double mean = 0.0;
        double entropy = 0.0;
        for (const double x : rows[t]) {
          mean += x / static_cast<double>(rows[t].size());
          entropy -= std::exp(x) * x;
        }
        const auto target = static_cast<size_t>(targets[t]);
        const double nll = -rows[t][target];
        sum += (1.0 - double{smoothing}) * nll - double{smoothing} * mean;
        if (stats != nullptr) {
          const auto top = std::ranges::max_element(rows[t]) - rows[t].begin();
          (*stats)[1] += top == static_cast<long>(target) ? 1.0 : 0.0;
          (*stats)[2] += entropy;
          (*stats)[3] += 1.0;
        }
      }
      return sum;
    };
    c.reference = [=](const std::vector<Numbers>& in) {
      Numbers stats(4, 0.0);
      stats[0] = total(in, &stats);
      return std::vector<Numbers>{stats};
    };
    c.loss = [=](const std::vector<Numbers>& in) { return 0.25 * total(in, nullptr); };
    check_op(c);
  }
}

TEST(LabelSmoothing, values_and_gradients) {
  check_op(smoothed_case(some_targets(9, 37, 0), 12, 37, 0.1));
  check_op(smoothed_case(some_targets(10, 20, 3), 12, 20, 0.45));
  check_op(smoothed_case({0}, 1, 1, 0.3));
}

TEST(LabelSmoothing, none_is_the_plain_loss_to_the_bit) {
  const OpCase plain = loss_case(some_targets(10, 20, 3), 12, 20, LossType::nll);
  const OpCase smoothed = smoothed_case(some_targets(10, 20, 3), 12, 20, 0.0);
  EXPECT_EQ(run_op(smoothed).outputs, run_op(plain).outputs);
  EXPECT_EQ(run_op(smoothed).gradients, run_op(plain).gradients);
}

TEST(LossChunks, hold_at_most_64_mib_and_at_least_32_rows) {
  for (const int64_t vocab : {1, 128, 32000, 151936, 262144, 2000000}) {
    const int64_t rows = loss_workspace({}, 1, vocab, 64)[0];
    EXPECT_GE(rows, 32);
    EXPECT_LE(rows, 512);
    EXPECT_TRUE(rows == 32 || rows * vocab * 4 <= int64_t{64} << 20);
  }
}

// --mlp_tile holds for the logits too, which is what then takes most memory.
TEST(LossChunks, hold_no_more_rows_than_a_tile) {
  const OpCase c = loss_case(some_targets(700, 20, 3), 12, 20, LossType::nll, 1e-3);
  const OpResult whole = run_op(c), tiled = run_op(c, {.mlp_tile = 200});
  for (size_t i = 0; i < c.operands.size(); ++i) {
    for (size_t j = 0; j < whole.gradients[i].size(); ++j) {
      EXPECT_NEAR(tiled.gradients[i][j], whole.gradients[i][j], 1e-6);
    }
  }
  EXPECT_NEAR(tiled.outputs[0][0], whole.outputs[0][0], 1e-3);
  MemoryPolicy policy;
  policy.mlp_tile = 200;
  Program p(Program::Purpose::training, policy);
  const auto input = [&](const char* name, Shape shape, DType type) {
    return p.input(name, std::move(shape), type);
  };
  linear_cross_entropy(p, input("hidden", {700, 12}, DType::f32),
                       input("weight", {20, 12}, DType::f32), input("targets", {700}, DType::i32),
                       input("rows", {700}, DType::i32), input("scale", {1}, DType::f32), {});
  const auto& values = p.values();
  const auto held = std::ranges::find(values, "loss.workspace", &ValueInfo::name);
  ASSERT_NE(held, values.end());
  EXPECT_EQ(held->shape[0], 256);
}

}  // namespace
}  // namespace sft::testing
