#include "ops/cpu/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/rng.h"

namespace sft::cpu {
namespace {

std::vector<float> random(size_t n, uint64_t stream) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) {
    x[i] = normal(5, stream, i);
  }
  return x;
}

// Every combination of transposition, leading dimensions wider than the rows, alpha and beta, for
// sizes on both sides of where the product is split among threads and of the plain one's blocks.
TEST(Gemm, equals_the_sum_of_products) {
  struct Size {
    int64_t m, n, k;
  };
  for (const Size& s : {Size{1, 1, 1}, Size{3, 5, 7}, Size{64, 65, 70}, Size{130, 33, 100},
                        Size{5, 1040, 3}, Size{7, 18, 600}}) {
    for (int which = 0; which < 8; ++which) {
      const bool ta = (which & 1) != 0;
      const bool tb = (which & 2) != 0;
      const float beta = (which & 4) != 0 ? 0.5F : 0.0F;
      const int64_t lda = (ta ? s.m : s.k) + 3;
      const int64_t ldb = (tb ? s.k : s.n) + 2;
      const int64_t ldc = s.n + 4;
      const auto a = random(static_cast<size_t>((ta ? s.k : s.m) * lda), 1);
      const auto b = random(static_cast<size_t>((tb ? s.n : s.k) * ldb), 2);
      const auto before = random(static_cast<size_t>(s.m * ldc), 3);
      for (const int threads : {0, 1, 3}) {  // 0: the plain one
        auto c = before;
        const Gemm g = {.transpose_a = ta,
                        .transpose_b = tb,
                        .m = s.m,
                        .n = s.n,
                        .k = s.k,
                        .alpha = 1.25F,
                        .a = a.data(),
                        .lda = lda,
                        .b = b.data(),
                        .ldb = ldb,
                        .beta = beta,
                        .c = c.data(),
                        .ldc = ldc};
        if (threads == 0) {
          gemm_plain(g);
        } else {
          ThreadPool pool(threads);
          gemm(pool, g);
        }
        for (int64_t i = 0; i < s.m; ++i) {
          for (int64_t j = 0; j < ldc; ++j) {
            const auto at = static_cast<size_t>(i * ldc + j);
            if (j >= s.n) {
              ASSERT_EQ(c[at], before[at]) << "beyond the row";
              continue;
            }
            double sum = 0.0;
            for (int64_t l = 0; l < s.k; ++l) {
              sum += double{a[static_cast<size_t>(ta ? l * lda + i : i * lda + l)]} *
                     b[static_cast<size_t>(tb ? j * ldb + l : l * ldb + j)];
            }
            const double want = 1.25 * sum + double{beta} * before[at];
            ASSERT_NEAR(c[at], want, 2e-6 * (10.0 + std::abs(want)) * std::sqrt(double(s.k)));
          }
        }
      }
    }
  }
}

// With beta 0 what was in C does not matter, not even when it is no number.
TEST(Gemm, ignores_the_old_values_when_beta_is_zero) {
  ThreadPool pool(2);
  const auto a = random(80 * 64, 1);
  const auto b = random(64 * 80, 2);
  for (const bool plain : {false, true}) {
    std::vector<float> c(80 * 80, NAN);
    const Gemm g = {.m = 80,
                    .n = 80,
                    .k = 64,
                    .a = a.data(),
                    .lda = 64,
                    .b = b.data(),
                    .ldb = 80,
                    .c = c.data(),
                    .ldc = 80};
    plain ? gemm_plain(g) : gemm(pool, g);
    for (const float x : c) {
      ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST(Gemm, of_nothing_does_nothing) {
  ThreadPool pool(2);
  float c = 7.0F;
  gemm(pool, {.m = 0, .n = 1, .k = 1, .lda = 1, .ldb = 1, .c = &c, .ldc = 1});
  gemm(pool, {.m = 1, .n = 0, .k = 1, .lda = 1, .ldb = 1, .c = &c, .ldc = 1});
  gemm_plain({.m = 0, .n = 1, .k = 1, .lda = 1, .ldb = 1, .c = &c, .ldc = 1});
  gemm_plain({.m = 1, .n = 0, .k = 1, .lda = 1, .ldb = 1, .c = &c, .ldc = 1});
  EXPECT_EQ(c, 7.0F);
}

}  // namespace
}  // namespace sft::cpu
