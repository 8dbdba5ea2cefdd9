// The product where oneDNN has no kernel of its own (gemm.h): tiles of C in registers over packed
// strips of A and B (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
// 2008). 16 bytes are one vector everywhere, and 4 x 4 of them and what they read fit the 32 of
// 64-bit Arm.
#include <algorithm>
#include <utility>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

using Lanes = float __attribute__((vector_size(16), aligned(4), may_alias));
constexpr int64_t kLanes = 4;
constexpr int64_t kVectors = 4;
constexpr int64_t kRows = 4;  // of a tile
constexpr int64_t kColumns = kLanes * kVectors;
constexpr int64_t kDepth = 128;              // added up in registers before it meets C's float
constexpr int64_t kRowsAtOnce = 16 * kRows;  // packed rows of A: 64 KiB, for the second cache
constexpr int64_t kColumnsAtOnce = 1024;     // packed columns of B: 1 MiB

int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Strips of `wide` rows of op(x) from row `from` on, `depth` deep from `deep` on: what one step of
// a tile reads lies together. Rows beyond `count` are zeros.
template <int64_t wide>
void pack(const float* x, int64_t row_stride, int64_t depth_stride, int64_t count, int64_t depth,
          float* out) {
  for (int64_t strip = 0; strip < count; strip += wide) {
    const int64_t rows = std::min(wide, count - strip);
    for (int64_t l = 0; l < depth; ++l, out += wide) {
      const float* from = x + strip * row_stride + l * depth_stride;
      for (int64_t i = 0; i < wide; ++i) {
        out[i] = i < rows ? from[i * row_stride] : 0.0F;
      }
    }
  }
}

// The accumulators of a tile. Each is named by a constant, so that it has a register of its own.
template <size_t... e>
SFT_INLINE void multiply(const float* a, const float* b, int64_t depth, float* out,
                         std::index_sequence<e...> /*all*/) {
  Lanes sum[sizeof...(e)] = {};
  for (int64_t l = 0; l < depth; ++l, a += kRows, b += kColumns) {
    const auto* read = reinterpret_cast<const Lanes*>(b);
    ((sum[e] += a[e / kVectors] * read[e % kVectors]), ...);
  }
  ((reinterpret_cast<Lanes*>(out)[e] = sum[e]), ...);
}

// c (rows, columns) = beta c + alpha a b for strips a (depth, kRows) and b (depth, kColumns).
void tile(const float* a, const float* b, int64_t depth, float alpha, float beta, int64_t rows,
          int64_t columns, float* c, int64_t ldc) {
  float sum[kRows * kColumns];
  multiply(a, b, depth, sum, std::make_index_sequence<kRows * kVectors>());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float& to = c[i * ldc + j];
      to = alpha * sum[i * kColumns + j] + (beta == 0.0F ? 0.0F : beta * to);
    }
  }
}

}  // namespace

void gemm_plain(const Gemm& g) {
  if (g.m == 0 || g.n == 0) {
    return;
  }
  const int64_t a_row = g.transpose_a ? 1 : g.lda;
  const int64_t a_depth = g.transpose_a ? g.lda : 1;
  const int64_t b_column = g.transpose_b ? g.ldb : 1;
  const int64_t b_depth = g.transpose_b ? 1 : g.ldb;
  const int64_t depth_at_once = std::min(kDepth, std::max<int64_t>(g.k, 1));
  std::vector<float> a(
      static_cast<size_t>(round_up(std::min(g.m, kRowsAtOnce), kRows) * depth_at_once));
  std::vector<float> b(
      static_cast<size_t>(round_up(std::min(g.n, kColumnsAtOnce), kColumns) * depth_at_once));
  for (int64_t column = 0; column < g.n; column += kColumnsAtOnce) {
    const int64_t columns = std::min(kColumnsAtOnce, g.n - column);
    for (int64_t deep = 0; deep == 0 || deep < g.k; deep += kDepth) {
      const int64_t depth = std::min(kDepth, g.k - deep);
      const float beta = deep == 0 ? g.beta : 1.0F;
      pack<kColumns>(g.b + column * b_column + deep * b_depth, b_column, b_depth, columns, depth,
                     b.data());
      for (int64_t row = 0; row < g.m; row += kRowsAtOnce) {
        const int64_t rows = std::min(kRowsAtOnce, g.m - row);
        pack<kRows>(g.a + row * a_row + deep * a_depth, a_row, a_depth, rows, depth, a.data());
        for (int64_t j = 0; j < columns; j += kColumns) {
          for (int64_t i = 0; i < rows; i += kRows) {
            tile(a.data() + i * depth, b.data() + j * depth, depth, g.alpha, beta,
                 std::min(kRows, rows - i), std::min(kColumns, columns - j),
                 g.c + (row + i) * g.ldc + column + j, g.ldc);
          }
        }
      }
    }
  }
}

}  // namespace sft::cpu
