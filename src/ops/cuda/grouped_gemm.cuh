// Grouped matrix products of bfloat16 for compute capability 9.0: rows that are sorted into groups,
// each with a matrix of its own. Used by experts_cuda.cu.
//
// A block has one warpgroup that copies and two that compute, each half of the rows of a tile, tile
// after tile in a fixed order. The two share operands and nothing else: one that has its sums
// writes them while the other multiplies. Where groups begin and end is read on the device: a tile
// reaches into the next group's rows, and what comes of these is not stored (or, where rows are
// what is summed over, they are set to zero); half a tile that has no row of its own is skipped.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>
#include <type_traits>

#include "device/cuda/cuda_device.h"
#include "ops/cuda/hopper_wide.cuh"
#include "ops/cuda/tensor_map.h"

namespace sft {

// What one kernel is compiled for.
//   kOuter false: out (rows, n) = a b^T, b (groups * n, k), and a second product low_a low_b^T;
//                 with kTurned a b, b (groups * k, n)
//   kOuter true:  out (groups * m, n) = a^T b, summed over each group's rows
template <bool kIsOuter, bool kIsTurned, int kColumns>
struct GroupedPlan {
  static constexpr bool kOuter = kIsOuter, kTurned = kIsOuter || kIsTurned;
  static constexpr int kTileM = 128, kTileN = kColumns, kTileK = 64;
  static constexpr int kBox = 64 * 64 * 2;  // bytes of 64 rows and 64 columns
  static constexpr int kBytesA = kTileM * kTileK * 2;
  static constexpr int kStage = kBytesA + kTileN / 64 * kBox;
  static constexpr int kStages = (192 << 10) / kStage;
  // After the stages 64 x 64 results of each warpgroup on their way out.
  static constexpr int kTiles = kStages * kStage + (kOuter ? 0 : 2 * kBox);
  static constexpr int kMostGroups = 2048;
  static constexpr int kShared = kTiles + 2 * (kMostGroups + 1) * 4 + 128;
};

struct GroupedMaps {
  CUtensorMap a, b, low_a, low_b;
};

// `k`: the length of the sums; in steps of kTileK those from wide_steps on are of the second
// product. end_pieces: how many times 16 values the last step has, 1, 2 or more.
struct GroupedSizes {
  int groups, m, n, k, low, wide_steps, k_steps, end_pieces, tiles_m, tiles_n;
  float alpha;
  bool accumulate;
};

namespace grouped {

using namespace hopper;

struct Tile {
  int group, m, n;  // of the first row and column, within the group for kOuter
  int first, end;   // the group's rows
};

template <class P>
struct Worker {
  Barrier *full, *empty;  // kStages
  uint8_t *stages, *slots;
  int *starts, *before;  // groups + 1: rows, and tiles of rows, before a group
  GroupedSizes sizes;
  int tiles;

  __device__ Worker(uint8_t* memory, const GroupedSizes& s) : sizes(s) {
    stages = memory;
    slots = memory + P::kStages * P::kStage;
    full = reinterpret_cast<Barrier*>(memory + P::kTiles);
    empty = full + P::kStages;
    starts = reinterpret_cast<int*>(memory + P::kTiles + 128);
    before = starts + P::kMostGroups + 1;
  }
  // By all threads.
  __device__ void start_work(const int32_t* given) {
    for (int g = static_cast<int>(threadIdx.x); g <= sizes.groups;
         g += static_cast<int>(blockDim.x)) {
      starts[g] = given[g];
    }
    if (threadIdx.x == 0) {
      for (int i = 0; i < P::kStages; ++i) {
        start(full + i, 1);
        start(empty + i, 2);
      }
      publish_barriers();
    }
    __syncthreads();
    if (!P::kOuter && threadIdx.x < 32) {
      count_tiles(static_cast<int>(threadIdx.x));
    }
    __syncthreads();
    tiles = P::kOuter ? sizes.groups * sizes.tiles_m * sizes.tiles_n
                      : before[sizes.groups] * sizes.tiles_n;
  }
  __device__ int rows_of_tiles(int g) const {
    return (starts[g + 1] - starts[g] + P::kTileM - 1) / P::kTileM;
  }
  // One warp: the sums of the groups before, 32 at a time.
  __device__ void count_tiles(int lane) {
    int total = 0;
    for (int g = lane; g - lane < sizes.groups; g += 32) {
      int sum = g < sizes.groups ? rows_of_tiles(g) : 0;
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(0xFFFFFFFFU, sum, step);
        sum += lane >= step ? other : 0;
      }
      if (g < sizes.groups) {
        before[g + 1] = total + sum;
      }
      total += __shfl_sync(0xFFFFFFFFU, sum, 31);
    }
    if (lane == 0) {
      before[0] = 0;
    }
  }

  __device__ int tile_number(int ordinal) const {
    return static_cast<int>(blockIdx.x) + ordinal * static_cast<int>(gridDim.x);
  }
  __device__ bool has(int ordinal) const { return tile_number(ordinal) < tiles; }
  __device__ Tile place(int ordinal) const {
    const int tile = tile_number(ordinal);
    if constexpr (P::kOuter) {
      const int of_group = sizes.tiles_m * sizes.tiles_n;
      const int g = tile / of_group;
      const int r = tile % of_group;
      return {g, r % sizes.tiles_m * P::kTileM, r / sizes.tiles_m * P::kTileN, starts[g],
              starts[g + 1]};
    } else {
      int low = 0, high = sizes.groups - 1;  // the last group with before * tiles_n <= tile
      while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (before[middle] * sizes.tiles_n <= tile) {
          low = middle;
        } else {
          high = middle - 1;
        }
      }
      const int r = tile - before[low] * sizes.tiles_n;
      const int rows = rows_of_tiles(low);
      return {low, starts[low] + r % rows * P::kTileM, r / rows * P::kTileN, starts[low],
              starts[low + 1]};
    }
  }
  // A group of no rows has a step too, in which all rows are set to zero.
  __device__ int steps(const Tile& t) const {
    return P::kOuter ? max((t.end - t.first + P::kTileK - 1) / P::kTileK, 1) : sizes.k_steps;
  }
};

// One thread: brings the operands of tile after tile.
template <class P>
__device__ void bring_operands(const Worker<P>& w, const GroupedMaps& maps) {
  int it = 0;
  for (int ordinal = 0; w.has(ordinal); ++ordinal) {
    const Tile at = w.place(ordinal);
    const int steps = w.steps(at);
    for (int k = 0; k < steps; ++k, ++it) {
      const int stage = it % P::kStages;
      Barrier* const full = w.full + stage;
      uint8_t* const a = w.stages + stage * P::kStage;
      uint8_t* const b = a + P::kBytesA;
      wait(w.empty + stage, (it / P::kStages & 1) ^ 1);
      arrive_expecting(full, P::kStage);
      if constexpr (P::kOuter) {
        const int row = at.first + k * P::kTileK;
#pragma unroll
        for (int i = 0; i < P::kTileM / 64; ++i) {
          load(maps.a, full, a + i * P::kBox, at.m + i * 64, row, kOften);
        }
#pragma unroll
        for (int i = 0; i < P::kTileN / 64; ++i) {
          load(maps.b, full, b + i * P::kBox, at.n + i * 64, row, kOften);
        }
      } else {
        const bool low = k >= w.sizes.wide_steps;
        const int along = (low ? k - w.sizes.wide_steps : k) * P::kTileK;
        const int depth = low ? w.sizes.low : w.sizes.k;
        const CUtensorMap& map_b = low ? maps.low_b : maps.b;
        load(low ? maps.low_a : maps.a, full, a, along, at.m, kOften);
#pragma unroll
        for (int i = 0; i < P::kTileN / 64; ++i) {
          if constexpr (P::kTurned) {
            load(map_b, full, b + i * P::kBox, at.n + i * 64, at.group * depth + along, kOften);
          } else {
            load(map_b, full, b + i * P::kBox, along, at.group * w.sizes.n + at.n + i * 64, kOften);
          }
        }
      }
    }
  }
}

// Of the 64 rows of a 64 x 64 tile those from `first` on become zero.
__device__ inline void clear_rows(uint8_t* tile, int first, int thread) {
  for (int i = thread; i < (64 - first) * 8; i += 128) {
    *reinterpret_cast<uint4*>(tile + first * 128 + i * 16) = {0, 0, 0, 0};
  }
}

// 64 x 64 results to memory, by a warpgroup: `rows` rows and `columns` columns of them.
__device__ inline void write_rows(const uint8_t* slot, __nv_bfloat16* out, int stride, int rows,
                                  int columns, bool accumulate, int thread) {
  const int piece = thread % 8;
  if (piece * 8 >= columns) {
    return;
  }
  for (int row = thread / 8; row < rows; row += 16) {
    const int offset = row * 128 + piece * 16;
    uint4 value = *reinterpret_cast<const uint4*>(slot + (offset ^ (offset >> 3 & 0x70)));
    auto* const to = reinterpret_cast<uint4*>(out + int64_t{row} * stride + piece * 8);
    if (accumulate) {
      const uint4 old = *to;
      const auto add = [](uint32_t a, uint32_t b) {
        const float2 x = unpack(a);
        const float2 y = unpack(b);
        return pack(x.x + y.x, x.y + y.y);
      };
      value = {add(value.x, old.x), add(value.y, old.y), add(value.z, old.z), add(value.w, old.w)};
    }
    *to = value;
  }
}

__device__ inline int block_offset(int thread, int pair) {
  const int lane = thread % 32;
  const int row = thread / 32 * 16 + lane % 16;
  const int offset = row * 128 + (pair * 2 + lane / 16) * 16;
  return offset ^ (offset >> 3 & 0x70);
}

// A warpgroup's 64 rows of a tile, from row `m` on.
template <class P, class Out>
__device__ void store_rows(const Worker<P>& w, const Tile& at, int m,
                           const float (&acc)[P::kTileN / 2], Out* out, int warpgroup, int thread) {
  const GroupedSizes& s = w.sizes;
  if constexpr (P::kOuter) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = m + thread / 32 * 16 + thread % 32 / 4 + half * 8;
      float* const to = out + (int64_t{at.group} * s.m + row) * s.n + at.n + thread % 4 * 2;
#pragma unroll
      for (int j = 0; j < P::kTileN / 8; ++j) {
        if (row < s.m && at.n + j * 8 < s.n) {
          auto* const pair = reinterpret_cast<float2*>(to + j * 8);
          float2 value{acc[j * 4 + half * 2], acc[j * 4 + half * 2 + 1]};
          if (s.accumulate) {
            value.x += pair->x;
            value.y += pair->y;
          }
          *pair = value;
        }
      }
    }
  } else {
    uint8_t* const slot = w.slots + warpgroup * P::kBox;
#pragma unroll
    for (int h = 0; h < P::kTileN / 64; ++h) {
      synchronize_warpgroup(1 + warpgroup);  // all have read what was there
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        const float* const x = acc + h * 32 + pair * 8;
        uint32_t values[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          values[j] = pack(x[2 * j] * s.alpha, x[2 * j + 1] * s.alpha);
        }
        store_blocks(slot + block_offset(thread, pair), values);
      }
      synchronize_warpgroup(1 + warpgroup);
      const int column = at.n + h * 64;
      write_rows(slot, out + int64_t{m} * s.n + column, s.n, min(64, at.end - m), s.n - column,
                 s.accumulate, thread);
    }
  }
}

// One warpgroup: its half of every tile of the block.
template <class P, class Out>
__device__ void compute(const Worker<P>& w, Out* out, int warpgroup, int thread) {
  constexpr int kAdvanceA = P::kOuter ? 16 * 128 : 16 * 2;  // bytes to the next 16 of k
  constexpr int kAdvanceB = P::kTurned ? 16 * 128 : 16 * 2;
  const uint32_t leading = P::kTurned ? P::kBox : 16;
  const auto release = [&](int it) {
    if (thread == 0) {
      arrive(w.empty + it % P::kStages);
    }
  };
  int it = 0;
  for (int ordinal = 0; w.has(ordinal); ++ordinal) {
    const Tile at = w.place(ordinal);
    const int steps = w.steps(at);
    const int m = at.m + warpgroup * 64;
    if (m >= (P::kOuter ? w.sizes.m : at.end)) {
      // No product keeps the warps together here: one that came so late that its stage had been
      // filled twice more would wait for ever.
      for (int k = 0; k < steps; ++k, ++it) {
        wait(w.full + it % P::kStages, it / P::kStages & 1);
        synchronize_warpgroup(1 + warpgroup);
        release(it);
      }
      continue;
    }
    float acc[P::kTileN / 2];
    const auto multiply_step = [&](int k, auto pieces) {
      uint8_t* const stage = w.stages + it % P::kStages * P::kStage;
      uint8_t* const own = stage + warpgroup * P::kBox;
      const uint64_t a = operand(own, P::kOuter ? P::kBox : 16);
      const uint64_t b = operand(stage + P::kBytesA, leading);
      wait(w.full + it % P::kStages, it / P::kStages & 1);
      if constexpr (P::kOuter) {
        const int left = at.end - at.first - k * P::kTileK;
        if (left < P::kTileK) {
          clear_rows(own, left, thread);
          show_to_copies();
          synchronize_warpgroup(1 + warpgroup);
        }
      }
      begin_products();
#pragma unroll
      for (int j = 0; j < pieces(); ++j) {
        multiply<P::kTurned, P::kOuter>(acc, a + j * kAdvanceA / 16, b + j * kAdvanceB / 16,
                                        k + j > 0);
      }
      commit_products();
      if (k > 0) {
        wait_products<1>();
        release(it - 1);
      }
      ++it;
    };
    constexpr std::integral_constant<int, P::kTileK / 16> kAll;
    constexpr std::integral_constant<int, 1> kOne;
    constexpr std::integral_constant<int, 2> kTwo;
    for (int k = 0; k + 1 < steps; ++k) {
      multiply_step(k, kAll);
    }
    if (!P::kOuter && w.sizes.end_pieces == 1) {
      multiply_step(steps - 1, kOne);
    } else if (!P::kOuter && w.sizes.end_pieces == 2) {
      multiply_step(steps - 1, kTwo);
    } else {
      multiply_step(steps - 1, kAll);
    }
    wait_products<0>();
    release(it - 1);
    store_rows(w, at, m, acc, out, warpgroup, thread);
  }
}

template <class P, class Out>
__global__ void __launch_bounds__(384, 1)
    grouped_gemm_kernel(const __grid_constant__ GroupedMaps maps, const GroupedSizes sizes,
                        const int32_t* starts, Out* out) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // other architectures are compiled too, and never run this
  extern __shared__ __align__(1024) uint8_t memory[];
  Worker<P> w(memory, sizes);
  w.start_work(starts);
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int role = static_cast<int>(threadIdx.x) / 128;
  if (role == 0) {
    give_registers<40>();
    if (thread == 0) {
      bring_operands(w, maps);
    }
  } else {
    take_registers<232>();
    compute(w, out, role - 1, thread);
  }
#endif
}

}  // namespace grouped

// Launches a plan on a stream. `most_tiles`: no more tiles than these, however rows are grouped.
template <class P, class Out>
void launch_grouped_gemm(cudaStream_t stream, int multiprocessors, const GroupedMaps& maps,
                         const GroupedSizes& sizes, const int32_t* starts, int64_t most_tiles,
                         Out* out) {
  const auto kernel = grouped::grouped_gemm_kernel<P, Out>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, P::kShared),
             "shared memory");
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(multiprocessors, most_tiles));
  kernel<<<blocks, 384, P::kShared, stream>>>(maps, sizes, starts, out);
  check_cuda(cudaGetLastError(), "grouped product");
}

}  // namespace sft
