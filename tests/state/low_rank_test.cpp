// What PiSSA and OLoRA take out of a weight, against what defines it.
#include "state/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "core/torch_random.h"

namespace sft {
namespace {

struct Weight {
  std::vector<float> values;
  int64_t out, in;
  WeightView view() const { return {values, out, in}; }
};

Weight random_weight(int64_t out, int64_t in) {
  Weight w{std::vector<float>(static_cast<size_t>(out * in)), out, in};
  for (size_t i = 0; i < w.values.size(); ++i) {
    w.values[i] = 0.1F * normal(3, 0, i);
  }
  return w;
}

// Sums of squares of W and of W - scale B A.
std::pair<double, double> squares(const Weight& w, const LowRank& low, float scale) {
  const auto rank = static_cast<int64_t>(low.b.size()) / w.out;
  double before = 0, after = 0;
  for (int64_t o = 0; o < w.out; ++o) {
    for (int64_t i = 0; i < w.in; ++i) {
      double x = w.values[static_cast<size_t>(o * w.in + i)];
      before += x * x;
      for (int64_t k = 0; k < rank; ++k) {
        x -= static_cast<double>(scale) * low.b[static_cast<size_t>(o * rank + k)] *
             low.a[static_cast<size_t>(k * w.in + i)];
      }
      after += x * x;
    }
  }
  return {before, after};
}

double sum_of_squares(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) {
    sum += static_cast<double>(v) * v;
  }
  return sum;
}

// Of a weight that has that rank nothing is left; of any, both halves weigh the same, and what is
// left is as small as the singular values say: each direction taken away takes its own square.
TEST(Pissa, takes_the_largest_directions_and_shares_them_between_both_halves) {
  ThreadPool pool(2);
  constexpr float kScale = 2.0F;
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{40, 64}, {150, 90}, {7, 7}}) {
    const Weight w = random_weight(out, in);
    double left = squares(w, pissa(w.view(), 1, kScale, pool), kScale).second;
    for (int64_t rank = 2; rank <= 6; ++rank) {
      const LowRank low = pissa(w.view(), rank, kScale, pool);
      const auto [before, after] = squares(w, low, kScale);
      EXPECT_LT(after, left);
      EXPECT_NEAR(sum_of_squares(low.a), sum_of_squares(low.b), 1e-5 * before);
      // Orthogonal directions: what was taken and what is left add up.
      double taken = 0;
      for (int64_t k = 0; k < rank; ++k) {
        double length = 0;
        for (int64_t i = 0; i < in; ++i) {
          length += std::pow(static_cast<double>(low.a[static_cast<size_t>(k * in + i)]), 2);
        }
        taken += std::pow(kScale * length, 2);
      }
      EXPECT_NEAR(before, after + taken, 1e-5 * before);
      left = after;
    }
    const LowRank all = pissa(w.view(), std::min(out, in), kScale, pool);
    EXPECT_LT(squares(w, all, kScale).second, 1e-10);
  }
}

TEST(Pissa, a_weight_of_lower_rank_leaves_nothing) {
  ThreadPool pool(1);
  Weight w = random_weight(30, 20);
  for (int64_t o = 0; o < 30; ++o) {
    for (int64_t i = 0; i < 20; ++i) {
      w.values[static_cast<size_t>(o * 20 + i)] =
          static_cast<float>(o % 5 + 1) * 0.25F * static_cast<float>(i % 3 - 1);
    }
  }
  EXPECT_LT(squares(w, pissa(w.view(), 4, 1.0F, pool), 1.0F).second, 1e-9);
  EXPECT_LT(squares(w, olora(w.view(), 4, pool), 1.0F).second, 1e-9);
}

TEST(Pissa, iterations_come_near_the_same) {
  ThreadPool pool(1);
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{40, 64}, {64, 40}}) {
    const Weight w = random_weight(out, in);
    std::vector<float> start(40 * 4);
    TorchGenerator(1).normal(start);
    const double best = squares(w, pissa(w.view(), 4, 1.0F, pool), 1.0F).second;
    double before = 1e9;
    for (const int iterations : {0, 2, 60}) {
      const LowRank low = pissa_iterated(w.view(), 4, 1.0F, iterations, start, pool);
      const double left = squares(w, low, 1.0F).second;
      EXPECT_GE(left, best * (1 - 1e-6));
      EXPECT_LE(left, before);
      before = left;
    }
    EXPECT_NEAR(before, best, 1e-3 * best);
  }
}

// numpy.linalg.qr of a weight: the columns of Q, and rows of R that begin on the diagonal.
TEST(Olora, is_the_beginning_of_q_and_r) {
  ThreadPool pool(1);
  const Weight w{{1, 2, 3, 4, 5, 6, 7, 8, 10}, 3, 3};
  const LowRank low = olora(w.view(), 2, pool);
  const std::vector<float> q{-0.12309149F, 0.90453403F,  -0.49236596F,
                             0.30151134F,  -0.86164044F, -0.30151134F};
  const std::vector<float> r{-8.12403840F, -9.60113630F, -11.93987500F,
                             0.0F,         0.90453403F,  1.50755672F};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(low.b[i], q[i], 1e-6F) << i;
    EXPECT_NEAR(low.a[i], r[i], 1e-5F) << i;
  }
}

}  // namespace
}  // namespace sft
