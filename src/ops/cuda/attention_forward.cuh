// Attention forward for compute capability 9.0: softmax on the run (Dao, "FlashAttention-2", 2023).
// One warpgroup copies, the others each take 64 rows of a tile of queries against all keys these
// see, last keys first; the scores of the next keys are computed while the values of the last are
// added up (Shah et al., "FlashAttention-3", 2024).
#pragma once

#include "ops/cuda/attention_tiles.cuh"

namespace sft::attend {

template <int kHeadDim, int kKeys, int kGroupsOf64, int kDepth, bool kInRegisters>
struct ForwardPlan {
  static constexpr int kD = kHeadDim;
  static constexpr int kN = kKeys;  // of a block
  static constexpr int kGroups = kGroupsOf64;
  static constexpr int kRows = kGroups * 64;
  static constexpr int kStages = kDepth;
  static constexpr int kThreads = 128 + kGroups * 128;
  static constexpr bool kKeep = kInRegisters;        // queries, of a warpgroup
  static constexpr int kTilesAhead = kKeep ? 1 : 2;  // of queries, in shared memory

  static constexpr int kTile = tile_bytes(kRows, kD);
  static constexpr int kStaging = kTilesAhead * kTile;
  static constexpr int kRing = kStaging + kTile;
  static constexpr int kHalf = tile_bytes(kN, kD);  // of a stage: keys; values
  static constexpr int kBarriers = kRing + kStages * 2 * kHalf;
  static constexpr int kShared = kBarriers + (2 * kStages + 2 * kTilesAhead) * 8 + 1024;
};

struct ForwardMaps {
  CUtensorMap queries, keys;
};

template <class P>
struct ForwardMemory {
  uint8_t* base;
  __device__ uint8_t* keys(int stage) const { return base + P::kRing + stage * 2 * P::kHalf; }
  __device__ uint8_t* values(int stage) const { return keys(stage) + P::kHalf; }
  __device__ Barrier* full(int stage) const {
    return reinterpret_cast<Barrier*>(base + P::kBarriers) + stage;
  }
  __device__ Barrier* empty(int stage) const { return full(P::kStages + stage); }
  __device__ uint8_t* queries(int place) const { return base + place * P::kTile; }
  __device__ Barrier* queries_full(int place) const { return full(2 * P::kStages + place); }
  __device__ Barrier* queries_empty(int place) const {
    return queries_full(P::kTilesAhead + place);
  }
};

template <class P>
__device__ void bring_forward(const Sizes& s, const ForwardMaps& maps, const ForwardMemory<P>& m) {
  Tiles tiles(s);
  Turn<P::kStages> turn;
  Turn<P::kTilesAhead> ahead;
  for (Tile t = tiles.next(); t.some(); t = tiles.next(), ahead.advance()) {
    Barrier* const queries_full = m.queries_full(ahead.stage);
    wait(m.queries_empty(ahead.stage), ahead.parity ^ 1);
    arrive_expecting(queries_full, s.tokens_of_tile * s.group * P::kD * 2);
    for (int h = 0; h < P::kD / 64; ++h) {
      load(maps.queries, queries_full, m.queries(ahead.stage) + h * P::kRows * 128, h * 64,
           t.kv * s.group, t.start + t.first, kOnce);
    }
    const Blocks all = blocks_of<P::kN>(s, t.first, min(t.first + s.tokens_of_tile, t.length) - 1);
    for (int b = all.last; b >= all.first; --b, turn.advance()) {
      Barrier* const full = m.full(turn.stage);
      wait(m.empty(turn.stage), turn.parity ^ 1);
      arrive_expecting(full, 2 * P::kHalf);
      for (int h = 0; h < P::kD / 64; ++h) {
        const int x = (s.heads + t.kv) * P::kD + h * 64;
        const int y = t.start + b * P::kN;
        load(maps.keys, full, m.keys(turn.stage) + h * P::kN * 128, x, y, kOften);
        load(maps.keys, full, m.values(turn.stage) + h * P::kN * 128, x + s.kv_heads * P::kD, y,
             kOften);
      }
    }
  }
}

// The running softmax of a thread's two rows; of `sum` only the thread's part.
struct Softmax {
  float top[2] = {kNothing, kNothing};
  float sum[2] = {0.0F, 0.0F};

  // Scores become probabilities; `shrink`: what earlier ones are multiplied by.
  template <int kCount>
  __device__ void add(float (&x)[kCount], float scale, float (&shrink)[2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float peak = x[2 * i];
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
        peak = fmaxf(peak, fmaxf(x[4 * j + 2 * i], x[4 * j + 2 * i + 1]));
      }
      peak = fmaxf(top[i], row_top(peak));
      const float base = peak == kNothing ? 0.0F : peak * scale;
      shrink[i] = power_of_two(top[i] * scale - base);
      top[i] = peak;
      float part = 0.0F;
#pragma unroll
      for (int j = 0; j < kCount / 4; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& v = x[4 * j + 2 * i + e];
          v = power_of_two(v * scale - base);
          part += v;
        }
      }
      sum[i] = sum[i] * shrink[i] + part;
    }
  }
};

// Scores of keys that a row does not see become minus infinity.
template <int kCount>
__device__ inline void hide(float (&x)[kCount], const QueryRows& rows, int first_key, int column,
                            int window) {
#pragma unroll
  for (int j = 0; j < kCount / 4; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int back = rows.token[e / 2] - (first_key + j * 8 + column + e % 2);
      if (static_cast<uint32_t>(back) >= static_cast<uint32_t>(window)) {
        x[4 * j + e] = kNothing;
      }
    }
  }
}
template <int kN>
__device__ inline bool some_hidden(const Sizes& s, const QueryRows& rows, int block) {
  return block * kN + kN - 1 > rows.from || rows.to - block * kN >= s.window;
}

template <class P>
__device__ void attend_forward(const Sizes& s, const ForwardMemory<P>& m, const Lane& at,
                               __nv_bfloat16* y, float* log_sum) {
  const float scale = s.scale * kLog2E;
  Tiles tiles(s);
  Turn<P::kStages> turn;
  Turn<P::kTilesAhead> ahead;
  const auto release = [&](int stage) { at.arrive_once(m.empty(stage)); };
  const auto skip = [&] {
    wait(m.full(turn.stage), turn.parity);
    release(turn.stage);
    turn.advance();
  };
  for (Tile t = tiles.next(); t.some(); t = tiles.next(), ahead.advance()) {
    const QueryRows rows(s, t, at);
    const Blocks all = blocks_of<P::kN>(s, t.first, min(t.first + s.tokens_of_tile, t.length) - 1);
    const Blocks own = rows.to >= rows.from ? blocks_of<P::kN>(s, rows.from, rows.to)
                                            : Blocks{all.first, all.first - 1};
    uint32_t q[P::kKeep ? P::kD / 4 : 1];
    const uint8_t* const queries = m.queries(ahead.stage);
    wait(m.queries_full(ahead.stage), ahead.parity);
    if constexpr (P::kKeep) {
      load_rows<P::kD>(q, queries, P::kRows, at);
      at.arrive_once(m.queries_empty(ahead.stage));
    }
    const auto score = [&](float(&x)[P::kN / 2]) {
      if constexpr (P::kKeep) {
        score_product<P::kN, P::kD>(x, q, m.keys(turn.stage));
      } else {
        score_product<P::kN, P::kD>(x, queries + at.group * 64 * 128, P::kRows, m.keys(turn.stage));
      }
      commit_products();
    };

    int b = all.last;
    for (; b > own.last; --b) {
      skip();
    }
    if (own.last >= own.first) {
      Softmax softmax;
      float out[P::kD / 2] = {};
      float shrink[2];
      uint32_t p[P::kN / 4];
      wait(m.full(turn.stage), turn.parity);
      if (b * P::kN + P::kN > t.length) {
        clear_rows<P::kN, P::kD>(m.values(turn.stage), t.length - b * P::kN, at);
        show_cleared(at);
      }
      {
        float x[P::kN / 2];
        begin_products();
        score(x);
        wait_products<0>();
        if (some_hidden<P::kN>(s, rows, b)) {
          hide(x, rows, b * P::kN, at.column(), s.window);
        }
        softmax.add(x, scale, shrink);
        round_to_operand(x, p);
      }
      for (--b; b >= own.first; --b) {
        const int before = turn.stage;
        turn.advance();
        float x[P::kN / 2];
        wait(m.full(turn.stage), turn.parity);
        begin_products();
        score(x);
        sum_product<P::kN, P::kD>(out, p, m.values(before));
        commit_products();
        wait_products<1>();
        if (some_hidden<P::kN>(s, rows, b)) {
          hide(x, rows, b * P::kN, at.column(), s.window);
        }
        softmax.add(x, scale, shrink);
        wait_products<0>();
        release(before);
#pragma unroll
        for (int i = 0; i < P::kD / 2; ++i) {
          out[i] *= shrink[i / 2 % 2];
        }
        round_to_operand(x, p);
      }
      if constexpr (!P::kKeep) {
        at.arrive_once(m.queries_empty(ahead.stage));
      }
      begin_products();
      sum_product<P::kN, P::kD>(out, p, m.values(turn.stage));
      commit_products();
      const float sum[2] = {row_sum(softmax.sum[0]), row_sum(softmax.sum[1])};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (rows.valid[i] && at.lane % 4 == 0) {
          log_sum[rows.place[i]] = softmax.top[i] * s.scale + logf(sum[i]);
        }
      }
      wait_products<0>();
      release(turn.stage);
      turn.advance();
      write_rows<P::kD>(out, 1.0F / sum[0], 1.0F / sum[1],
                        m.base + P::kStaging + at.group * tile_bytes(64, P::kD), at, [&](int row) {
                          return QueryRows::target<P::kD>(s, t, at.group * 64 + row, y,
                                                          s.heads * P::kD);
                        });
    }
    if constexpr (!P::kKeep) {
      if (own.last < own.first) {
        at.arrive_once(m.queries_empty(ahead.stage));
      }
    }
    for (; b >= all.first; --b) {
      skip();
    }
  }
}

template <class P>
__global__ void __launch_bounds__(P::kThreads, 1)
    forward_tiles_kernel(const __grid_constant__ ForwardMaps maps,
                         const __grid_constant__ Sizes sizes, __nv_bfloat16* y, float* log_sum) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // other architectures are compiled too, and never run this
  extern __shared__ uint8_t memory[];
  const ForwardMemory<P> m{memory + (1024 - shared_address(memory) % 1024) % 1024};
  const auto thread = static_cast<int>(threadIdx.x);
  const int role = __shfl_sync(0xffffffffU, thread / 128, 0);
  if (thread == 0) {
    for (int i = 0; i < P::kStages; ++i) {
      start(m.full(i), 1);
      start(m.empty(i), 4 * P::kGroups);
    }
    for (int i = 0; i < P::kTilesAhead; ++i) {
      start(m.queries_full(i), 1);
      start(m.queries_empty(i), 4 * P::kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  if (role == 0) {
    give_registers<P::kGroups == 2 ? 24 : 32>();
    if (thread == 0) {
      bring_forward<P>(sizes, maps, m);
    } else if (thread >= 32) {
      clear_tail(sizes, y, sizes.heads * P::kD, thread - 32, 96);
    }
  } else {
    take_registers<P::kGroups == 2 ? 240 : 160>();
    attend_forward<P>(sizes, m, {thread % 128, thread / 32 % 4, thread % 32, role - 1}, y, log_sum);
  }
#endif
}

}  // namespace sft::attend
