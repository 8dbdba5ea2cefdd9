// The gated MLP's activation inside the matrix product beside it, for compute capability 9.0 and
// bfloat16. Used by gated_mlp_cuda.cu.
//
// A block has one warpgroup that copies and two that compute. These share a ring of operand tiles
// but work on different tiles of the result, so that the activation of one and its copies to and
// from memory hide behind the products of the other. Blocks of a cluster share b: each loads half
// and sends it to both. A block takes tiles in a fixed order, so the result is the same bits each
// time.
#pragma once

#include <cuda_bf16.h>

#include <algorithm>

#include "device/cuda/cuda_device.h"
#include "ops/cuda/activate.cuh"
#include "ops/cuda/hopper.cuh"
#include "ops/cuda/tensor_map.h"

namespace sft {

// What one kernel is compiled for.
//   forward:  gate = a b[0]^T, up = a b[1]^T; out: gate, up, act(gate) * up
//   backward: g = a b[0]; in: gate, up; out: the gradients of gate and up, given g, that of the
//   product
// An adapter adds a second product to the first, low_a low_b^T or low_a low_b: more steps of k over
// other matrices.
template <Activation kKind, bool kBack>
struct GatedPlan {
  static constexpr Activation kActivation = kKind;
  static constexpr bool kBackward = kBack;
  static constexpr int kCluster = kBack ? 1 : 2;  // blocks of different rows, which share b

  static constexpr int kTileM = 128;
  static constexpr int kTileN = 128;                          // columns of the product
  static constexpr int kTileI = kBack ? kTileN : kTileN / 2;  // of gate, and of up
  static constexpr int kTileK = 64;

  static constexpr int kBox = 64 * 64 * 2;  // bytes of what one copy moves, but for a
  static constexpr int kBytesA = kTileM * kTileK * 2;
  static constexpr int kStage = kBytesA + 2 * kBox;
  static constexpr int kStages = 5;

  // The epilogue goes in steps: 64 x 64 values of gate and up, or of one of the three outputs.
  static constexpr int kPieces = kTileI / 64;
  static constexpr int kParts = kBack ? 1 : 3;
  static constexpr int kSteps = 2 * kPieces * kParts;  // of a tile
  static constexpr int kSlot = (kBack ? 2 : 1) * kBox;
  static constexpr int kTiles = 224 << 10;
  static constexpr int kSlots = (kTiles - kStages * kStage) / 2 / kSlot;  // of a warpgroup
  // Stores that may be under way when a slot is used again.
  static constexpr int kLate = kSlots > 2 ? 1 : 0;
  static constexpr int kShared = kTiles + 1024;
};

struct GatedMaps {
  CUtensorMap a, b[2], low_a, low_b[2], in[2], out[3];
};

// In units of a cluster's tiles; `group` rows of tiles are walked together, for the cache. Of the
// steps of k those from `wide_steps` on are the adapter's.
struct GatedSizes {
  int wide_steps, k_steps, tiles_m, tiles_n, tiles, group;
};

namespace gated {

using namespace hopper;

struct TileOrigin {
  int m, n;  // the first row and column
};

// One block's view of the work.
template <class P>
struct Worker {
  Barrier *full, *empty;  // kStages: operands are there; they are used
  Barrier *ready, *done;  // 2 x kSlots: a slot may be used by a warpgroup; it may be stored
  Barrier* turn;          // 2: a warpgroup may take operands
  uint8_t *stages, *slots;
  GatedSizes sizes;
  int rank, cluster, clusters;

  __device__ Worker(uint8_t* memory, const GatedSizes& s) : sizes(s) {
    stages = memory;
    slots = memory + P::kStages * P::kStage;
    full = reinterpret_cast<Barrier*>(memory + P::kTiles);
    empty = full + P::kStages;
    ready = empty + P::kStages;
    done = ready + 2 * P::kSlots;
    turn = done + 2 * P::kSlots;
    rank = P::kCluster == 1 ? 0 : static_cast<int>(rank_in_cluster());
    cluster = static_cast<int>(blockIdx.x) / P::kCluster;
    clusters = static_cast<int>(gridDim.x) / P::kCluster;
  }
  __device__ uint8_t* slot(int warpgroup, int i) const {
    return slots + (warpgroup * P::kSlots + i) * P::kSlot;
  }

  // The `ordinal`-th tile of the cluster, as far as it is this block's.
  __device__ bool has(int ordinal) const { return cluster + ordinal * clusters < sizes.tiles; }
  __device__ TileOrigin place(int ordinal) const {
    const int tile = cluster + ordinal * clusters;
    const int per_group = sizes.group * sizes.tiles_n;
    const int first = tile / per_group * sizes.group;
    const int rows = min(sizes.tiles_m - first, sizes.group);
    const int r = tile % per_group;
    return {((first + r % rows) * P::kCluster + rank) * P::kTileM, r / rows * P::kTileI};
  }

  __device__ void start_barriers() const {
    for (int i = 0; i < P::kStages; ++i) {
      start(full + i, 1);
      start(empty + i, P::kCluster);
    }
    start(turn, 1);
    start(turn + 1, 1);
    for (int i = 0; i < 2 * P::kSlots; ++i) {
      start(ready + i, 1);
      start(done + i, 128);
    }
    publish_barriers();
  }
};

// One thread: brings the operands of tile after tile.
template <class P>
__device__ void bring_operands(const Worker<P>& w, const GatedMaps& maps) {
  int it = 0;
  for (int ordinal = 0; w.has(ordinal); ++ordinal) {
    const TileOrigin at = w.place(ordinal);
    for (int k = 0; k < w.sizes.k_steps; ++k, ++it) {
      const int stage = it % P::kStages;
      Barrier* const full = w.full + stage;
      uint8_t* const a = w.stages + stage * P::kStage;
      uint8_t* const b = a + P::kBytesA;
      const bool low = k >= w.sizes.wide_steps;
      const int along = (low ? k - w.sizes.wide_steps : k) * P::kTileK;
      wait(w.empty + stage, (it / P::kStages & 1) ^ 1);
      arrive_expecting(full, P::kStage);
      load(low ? maps.low_a : maps.a, full, a, along, at.m, kOften);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const CUtensorMap& map = (low ? maps.low_b : maps.b)[P::kBackward ? 0 : i];
        const int x = P::kBackward ? at.n + i * 64 : along;
        const int y = P::kBackward ? along : at.n;
        if constexpr (P::kCluster == 1) {
          load(map, full, b + i * P::kBox, x, y, kOften);
        } else if (i == w.rank) {
          load(map, full, b + i * P::kBox, x, y, kOften, uint16_t{3});
        }
      }
    }
  }
}

// One thread for each warpgroup that computes: fills its slots and empties them.
template <class P>
__device__ void serve_slots(const Worker<P>& w, const GatedMaps& maps, int warpgroup) {
  int tiles = 0;
  while (w.has(warpgroup + tiles * 2)) {
    ++tiles;
  }
  const int steps = tiles * P::kSteps;
  const auto place = [&](int s) {
    TileOrigin at = w.place(warpgroup + s / P::kSteps * 2);
    const int piece = s % P::kSteps / P::kParts;
    at.m += piece / P::kPieces * 64;
    at.n += piece % P::kPieces * 64;
    return at;
  };
  const auto make_ready = [&](int s) {
    Barrier* const b = w.ready + warpgroup * P::kSlots + s % P::kSlots;
    if constexpr (P::kBackward) {
      const TileOrigin at = place(s);
      uint8_t* const slot = w.slot(warpgroup, s % P::kSlots);
      arrive_expecting(b, P::kSlot);
      load(maps.in[0], b, slot, at.n, at.m, kOnce);
      load(maps.in[1], b, slot + P::kBox, at.n, at.m, kOnce);
    } else {
      arrive(b);
    }
  };
  for (int s = 0; s < min(P::kSlots, steps); ++s) {
    make_ready(s);
  }
  for (int s = 0; s < steps; ++s) {
    const TileOrigin at = place(s);
    const uint8_t* const slot = w.slot(warpgroup, s % P::kSlots);
    wait(w.done + warpgroup * P::kSlots + s % P::kSlots, s / P::kSlots & 1);
    if constexpr (P::kBackward) {
      store(maps.out[0], slot, at.n, at.m, kOnce);
      store(maps.out[1], slot + P::kBox, at.n, at.m, kOnce);
    } else {
      store(maps.out[s % P::kParts], slot, at.n, at.m, kOnce);
    }
    commit_stores();
    const int next = s - P::kLate + P::kSlots;
    if (s >= P::kLate && next < steps) {
      wait_stores_read<P::kLate>();
      make_ready(next);
    }
  }
  wait_stores();
}

// Where a thread finds its row of 8 x 8 blocks: 64 rows of 128 bytes, whose 16-byte pieces the
// copy engine has swizzled.
__device__ inline int block_offset(int thread, int pair) {
  const int lane = thread % 32;
  const int row = thread / 32 * 16 + lane % 16;
  const int offset = row * 128 + (pair * 2 + lane / 16) * 16;
  return offset ^ (offset >> 3 & 0x70);
}

// g: 16 columns of the product, as `multiply` leaves them. Replaces gate and up by their gradients.
template <class P>
__device__ inline void backward_blocks(const float* g, uint8_t* gate_at, uint8_t* up_at) {
  uint32_t gate[4], up[4];
  load_blocks(gate_at, gate);
  load_blocks(up_at, up);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = unpack(gate[i]);
    const float2 u = unpack(up[i]);
    const float2 a = activate<P::kActivation>(x.x);
    const float2 b = activate<P::kActivation>(x.y);
    gate[i] = pack(g[2 * i] * u.x * a.y, g[2 * i + 1] * u.y * b.y);
    up[i] = pack(g[2 * i] * a.x, g[2 * i + 1] * b.x);
  }
  store_blocks(gate_at, gate);
  store_blocks(up_at, up);
}

// What the backward pass and the next layer read are the rounded gate and up, so act uses those.
template <class P>
__device__ inline void forward_blocks(const float* gate, const float* up, int part, uint8_t* at) {
  uint32_t out[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t x = pack(gate[2 * i], gate[2 * i + 1]);
    const uint32_t u = pack(up[2 * i], up[2 * i + 1]);
    if (part == 2) {
      const float2 xf = unpack(x);
      const float2 uf = unpack(u);
      out[i] =
          pack(activate<P::kActivation>(xf.x).x * uf.x, activate<P::kActivation>(xf.y).x * uf.y);
    } else {
      out[i] = part == 0 ? x : u;
    }
  }
  store_blocks(at, out);
}

// One warpgroup: products and activations, tile after tile.
template <class P>
__device__ void compute(const Worker<P>& w, int warpgroup, int thread) {
  constexpr int kAdvanceB = P::kBackward ? 16 * 128 : 16 * 2;  // bytes to the next 16 of k
  const uint32_t leading = P::kBackward ? P::kBox : 16;
  const auto release = [&](int it) {
    Barrier* const empty = w.empty + it % P::kStages;
    if constexpr (P::kCluster == 1) {
      if (thread == 0) {
        arrive(empty);
      }
    } else if (thread < P::kCluster) {
      arrive_at(empty, static_cast<uint32_t>(thread));
    }
  };
  int step = 0;
  for (int ordinal = warpgroup; w.has(ordinal); ordinal += 2) {
    float acc[2][P::kTileN / 2];  // two blocks of 64 rows
    const int first = ordinal * w.sizes.k_steps;
    if (ordinal > 0) {
      // A wait may be one phase early, no more: not before the other has seen its last operands.
      wait(w.turn + warpgroup, (ordinal - 1) / 2 & 1);
    }
    for (int k = 0; k < w.sizes.k_steps; ++k) {
      const int it = first + k;
      const uint8_t* const stage = w.stages + it % P::kStages * P::kStage;
      const uint64_t a = operand(stage, 16);
      const uint64_t b = operand(stage + P::kBytesA, leading);
      wait(w.full + it % P::kStages, it / P::kStages & 1);
      begin_products();
#pragma unroll
      for (int j = 0; j < P::kTileK / 16; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          multiply<P::kBackward>(acc[i], a + (i * P::kBox + j * 32) / 16, b + j * kAdvanceB / 16,
                                 k + j > 0);
        }
      }
      commit_products();
      if (k > 0) {
        wait_products<1>();
        release(it - 1);
      }
    }
    if (thread == 0) {
      arrive(w.turn + (1 - warpgroup));
    }
    wait_products<0>();
    release(first + w.sizes.k_steps - 1);

#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int h = 0; h < P::kPieces; ++h) {
#pragma unroll
        for (int part = 0; part < P::kParts; ++part, ++step) {
          uint8_t* const slot = w.slot(warpgroup, step % P::kSlots);
          const int barrier = warpgroup * P::kSlots + step % P::kSlots;
          wait(w.ready + barrier, step / P::kSlots & 1);
#pragma unroll
          for (int pair = 0; pair < 4; ++pair) {
            const float* const first_half = acc[i] + h * 32 + pair * 8;
            uint8_t* const at = slot + block_offset(thread, pair);
            if constexpr (P::kBackward) {
              backward_blocks<P>(first_half, at, at + P::kBox);
            } else {
              forward_blocks<P>(first_half, first_half + P::kTileN / 4, part, at);
            }
          }
          show_to_copies();
          arrive(w.done + barrier);
        }
      }
    }
  }
}

template <class P>
__global__ void __launch_bounds__(384, 1)
    gated_gemm_kernel(const __grid_constant__ GatedMaps maps, const GatedSizes sizes) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // other architectures are compiled too, and never run this
  extern __shared__ __align__(1024) uint8_t memory[];
  const Worker<P> w(memory, sizes);
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int role = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    w.start_barriers();
  }
  __syncthreads();
  if constexpr (P::kCluster > 1) {
    synchronize_cluster();
  }
  if (role == 0) {
    give_registers<56>();
    if (thread == 0) {
      bring_operands(w, maps);
    } else if (thread == 32) {
      serve_slots(w, maps, 0);
    } else if (thread == 64) {
      serve_slots(w, maps, 1);
    }
  } else {
    take_registers<224>();
    compute(w, role - 1, thread);
  }
  // A block that is gone can be sent nothing.
  if constexpr (P::kCluster > 1) {
    __syncwarp();
    synchronize_cluster();
  }
#endif
}

}  // namespace gated

// Launches a plan on a stream. `low`: the depth of the adapter's product, 0 where there is none;
// `group`: rows of tiles that are walked together.
template <class P>
void launch_gated_gemm(cudaStream_t stream, int multiprocessors, const GatedMaps& maps, int64_t m,
                       int64_t n, int64_t k, int64_t low, int group) {
  const auto pieces = [](int64_t x, int64_t size) {
    return static_cast<int>((x + size - 1) / size);
  };
  GatedSizes sizes{};
  sizes.wide_steps = pieces(k, P::kTileK);
  sizes.k_steps = sizes.wide_steps + pieces(low, P::kTileK);
  sizes.tiles_m = pieces(m, P::kTileM * P::kCluster);
  sizes.tiles_n = pieces(n, P::kTileI);
  sizes.tiles = sizes.tiles_m * sizes.tiles_n;
  sizes.group = std::max(group / P::kCluster, 1);
  const auto kernel = gated::gated_gemm_kernel<P>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, P::kShared),
             "shared memory");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = P::kCluster;
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.blockDim = dim3(384);
  config.dynamicSmemBytes = P::kShared;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  const int clusters = std::min(multiprocessors / P::kCluster, sizes.tiles);
  config.gridDim = dim3(static_cast<unsigned>(clusters * P::kCluster));
  check_cuda(cudaLaunchKernelEx(&config, kernel, maps, sizes), "gated product");
}

}  // namespace sft
