// Attention backward for compute capability 9.0, in two kernels that add nothing up across blocks,
// so that the same inputs give the same bits: the gradient of the queries, tile of queries by tile,
// and that of keys and values, tile of keys by tile. Both make the probabilities again from
// log_sum. Products of a row stay in its thread's registers from the first to the last.
#pragma once

#include "ops/cuda/attention_tiles.cuh"

namespace sft::attend {

// --- the gradient of the queries -----------------------------------------------------------------
template <int kHeadDim, int kKeys, int kDepth, bool kInRegisters>
struct QueryGradientPlan {
  static constexpr int kD = kHeadDim;
  static constexpr int kN = kKeys;  // of a block
  static constexpr int kGroups = 2;
  static constexpr int kRows = kGroups * 64;
  static constexpr int kStages = kDepth;
  static constexpr int kThreads = 128 + kGroups * 128;

  static constexpr bool kKeep = kInRegisters;        // queries and grad_y, of a warpgroup
  static constexpr int kTilesAhead = kKeep ? 1 : 2;  // of queries, grad_y and y, in shared memory

  static constexpr int kTile = tile_bytes(kRows, kD);
  static constexpr int kStaging = 3 * kTilesAhead * kTile;
  static constexpr int kRing = kStaging + kTile;
  static constexpr int kHalf = tile_bytes(kN, kD);  // of a stage: keys; values
  static constexpr int kBarriers = kRing + kStages * 2 * kHalf;
  static constexpr int kShared = kBarriers + (2 * kStages + 2 * kTilesAhead) * 8 + 1024;
};

struct QueryGradientMaps {
  CUtensorMap queries, grad_y, y, keys;
};

struct BackwardArrays {
  const float* log_sum;  // (tokens, heads)
  // (kv_heads, tokens, group): log_sum to the base 2; y . grad_y. Some more are read, not used.
  float2* rows;
  __nv_bfloat16* grad_qkv;
};

template <class P>
struct QueryGradientMemory {
  uint8_t* base;
  __device__ uint8_t* keys(int stage) const { return base + P::kRing + stage * 2 * P::kHalf; }
  __device__ uint8_t* values(int stage) const { return keys(stage) + P::kHalf; }
  __device__ Barrier* full(int stage) const {
    return reinterpret_cast<Barrier*>(base + P::kBarriers) + stage;
  }
  __device__ Barrier* empty(int stage) const { return full(P::kStages + stage); }
  __device__ uint8_t* queries(int place) const { return base + 3 * place * P::kTile; }
  __device__ uint8_t* grad_y(int place) const { return queries(place) + P::kTile; }
  __device__ uint8_t* y(int place) const { return queries(place) + 2 * P::kTile; }
  __device__ Barrier* rows_full(int place) const { return full(2 * P::kStages + place); }
  __device__ Barrier* rows_empty(int place) const { return rows_full(P::kTilesAhead + place); }
};

template <class P>
__device__ void bring_for_queries(const Sizes& s, const QueryGradientMaps& maps,
                                  const QueryGradientMemory<P>& m) {
  Tiles tiles(s);
  Turn<P::kStages> turn;
  Turn<P::kTilesAhead> ahead;
  for (Tile t = tiles.next(); t.some(); t = tiles.next(), ahead.advance()) {
    Barrier* const rows_full = m.rows_full(ahead.stage);
    wait(m.rows_empty(ahead.stage), ahead.parity ^ 1);
    arrive_expecting(rows_full, 3 * s.tokens_of_tile * s.group * P::kD * 2);
    for (int h = 0; h < P::kD / 64; ++h) {
      const int to = h * P::kRows * 128;
      const int head = t.kv * s.group;
      const int token = t.start + t.first;
      load(maps.queries, rows_full, m.queries(ahead.stage) + to, h * 64, head, token, kOnce);
      load(maps.grad_y, rows_full, m.grad_y(ahead.stage) + to, h * 64, head, token, kOnce);
      load(maps.y, rows_full, m.y(ahead.stage) + to, h * 64, head, token, kOnce);
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

template <class P>
__device__ void find_query_gradient(const Sizes& s, const QueryGradientMemory<P>& m, const Lane& at,
                                    const BackwardArrays& arrays) {
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
    float log_sum[2], delta[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      log_sum[i] = rows.valid[i] ? arrays.log_sum[rows.place[i]] * kLog2E : 0.0F;
    }
    const uint8_t* const queries = m.queries(ahead.stage);
    const uint8_t* const grad_y = m.grad_y(ahead.stage);
    uint32_t q[P::kD / 4], g[P::kD / 4];  // unused if not kept
    wait(m.rows_full(ahead.stage), ahead.parity);
    load_rows<P::kD>(g, grad_y, P::kRows, at);
    {
      uint32_t y[P::kD / 4];
      load_rows<P::kD>(y, m.y(ahead.stage), P::kRows, at);
#pragma unroll
      for (int i = 0; i < P::kD / 4; ++i) {
        const float2 a = unpack(g[i]);
        const float2 b = unpack(y[i]);
        delta[i % 2] += a.x * b.x + a.y * b.y;
      }
    }
    if constexpr (P::kKeep) {
      load_rows<P::kD>(q, queries, P::kRows, at);
      at.arrive_once(m.rows_empty(ahead.stage));
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      delta[i] = row_sum(delta[i]);
      if (rows.valid[i] && at.lane % 4 == 0) {
        const int row = at.group * 64 + at.row() + i * 8;
        arrays.rows[(int64_t{t.kv} * s.tokens + t.start + t.first) * s.group + row] = {log_sum[i],
                                                                                       delta[i]};
      }
    }

    int b = all.last;
    for (; b > own.last; --b) {
      skip();
    }
    if (own.last >= own.first) {
      float out[P::kD / 2] = {};
      uint32_t ds[P::kN / 4] = {};
      int before = -1;
      for (; b >= own.first; --b) {
        wait(m.full(turn.stage), turn.parity);
        if (b * P::kN + P::kN > t.length) {
          clear_rows<P::kN, P::kD>(m.keys(turn.stage), t.length - b * P::kN, at);
          clear_rows<P::kN, P::kD>(m.values(turn.stage), t.length - b * P::kN, at);
          show_cleared(at);
        }
        float x[P::kN / 2], dx[P::kN / 2];
        begin_products();
        if constexpr (P::kKeep) {
          score_product<P::kN, P::kD>(x, q, m.keys(turn.stage));
          commit_products();
          score_product<P::kN, P::kD>(dx, g, m.values(turn.stage));
        } else {
          const int first = at.group * 64 * 128;
          score_product<P::kN, P::kD>(x, queries + first, P::kRows, m.keys(turn.stage));
          commit_products();
          score_product<P::kN, P::kD>(dx, grad_y + first, P::kRows, m.values(turn.stage));
        }
        commit_products();
        wait_products<1>();
        keep_until_here(ds);
        if (before >= 0) {
          release(before);
        }
#pragma unroll
        for (int i = 0; i < P::kN / 2; ++i) {
          x[i] = power_of_two(x[i] * scale - log_sum[i / 2 % 2]);
        }
        if (b * P::kN + P::kN - 1 > rows.from || rows.to - b * P::kN >= s.window) {
#pragma unroll
          for (int i = 0; i < P::kN / 2; ++i) {
            const int back = rows.token[i / 2 % 2] - (b * P::kN + i / 4 * 8 + at.column() + i % 2);
            if (static_cast<uint32_t>(back) >= static_cast<uint32_t>(s.window)) {
              x[i] = 0.0F;
            }
          }
        }
        wait_products<0>();
#pragma unroll
        for (int i = 0; i < P::kN / 4; ++i) {
          ds[i] = pack(x[2 * i] * (dx[2 * i] - delta[i % 2]),
                       x[2 * i + 1] * (dx[2 * i + 1] - delta[i % 2]));
        }
        begin_products();
        sum_product<P::kN, P::kD>(out, ds, m.keys(turn.stage));
        commit_products();
        before = turn.stage;
        turn.advance();
      }
      wait_products<0>();
      keep_until_here(ds);
      release(before);
      write_rows<P::kD>(out, s.scale, s.scale,
                        m.base + P::kStaging + at.group * tile_bytes(64, P::kD), at, [&](int row) {
                          return QueryRows::target<P::kD>(s, t, at.group * 64 + row,
                                                          arrays.grad_qkv, s.row_width(P::kD));
                        });
    }
    if constexpr (!P::kKeep) {
      at.arrive_once(m.rows_empty(ahead.stage));
    }
    for (; b >= all.first; --b) {
      skip();
    }
  }
}

template <class P>
__global__ void __launch_bounds__(P::kThreads, 1)
    query_gradient_tiles_kernel(const __grid_constant__ QueryGradientMaps maps,
                                const __grid_constant__ Sizes sizes, const BackwardArrays arrays) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ uint8_t memory[];
  const QueryGradientMemory<P> m{memory + (1024 - shared_address(memory) % 1024) % 1024};
  const auto thread = static_cast<int>(threadIdx.x);
  const int role = __shfl_sync(0xffffffffU, thread / 128, 0);
  if (thread == 0) {
    for (int i = 0; i < P::kStages; ++i) {
      start(m.full(i), 1);
      start(m.empty(i), 4 * P::kGroups);
    }
    for (int i = 0; i < P::kTilesAhead; ++i) {
      start(m.rows_full(i), 1);
      start(m.rows_empty(i), 4 * P::kGroups);
    }
    publish_barriers();
  }
  __syncthreads();
  if (role == 0) {
    give_registers<24>();
    if (thread == 0) {
      bring_for_queries<P>(sizes, maps, m);
    } else if (thread >= 32) {
      clear_tail(sizes, arrays.grad_qkv, sizes.row_width(P::kD), thread - 32, 96);
    }
  } else {
    take_registers<240>();
    find_query_gradient<P>(sizes, m, {thread % 128, thread / 32 % 4, thread % 32, role - 1},
                           arrays);
  }
#endif
}

// --- the gradients of keys and values ------------------------------------------------------------
template <int kHeadDim, int kDepth, bool kInRegisters>
struct KeyGradientPlan {
  static constexpr int kD = kHeadDim;
  static constexpr int kQ = 64;  // rows of queries at a time
  static constexpr int kGroups = 2;
  static constexpr int kRows = kGroups * 64;  // keys of a tile
  static constexpr int kStages = kDepth;
  static constexpr int kThreads = 128 + kGroups * 128;
  static constexpr bool kKeep = kInRegisters;  // keys and values, of a warpgroup
  // The sums of a tile of queries are still under way when the scores of the next begin; registers
  // do not suffice for that with long heads.
  static constexpr bool kOverlap = kD <= 64;

  static constexpr int kTile = tile_bytes(kRows, kD);
  static constexpr int kKeys = 0;
  static constexpr int kValues = kTile;
  static constexpr int kStaging = kKeep ? 2 * kTile : kKeys;  // or over what is no longer needed
  static constexpr int kRing = kKeep ? 3 * kTile : 2 * kTile;
  static constexpr int kHalf = tile_bytes(kQ, kD);  // of a stage: queries; grad_y
  static constexpr int kPairs = kRing + kStages * 2 * kHalf;
  static constexpr int kPairBytes = (kQ + 2) * 8;  // copies begin on 16 bytes
  static constexpr int kTokens = kPairs + kStages * kPairBytes;
  static constexpr int kBarriers = kTokens + kQ * 4;
  static constexpr int kShared = kBarriers + (2 * kStages + 2) * 8 + 1024;
};

struct KeyGradientMaps {
  CUtensorMap queries, grad_y, keys;
};

// Of a tile of queries in BackwardArrays::rows.
__device__ inline int64_t first_row(const Sizes& s, const Tile& t, int token) {
  return (int64_t{t.kv} * s.tokens + t.start + token) * s.group;
}

template <class P>
struct KeyGradientMemory {
  uint8_t* base;
  __device__ uint8_t* queries(int stage) const { return base + P::kRing + stage * 2 * P::kHalf; }
  __device__ uint8_t* grad_y(int stage) const { return queries(stage) + P::kHalf; }
  __device__ float2* pairs(int stage) const {
    return reinterpret_cast<float2*>(base + P::kPairs + stage * P::kPairBytes);
  }
  // Of each row of a tile of queries, counted in the tile; far away for rows that hold nothing.
  __device__ int* tokens() const { return reinterpret_cast<int*>(base + P::kTokens); }
  __device__ Barrier* full(int stage) const {
    return reinterpret_cast<Barrier*>(base + P::kBarriers) + stage;
  }
  __device__ Barrier* empty(int stage) const { return full(P::kStages + stage); }
  __device__ Barrier* keys_full() const { return full(2 * P::kStages); }
  __device__ Barrier* keys_empty() const { return full(2 * P::kStages + 1); }
};

// The first token after those that see keys of a tile.
template <class P>
__device__ inline int end_of_queries(const Sizes& s, const Tile& t) {
  const int last_key = min(t.first + P::kRows, t.length) - 1;
  return s.window > t.length ? t.length : min(t.length, last_key + s.window);
}

template <class P>
__device__ void bring_for_keys(const Sizes& s, const KeyGradientMaps& maps,
                               const KeyGradientMemory<P>& m, const BackwardArrays& arrays) {
  Tiles tiles(s);
  Turn<P::kStages> turn;
  uint32_t parity = 1;
  for (Tile t = tiles.next(); t.some(); t = tiles.next()) {
    wait(m.keys_empty(), parity);
    parity ^= 1;
    arrive_expecting(m.keys_full(), 2 * P::kTile);
    for (int h = 0; h < P::kD / 64; ++h) {
      const int x = (s.heads + t.kv) * P::kD + h * 64;
      uint8_t* const to = m.base + h * P::kRows * 128;
      load(maps.keys, m.keys_full(), to + P::kKeys, x, t.start + t.first, kOnce);
      load(maps.keys, m.keys_full(), to + P::kValues, x + s.kv_heads * P::kD, t.start + t.first,
           kOnce);
    }
    const int end = end_of_queries<P>(s, t);
    const int head = t.kv * s.group;
    for (int token = t.first; token < end; token += s.tokens_of_tile, turn.advance()) {
      Barrier* const full = m.full(turn.stage);
      wait(m.empty(turn.stage), turn.parity ^ 1);
      arrive_expecting(full, 2 * s.tokens_of_tile * s.group * P::kD * 2 + P::kPairBytes);
      for (int h = 0; h < P::kD / 64; ++h) {
        const int to = h * P::kQ * 128;
        load(maps.queries, full, m.queries(turn.stage) + to, h * 64, head, t.start + token, kOften);
        load(maps.grad_y, full, m.grad_y(turn.stage) + to, h * 64, head, t.start + token, kOften);
      }
      const int64_t row = first_row(s, t, token);
      load(arrays.rows + row - row % 2, full, m.pairs(turn.stage), P::kPairBytes);
    }
  }
}

template <class P>
__device__ void find_key_gradients(const Sizes& s, const KeyGradientMemory<P>& m, const Lane& at,
                                   const BackwardArrays& arrays) {
  constexpr int kQ = P::kQ;
  const float scale = s.scale * kLog2E;
  const int used = s.tokens_of_tile * s.group;  // rows of a tile of queries
  Tiles tiles(s);
  Turn<P::kStages> turn;
  uint32_t parity = 0;
  const auto release = [&](int stage) { at.arrive_once(m.empty(stage)); };
  for (Tile t = tiles.next(); t.some(); t = tiles.next()) {
    const int end = end_of_queries<P>(s, t);
    const int first_key = t.first + at.group * 64;
    uint32_t k[P::kKeep ? P::kD / 4 : 1], v[P::kKeep ? P::kD / 4 : 1];
    const uint8_t* const k_rows = m.base + P::kKeys + at.group * 64 * 128;
    const uint8_t* const v_rows = m.base + P::kValues + at.group * 64 * 128;
    wait(m.keys_full(), parity);
    parity ^= 1;
    if constexpr (P::kKeep) {
      load_rows<P::kD>(k, m.base + P::kKeys, P::kRows, at);
      load_rows<P::kD>(v, m.base + P::kValues, P::kRows, at);
      at.arrive_once(m.keys_empty());
    }
    float grad_k[P::kD / 2] = {};
    float grad_v[P::kD / 2] = {};
    uint32_t p[kQ / 4] = {}, ds[kQ / 4] = {};
    int before = -1;
    for (int token = t.first; token < end; token += s.tokens_of_tile) {
      const int last = token + s.tokens_of_tile - 1;
      wait(m.full(turn.stage), turn.parity);
      if (last < first_key || first_key >= t.length || token - (first_key + 63) >= s.window) {
        if (before >= 0) {
          wait_products<0>();
          release(before);
          before = -1;
        }
        release(turn.stage);
        turn.advance();
        continue;
      }
      uint8_t* const queries = m.queries(turn.stage);
      uint8_t* const grad_y = m.grad_y(turn.stage);
      if (last >= t.length) {
        clear_rows<kQ, P::kD>(queries, (t.length - token) * s.group, at);
        clear_rows<kQ, P::kD>(grad_y, (t.length - token) * s.group, at);
        show_cleared(at);
      }
      float x[kQ / 2], dx[kQ / 2];
      begin_products();
      if constexpr (P::kKeep) {
        score_product<kQ, P::kD>(x, k, queries);
      } else {
        score_product<kQ, P::kD>(x, k_rows, P::kRows, queries);
      }
      commit_products();
      if constexpr (P::kKeep) {
        score_product<kQ, P::kD>(dx, v, grad_y);
      } else {
        score_product<kQ, P::kD>(dx, v_rows, P::kRows, grad_y);
      }
      commit_products();
      wait_products<1>();
      if constexpr (P::kOverlap) {
        keep_until_here(p);
        keep_until_here(ds);
      }
      if (before >= 0) {
        release(before);
      }
      const float2* const pairs = m.pairs(turn.stage) + first_row(s, t, token) % 2 + at.column();
#pragma unroll
      for (int j = 0; j < kQ / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          x[4 * j + e] = power_of_two(x[4 * j + e] * scale - pairs[j * 8 + e % 2].x);
        }
      }
      // Rows after the tile's last are 0, but their pairs are the next token's.
      if (used < kQ) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          x[kQ / 2 - 4 + e] = kQ - 8 + at.column() + e % 2 < used ? x[kQ / 2 - 4 + e] : 0.0F;
        }
      }
      const bool edge = token < first_key + 63 || last + 1 >= t.length ||
                        last - first_key >= s.window || used <= kQ - 8;
      if (edge) {
#pragma unroll
        for (int i = 0; i < kQ / 2; ++i) {
          const int query = token + m.tokens()[i / 4 * 8 + at.column() + i % 2];
          const int back = query - (first_key + at.row() + i / 2 % 2 * 8);
          if (query >= t.length || static_cast<uint32_t>(back) >= static_cast<uint32_t>(s.window)) {
            x[i] = 0.0F;
          }
        }
      }
      // Registers that a product reads are not made while others run: the compiler would wait.
      wait_products<0>();
      round_to_operand(x, p);
#pragma unroll
      for (int j = 0; j < kQ / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          x[4 * j + e] *= dx[4 * j + e] - pairs[j * 8 + e % 2].y;
        }
      }
      if (edge) {
#pragma unroll
        for (int i = 0; i < kQ / 2; ++i) {
          const int query = token + m.tokens()[i / 4 * 8 + at.column() + i % 2];
          if (query >= t.length) {  // whose pair may be anything
            x[i] = 0.0F;
          }
        }
      }
      round_to_operand(x, ds);
      begin_products();
      sum_product<kQ, P::kD>(grad_v, p, grad_y);
      sum_product<kQ, P::kD>(grad_k, ds, queries);
      commit_products();
      if constexpr (P::kOverlap) {
        before = turn.stage;
      } else {
        wait_products<0>();
        release(turn.stage);
      }
      turn.advance();
    }
    wait_products<0>();
    if constexpr (P::kOverlap) {
      keep_until_here(p);
      keep_until_here(ds);
    }
    if (before >= 0) {
      release(before);
    }
    const auto target = [&](int part) {
      return [&, part](int row) -> __nv_bfloat16* {
        const int key = first_key + row;
        return key < t.length ? arrays.grad_qkv + int64_t{t.start + key} * s.row_width(P::kD) +
                                    (s.heads + part * s.kv_heads + t.kv) * P::kD
                              : nullptr;
      };
    };
    uint8_t* const staging = m.base + P::kStaging + at.group * tile_bytes(64, P::kD);
    if constexpr (!P::kKeep) {
      // Both warpgroups may still read what lies where the results go.
      asm volatile("bar.sync 3, 256;" ::: "memory");
    }
    write_rows<P::kD>(grad_k, s.scale, s.scale, staging, at, target(0));
    write_rows<P::kD>(grad_v, 1.0F, 1.0F, staging, at, target(1));
    if constexpr (!P::kKeep) {
      show_to_copies();
      at.arrive_once(m.keys_empty());
    }
  }
}

template <class P>
__global__ void __launch_bounds__(P::kThreads, 1)
    key_gradient_tiles_kernel(const __grid_constant__ KeyGradientMaps maps,
                              const __grid_constant__ Sizes sizes, const BackwardArrays arrays) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ uint8_t memory[];
  const KeyGradientMemory<P> m{memory + (1024 - shared_address(memory) % 1024) % 1024};
  const auto thread = static_cast<int>(threadIdx.x);
  const int role = __shfl_sync(0xffffffffU, thread / 128, 0);
  if (thread == 0) {
    for (int i = 0; i < P::kStages; ++i) {
      start(m.full(i), 1);
      start(m.empty(i), 4 * P::kGroups);
    }
    start(m.keys_full(), 1);
    start(m.keys_empty(), 4 * P::kGroups);
    publish_barriers();
  }
  if (thread < P::kQ) {
    const int token = sizes.token_of(thread);
    m.tokens()[thread] = token < sizes.tokens_of_tile ? token : 1 << 28;
  }
  // Rows of a stage that no copy reaches take part in products.
  for (int i = thread; i < P::kStages * 2 * P::kHalf / 16; i += P::kThreads) {
    reinterpret_cast<uint4*>(m.base + P::kRing)[i] = uint4{0, 0, 0, 0};
  }
  show_to_copies();
  __syncthreads();
  if (role == 0) {
    give_registers<24>();
    if (thread == 0) {
      bring_for_keys<P>(sizes, maps, m, arrays);
    }
  } else {
    take_registers<240>();
    find_key_gradients<P>(sizes, m, {thread % 128, thread / 32 % 4, thread % 32, role - 1}, arrays);
  }
#endif
}

}  // namespace sft::attend
