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
  __device__ explicit Scan(const Layer<T>& layer) : l(layer), m(memory()) { strip::clear(state); }

  // The states before each chunk of a document, and what is new in each.
  __device__ void forward() {
    const int32_t* const first = l.first_chunk() + blockIdx.x;
    bring_w(first[0], first);
    bring_keys(first[0], first);
    for (int chunk = first[0]; chunk < first[1]; ++chunk) {
      const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
      const Decays decays = c.decays();
      Tokens fresh;
      load(c.u(), fresh);
      narrow_state(decays.from_start(kC - 1));
      mma::wait_copies<1>();
      __syncthreads();
      keep_state(c.state());
      Tokens said;
      strip::clear(said);
      strip::add_product<false, false, D, kRow, kPart>(m.w + token * kRow, m.state + half, said);
      const float to_end[2] = {decays.to_end(token + strip::row(0)),
                               decays.to_end(token + strip::row(1))};
      const Matrix<T> out = c.fresh();
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          fresh[n][i] -= said[n][i];
        }
      }
      strip::each_pair(fresh, [&](int which, int column, float a, float b) {
        const int row = token + strip::row(which);
        if (from + half + column < l.values()) {
          strip::store_pair(&out(row, from + half + column), a, b);
        }
        strip::store_pair(m.fresh + row * kPart + half + column, to_end[which] * a,
                          to_end[which] * b);
      });
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
    const int32_t* const first = l.first_chunk() + blockIdx.x;
    bring_keys(first[1] - 1, first);
    bring_queries(first[1] - 1, first);
    for (int chunk = first[1]; chunk-- > first[0];) {
      const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
      const Decays decays = c.decays();
      const Matrix<T> out = c.grad_fresh();
      Tokens grad;
      load(out, grad);
      scale_grad_y(c.grad_y(), decays);
      narrow_state(decays.from_start(kC - 1));
      mma::wait_copies<1>();
      __syncthreads();
      keep_state(c.grad_state());
      Tokens sums;
      strip::clear(sums);
      strip::add_product<false, false, D, kRow, kPart>(m.key + token * kRow, m.state + half, sums);
      const float to_end[2] = {decays.to_end(token + strip::row(0)),
                               decays.to_end(token + strip::row(1))};
#pragma unroll
      for (int n = 0; n < kTokenTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          grad[n][i] += to_end[i / 2] * sums[n][i];
        }
      }
      strip::each_pair(grad, [&](int which, int column, float a, float b) {
        const int row = token + strip::row(which);
        if (from + half + column < l.values()) {
          strip::store_pair(&out(row, from + half + column), a, b);
        }
        strip::store_pair(m.fresh + row * kPart + half + column, -a, -b);
      });
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
  using Tokens = mma::Sums[kTokenTiles];

  static __device__ Memory memory() {
    Pool shared = pool();
    return Memory(shared);
  }
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

  // This thread's numbers of a tile of values.
  __device__ void load(const Matrix<T>& tile, Tokens& to) const {
    strip::each_pair(to, [&](int which, int column, float& a, float& b) {
      const int at = from + half + column;
      const float2 x = at < l.values() ? strip::load_pair(&tile(token + strip::row(which), at))
                                       : float2{0.0F, 0.0F};
      a = x.x;
      b = x.y;
    });
  }
  __device__ void scale_grad_y(const Matrix<T>& grad_y, const Decays& decays) const {
    constexpr int kVecs = kColumns / kVec;
#pragma unroll
    for (int k = 0; k < kC * kVecs / kThreads; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * kThreads;
      const int row = i / kVecs;
      const int column = i % kVecs * kVec;
      const Vec x = from + column < l.values() ? delta::load(grad_y, row, from + column) : Vec{};
      store_vec(m.grad_y + row * kPart + column, decays.from_start(row) * x);
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
    each(l.keys(), kColumns, [&](int row, int column) {
      if (from + column < l.values()) {
        store_vec(&to(row, from + column), load_vec(m.state + row * kPart + column));
      }
    });
  }

  const Layer<T>& l;
  const Memory m;
  const int from = static_cast<int>(blockIdx.z) * kColumns;  // the block's first column
  const int warp = static_cast<int>(threadIdx.x) / 32;
  // Of this warp: its first token, and its first column of tokens' tiles; its first key and column
  // of the state.
  const int token = warp / 2 * 16;
  const int half = warp % 2 * (kColumns / 2);
  const int key = warp / kAcross * 16;
  const int across = warp % kAcross * (kColumns / kAcross);
  mma::Sums state[kStateTiles];
};

template <class T, int D>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1) states_kernel(Layer<T> l) {
  Scan<T, D, ScanMemory<T, D>>(l).forward();
}
template <class T, int D>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    states_backward_kernel(Layer<T> l) {
  Scan<T, D, ScanBackwardMemory<T, D>>(l).backward();
}

}  // namespace sft::delta
