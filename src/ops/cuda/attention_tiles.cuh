// What the attention kernels of compute capability 9.0 share: their work, tile by tile, and how a
// warpgroup handles a tile.
//
// The query heads that share a key head lie beside each other in memory, so a tile packs them:
// its rows are `tokens` tokens times `group` heads, row r being head r % group of token r / group.
// Keys and values are loaded once for all of them, and few rows of a short document are wasted.
#pragma once

#include <cuda_bf16.h>

#include <climits>

#include "ops/cuda/hopper.cuh"
#include "ops/cuda/tensor_map.h"

namespace sft::attend {

using namespace hopper;

constexpr float kLog2E = 1.4426950408889634F;
constexpr float kNothing = -INFINITY;

// What a kernel is told beside its maps. `tiles`: each a document's first row, its length, and the
// tile's first token in it; a length of 0 ends them.
struct Sizes {
  const int4* tiles;
  int most_tiles;
  int heads, kv_heads, group, group_inverse;  // 65536 / group, rounded up
  int tokens_of_tile;                         // packed in a tile of rows
  int window;                                 // INT_MAX: none
  int tokens, documents;
  float scale;
  const int32_t* starts;

  __device__ int row_width(int head_dim) const { return (heads + 2 * kv_heads) * head_dim; }
  // row / group, for rows below 512 and groups up to 64.
  __device__ int token_of(int row) const { return row * group_inverse >> 16; }
};

struct Tile {
  int start, length, first, kv;
  __device__ bool some() const { return length > 0; }
};

// The tiles of a block: heavy ones come first, and every other round goes backwards, so that all
// blocks get about the same.
class Tiles {
 public:
  __device__ explicit Tiles(const Sizes& sizes) : s_(sizes) { ahead_ = fetch(); }
  __device__ Tile next() {
    const Tile now = ahead_;
    if (now.some()) {
      ahead_ = fetch();
    }
    return now;
  }

 private:
  __device__ Tile fetch() {
    const auto blocks = static_cast<int>(gridDim.x);
    const auto block = static_cast<int>(blockIdx.x);
    const int i = round_ * blocks + (round_ % 2 == 0 ? block : blocks - 1 - block);
    ++round_;
    const int at = i / s_.kv_heads;
    if (at >= s_.most_tiles) {
      return {0, 0, 0, 0};
    }
    const int4 t = __ldg(s_.tiles + at);
    return {t.x, t.y, t.z, i - at * s_.kv_heads};
  }

  const Sizes& s_;
  int round_ = 0;
  Tile ahead_{};
};

// A place in a ring of kStages stages.
template <int kStages>
struct Turn {
  int stage = 0;
  uint32_t parity = 0;
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// A thread's place among the 128 of its warpgroup, and the rows of its 64 that it holds.
struct Lane {
  int thread, warp, lane, group;  // group: of the warpgroups that compute
  __device__ int row() const { return warp * 16 + lane / 4; }
  __device__ int column() const { return lane % 4 * 2; }
  // One arrival for each warp.
  __device__ void arrive_once(Barrier* b) const {
    __syncwarp();
    if (lane == 0) {
      arrive(b);
    }
  }
};

// Sum and largest over the four lanes that hold a row.
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}
__device__ inline float row_top(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

// Tiles of `rows` rows and kD columns lie in shared memory as kD / 64 swizzled pieces.
constexpr int tile_bytes(int rows, int d) { return rows * d * 2; }

// Where a lane finds the k-th 16 x 16 values of its warp's 16 rows.
__device__ inline int square_offset(const Lane& at, int rows, int row_of_tile, int k) {
  const int row = row_of_tile + at.warp * 16 + at.lane % 16;
  const int piece = k % 4 * 2 + at.lane / 16;
  return k / 4 * rows * 128 + row * 128 + ((piece ^ (row % 8)) * 16);
}

// A warpgroup's 64 rows of a tile, in registers as `multiply` takes them.
template <int kD>
__device__ inline void load_rows(uint32_t (&out)[kD / 4], const uint8_t* tile, int rows,
                                 const Lane& at) {
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t r[4];
    load_blocks(tile + square_offset(at, rows, at.group * 64, k), r);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[k * 4 + i] = r[i];
    }
  }
}

// s (64, kN) = a (64, kD) tile^T, tile (kN, kD).
template <int kN, int kD>
__device__ inline void score_product(float (&s)[kN / 2], const uint32_t* a, const uint8_t* tile) {
  const uint64_t b = operand(tile, 16);
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    multiply<false>(s, a + k * 4, b + (k / 4 * kN * 128 + k % 4 * 32) / 16, k > 0);
  }
}
// The same with a in shared memory: this warpgroup's 64 of `rows` rows.
template <int kN, int kD>
__device__ inline void score_product(float (&s)[kN / 2], const uint8_t* rows_of_a, int rows,
                                     const uint8_t* tile) {
  const uint64_t a = operand(rows_of_a, 16);
  const uint64_t b = operand(tile, 16);
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    multiply<false>(s, a + (k / 4 * rows * 128 + k % 4 * 32) / 16,
                    b + (k / 4 * kN * 128 + k % 4 * 32) / 16, k > 0);
  }
}
// sum (64, kD) += p (64, kN) tile, tile (kN, kD).
template <int kN, int kD>
__device__ inline void sum_product(float (&sum)[kD / 2], const uint32_t (&p)[kN / 4],
                                   const uint8_t* tile) {
  const uint64_t b = operand(tile, kN * 128);
#pragma unroll
  for (int k = 0; k < kN / 16; ++k) {
    multiply<true>(sum, p + k * 4, b + k * 16 * 128 / 16, true);
  }
}

// Rounds a result so that it can be the first operand of a product.
template <int kCount>
__device__ inline void round_to_operand(const float (&x)[kCount], uint32_t (&out)[kCount / 2]) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    out[i] = pack(x[2 * i], x[2 * i + 1]);
  }
}

// Rows [from, kRows) of a tile become 0, as seen by this warpgroup's products: what lies after a
// document may be anything, and 0 times a NaN is one.
template <int kRows, int kD>
__device__ inline void clear_rows(uint8_t* tile, int from, const Lane& at) {
#pragma unroll
  for (int half = 0; half < kD / 64; ++half) {
    for (int i = from * 8 + at.thread; i < kRows * 8; i += 128) {
      *reinterpret_cast<uint4*>(tile + half * kRows * 128 + i * 16) = uint4{0, 0, 0, 0};
    }
  }
}
__device__ inline void show_cleared(const Lane& at) {
  show_to_copies();
  synchronize_warpgroup(1 + at.group);
}

// Writes a warpgroup's result times `factor`, of each of the thread's two rows, through `staging`
// (64, kD). `place(row)`: where row 0..63 goes, or null.
template <int kD, class RowAddress>
__device__ inline void write_rows(const float (&x)[kD / 2], float factor0, float factor1,
                                  uint8_t* staging, const Lane& at, const RowAddress& place) {
  const Lane own{at.thread, at.warp, at.lane, 0};
  __syncwarp();
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    const float* const v = x + k * 8;
    const uint32_t r[4] = {
        pack(v[0] * factor0, v[1] * factor0), pack(v[2] * factor1, v[3] * factor1),
        pack(v[4] * factor0, v[5] * factor0), pack(v[6] * factor1, v[7] * factor1)};
    store_blocks(staging + square_offset(own, 64, 0, k), r);
  }
  __syncwarp();
  constexpr int kLanes = kD / 8;  // that share a row
#pragma unroll
  for (int i = 0; i < 16; i += 32 / kLanes) {
    const int row = at.warp * 16 + i + at.lane / kLanes;
    const int piece = at.lane % kLanes;
    __nv_bfloat16* const to = place(row);
    if (to != nullptr) {
      *reinterpret_cast<uint4*>(to + piece * 8) = *reinterpret_cast<const uint4*>(
          staging + piece / 8 * 64 * 128 + row * 128 + ((piece % 8 ^ (row % 8)) * 16));
    }
  }
}

// Rows of tokens after the last document become 0; by `threads` threads of each block.
__device__ inline void clear_tail(const Sizes& s, __nv_bfloat16* out, int width, int thread,
                                  int threads) {
  const int64_t from = int64_t{__ldg(s.starts + s.documents)} * width / 8;
  const int64_t to = int64_t{s.tokens} * width / 8;
  const int64_t step = int64_t{gridDim.x} * threads;
  for (int64_t i = from + int64_t{blockIdx.x} * threads + thread; i < to; i += step) {
    reinterpret_cast<uint4*>(out)[i] = uint4{0, 0, 0, 0};
  }
}

// The keys that a tile of queries sees, in blocks of kN; none if last < first.
struct Blocks {
  int first, last;
};
template <int kN>
__device__ inline Blocks blocks_of(const Sizes& s, int from_token, int to_token) {
  return {max(0, from_token - s.window + 1) / kN, to_token / kN};
}

// A warpgroup's rows of a tile of queries.
struct QueryRows {
  int from, to;      // tokens in the document, of all 64 rows that count; none if to < from
  int token[2];      // of the thread's two rows
  int64_t place[2];  // token row in all documents * heads + head
  bool valid[2];

  __device__ QueryRows(const Sizes& s, const Tile& t, const Lane& at) {
    const int last = min(s.tokens_of_tile, t.length - t.first) - 1;
    from = t.first + s.token_of(at.group * 64);
    to = t.first + min(last, s.token_of(at.group * 64 + 63));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = at.group * 64 + at.row() + i * 8;
      const int token_in_tile = s.token_of(row);
      token[i] = t.first + token_in_tile;
      valid[i] = token_in_tile <= last;
      place[i] = place_of(s, t, row);
    }
  }
  __device__ static int64_t place_of(const Sizes& s, const Tile& t, int row) {
    const int token = s.token_of(row);
    return int64_t{t.start + t.first + token} * s.heads + t.kv * s.group + row - token * s.group;
  }
  // Where a row of the tile goes in an array whose tokens are `width` values wide, or null.
  template <int kD>
  __device__ static __nv_bfloat16* target(const Sizes& s, const Tile& t, int row,
                                          __nv_bfloat16* out, int width) {
    const int token = s.token_of(row);
    if (token >= s.tokens_of_tile || t.first + token >= t.length) {
      return nullptr;
    }
    return out + int64_t{t.start + t.first + token} * width +
           (t.kv * s.group + row - token * s.group) * kD;
  }
};

}  // namespace sft::attend
