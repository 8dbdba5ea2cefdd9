// What goes from chunk to chunk of the gated delta rule: states, and their gradients. A block takes
// some columns of a state, which do not depend on each other, and keeps them in registers. See
// gated_delta_cuda.cu.
#pragma once

#include "ops/cuda/delta_chunk.cuh"

namespace sft::delta {

// D: keys and values, or more.
template <class T, int D>
struct ScanMemory {
  static constexpr int kColumns = D / 2;
  static constexpr int kRow = D + kTileGap;
  static constexpr int kPart = kColumns + kTileGap;
  T *key, *w;
  T* state;  // (D, kColumns): what is multiplied
  T* fresh;  // (kC, kColumns)
  __host__ __device__ explicit ScanMemory(Pool& p)
      : key(p.vector<T>(kC * kRow)),
        w(p.vector<T>(kC * kRow)),
        state(p.vector<T>(D * kPart)),
        fresh(p.vector<T>(kC * kPart)) {}
};
template <class T, int D>
struct ScanBackwardMemory : ScanMemory<T, D> {
  using Base = ScanMemory<T, D>;
  T* query;
  T* grad_y;  // (kC, kColumns)
  __host__ __device__ explicit ScanBackwardMemory(Pool& p)
      : Base(p), query(p.vector<T>(kC * Base::kRow)), grad_y(p.vector<T>(kC * Base::kPart)) {}
};

// Memory: of the one way or the other.
template <class T, int D, class Memory>
class Scan {
 public:
  __device__ Scan(const Layer<T>& layer, const Memory& memory) : l(layer), m(memory) {
    strip::clear(state);
  }

  // The states before each chunk of a document, and what is new in each.
  __device__ void forward() {
    const int32_t* const first = l.first_chunk() + l.block();
    bring_w(first[0], first);
    bring_keys(first[0], first);
    Ahead next;
    load(first[0], first, false, next);
    for (int chunk = first[0]; chunk < first[1]; ++chunk) {
      const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
      const Ahead now = next;
      load(chunk + 1, first, false, next);
      narrow_state(expf(now.last.x));
      mma::wait_copies<1>();
      __syncthreads();
      keep_state(c.state());
      Tokens said;
      strip::clear(said);
      strip::add_product<false, false, D, kRow, kPart>(m.w + token * kRow, m.state + half, said);
      const Matrix<T> out = c.fresh();
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int which = 0; which < 2; ++which) {
          const float a = widen(now.values[n][which].x) - said[n][2 * which];
          const float b = widen(now.values[n][which].y) - said[n][2 * which + 1];
          keep(out, which, n, a, b);
          const float to_end = now.to_end(which);
          strip::store_pair(m.fresh + at(which, n), to_end * a, to_end * b);
        }
      }
      mma::wait_copies<0>();
      __syncthreads();
      bring_w(chunk + 1, first);
      strip::add_product<true, false, kC, kRow, kPart>(m.key + key, m.fresh + across, state);
      __syncthreads();
      bring_keys(chunk + 1, first);
    }
  }

  // From the last chunk to the first: the gradients of the state after each chunk, and all of what
  // `fresh` has.
  __device__ void backward() {
    const int32_t* const first = l.first_chunk() + l.block();
    bring_keys(first[1] - 1, first);
    bring_queries(first[1] - 1, first);
    Ahead next;
    load(first[1] - 1, first, true, next);
    for (int chunk = first[1]; chunk-- > first[0];) {
      const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
      const Ahead now = next;
      load(chunk - 1, first, true, next);
#pragma unroll
      for (int i = 0; i < kShared; ++i) {
        store_vec(m.grad_y + (share.row + i * share.kStep) * kPart + share.column,
                  expf(now.from_start[i]) * unpack(now.grad_y[i]));
      }
      narrow_state(expf(now.last.x));
      mma::wait_copies<1>();
      __syncthreads();
      keep_state(c.grad_state());
      Tokens sums;
      strip::clear(sums);
      strip::add_product<false, false, D, kRow, kPart>(m.key + token * kRow, m.state + half, sums);
      const Matrix<T> out = c.grad_fresh();
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int which = 0; which < 2; ++which) {
          const float to_end = now.to_end(which);
          const float a = widen(now.values[n][which].x) + to_end * sums[n][2 * which];
          const float b = widen(now.values[n][which].y) + to_end * sums[n][2 * which + 1];
          keep(out, which, n, a, b);
          strip::store_pair(m.fresh + at(which, n), -a, -b);
        }
      }
      mma::wait_copies<0>();
      __syncthreads();
      bring_keys(chunk - 1, first);
      strip::add_product<true, false, kC, kRow, kPart>(m.query + key, m.grad_y + across, state);
      strip::add_product<true, false, kC, kRow, kPart>(m.w + key, m.fresh + across, state);
      __syncthreads();
      bring_queries(chunk - 1, first);
    }
  }

 private:
  static constexpr int kColumns = Memory::kColumns;
  static constexpr int kRow = Memory::kRow;
  static constexpr int kPart = Memory::kPart;
  static constexpr int kStrips = D / 16;            // of a state
  static constexpr int kAcross = kWarps / kStrips;  // warps that share one
  static constexpr int kStateTiles = kColumns / kAcross / 8;
  static constexpr int kTokenTiles = kColumns / 2 / 8;
  static constexpr int kShared = kC / Share<kColumns>::kStep;  // rows of a thread
  using Tokens = mma::Sums[kTokenTiles];

  // What a thread reads of a chunk, one chunk before it is used.
  struct Ahead {
    strip::Two<T> values[kTokenTiles][2];  // u, or what is there of the gradient of `fresh`
    Packed<T> grad_y[kShared];             // of the way back
    float from_start[kShared];             // likewise, of the rows of grad_y: sums of decays
    float2 tokens[2], last;                // sums of decays: of its two tokens, of the last one

    __device__ float to_end(int which) const {
      return expf((last.x - tokens[which].x) + (last.y - tokens[which].y));
    }
  };

  __device__ bool there(int chunk, const int32_t* first) const {
    return chunk >= first[0] && chunk < first[1];
  }
  // Tiles of a chunk on their way, if the document has it.
  __device__ void bring_keys(int chunk, const int32_t* first) const {
    if (there(chunk, first)) {
      bring<D>(m.key, Chunk<T>(l, chunk, static_cast<int>(blockIdx.y)).key(), l.keys());
    }
    mma::commit_copies();
  }
  __device__ void bring_w(int chunk, const int32_t* first) const {
    if (there(chunk, first)) {
      bring<D>(m.w, Chunk<T>(l, chunk, static_cast<int>(blockIdx.y)).w(), l.keys());
    }
    mma::commit_copies();
  }
  __device__ void bring_queries(int chunk, const int32_t* first) const {
    if (there(chunk, first)) {
      bring<D>(m.query, Chunk<T>(l, chunk, static_cast<int>(blockIdx.y)).query(), l.keys());
    }
    bring_w(chunk, first);
  }

  __device__ void load(int chunk, const int32_t* first, bool backward, Ahead& to) const {
    if (!there(chunk, first)) {
      return;
    }
    const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
    const Decays decays = c.decays();
    const auto sum = [&](int row) { return float2{decays.high[row], decays.low[row]}; };
    to.last = sum(kC - 1);
    const Matrix<T> values = backward ? c.grad_fresh() : c.u();
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const int row = token + strip::row(which);
      to.tokens[which] = sum(row);
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
        const int column = from + half + this->column + 8 * n;
        to.values[n][which] = column < l.values()
                                  ? *reinterpret_cast<const strip::Two<T>*>(&values(row, column))
                                  : strip::Two<T>{narrow<T>(0.0F), narrow<T>(0.0F)};
      }
    }
    if (backward) {
      const Matrix<T> grad_y = c.grad_y();
#pragma unroll
      for (int i = 0; i < kShared; ++i) {
        const int row = share.row + i * share.kStep;
        to.from_start[i] = decays.high[row];
        to.grad_y[i] = from + share.column < l.values()
                           ? *reinterpret_cast<const Packed<T>*>(&grad_y(row, from + share.column))
                           : Packed<T>{};
      }
    }
  }
  // Where this thread's numbers of tile n stand in a block's part of a tile of values.
  __device__ int at(int which, int n) const {
    return (token + strip::row(which)) * kPart + half + column + 8 * n;
  }
  __device__ void keep(const Matrix<T>& to, int which, int n, float a, float b) const {
    const int place = from + half + column + 8 * n;
    if (place < l.values()) {
      strip::store_pair(&to(token + strip::row(which), place), a, b);
    }
  }
  // The state to where it is multiplied from; then it fades.
  __device__ void narrow_state(float fade) {
    strip::each_pair(state, [&](int which, int column, float& a, float& b) {
      strip::store_pair(m.state + (key + strip::row(which)) * kPart + across + column, a, b);
      a *= fade;
      b *= fade;
    });
  }
  __device__ void keep_state(const Matrix<T>& to) const {
    each<kColumns>(l.keys(), l.values() - from, [&](int row, int column) {
      store_vec(&to(row, from + column), load_vec(m.state + row * kPart + column));
    });
  }

  const Layer<T>& l;
  const Memory m;
  const int from = static_cast<int>(blockIdx.z) * kColumns;  // the block's first column
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int column = 2 * (static_cast<int>(threadIdx.x) % 4);  // of this thread in a strip's tile
  const Share<kColumns> share;
  // Of this warp: its first token, and its first column of tokens' tiles; its first key and column
  // of the state.
  const int token = warp / 2 * 16;
  const int half = warp % 2 * (kColumns / 2);
  const int key = warp / kAcross * 16;
  const int across = warp % kAcross * (kColumns / kAcross);
  mma::Sums state[kStateTiles];
};

template <class T, int D, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1) states_kernel(Layer<T> l) {
  Pool tiles = pool<kTiles>(l);
  using Memory = ScanMemory<T, D>;
  Scan<T, D, Memory>(l, Memory(tiles)).forward();
}
template <class T, int D, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    states_backward_kernel(Layer<T> l) {
  Pool tiles = pool<kTiles>(l);
  using Memory = ScanBackwardMemory<T, D>;
  Scan<T, D, Memory>(l, Memory(tiles)).backward();
}

}  // namespace sft::delta
