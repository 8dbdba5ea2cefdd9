// y of the gated delta rule, and what its gradient says of what is new in a chunk; each chunk by
// itself. See gated_delta_cuda.cu.
#pragma once

#include "ops/cuda/delta_chunk.cuh"

namespace sft::delta {

// D: keys and values, or more.
template <class T, int D>
struct OutputBackwardMemory {
  static constexpr int kRow = D + kTileGap;
  static constexpr int kSquare = kC + kTileGap;
  T *query, *key;
  T* values;  // (kC, D): fresh, or y's gradient
  T* scores;  // (kC, kC)
  float *high, *low;
  __host__ __device__ explicit OutputBackwardMemory(Pool& p)
      : query(p.vector<T>(kC * kRow)),
        key(p.vector<T>(kC * kRow)),
        values(p.vector<T>(kC * kRow)),
        scores(p.vector<T>(kC * kSquare)),
        high(p.vector<float>(kC)),
        low(p.vector<float>(kC)) {}
};
template <class T, int D>
struct OutputMemory : OutputBackwardMemory<T, D> {
  using Base = OutputBackwardMemory<T, D>;
  T* state;  // (D, D)
  __host__ __device__ explicit OutputMemory(Pool& p)
      : Base(p), state(p.vector<T>(D * Base::kRow)) {}
};

// Memory: of the one way or the other.
template <class T, int D, class Memory>
class OfChunk {
 public:
  __device__ OfChunk(const Chunk<T>& chunk, const Memory& memory) : c(chunk), m(memory) {
    bring<D>(m.query, c.query(), c.l.keys());
    bring<D>(m.key, c.key(), c.l.keys());
    mma::commit_copies();
    const Decays decays = c.decays();
    if (threadIdx.x < kC) {
      m.high[threadIdx.x] = decays.high[threadIdx.x];
      m.low[threadIdx.x] = decays.low[threadIdx.x];
    }
  }

  __device__ void output(T* y) {
    bring<D>(m.values, c.fresh(), c.l.values());
    bring<D, D>(m.state, c.state(), c.l.keys(), c.l.values());
    mma::commit_copies();
    make_scores<1>();
    mma::wait_copies<0>();
    __syncthreads();
    strip::add_product<false, false, D, kRow, kRow>(m.query + token * kRow, m.state + half, sums);
    const float from_start[2] = {exponential<T>(m.high[token + strip::row(0)]),
                                 exponential<T>(m.high[token + strip::row(1)])};
    strip::each_pair(sums, [&](int which, int, float& a, float& b) {
      a *= from_start[which];
      b *= from_start[which];
    });
    strip::add_product<false, false, kC, kSquare, kRow>(m.scores + token * kSquare, m.values + half,
                                                        sums);
    // Rows of 16 bytes at a time are made in the place of the queries.
    __syncthreads();
    narrow_to(m.query);
    __syncthreads();
    each<D>(c.length, c.l.values(), [&](int row, int column) {
      c.store(y + c.y_at(row), row, column, load_vec(m.query + row * kRow + column));
    });
  }

  __device__ void of_fresh(const T* grad_y) {
    const Matrix<T> kept = c.grad_y();
    each<D>(kC, D, [&](int row, int column) {
      const bool there = column < c.l.values();
      const Vec x = there ? c.load(grad_y + c.y_at(row), row, column) : Vec{};
      store_vec(m.values + row * kRow + column, x);
      if (there) {
        store_vec(&kept(row, column), x);
      }
    });
    make_scores<0>();
    __syncthreads();
    strip::add_product<true, false, kC, kSquare, kRow>(m.scores + token, m.values + half, sums);
    narrow_to(m.query);
    __syncthreads();
    const Matrix<T> to = c.grad_fresh();
    each<D>(kC, c.l.values(), [&](int row, int column) {
      store_vec(&to(row, column), load_vec(m.query + row * kRow + column));
    });
  }

 private:
  static constexpr int kRow = Memory::kRow;
  static constexpr int kSquare = Memory::kSquare;
  static constexpr int kHalf = D / 2;
  static constexpr int kTokens = kC / 2;

  // The lower part of q k^T * D, when all but the last kLeft groups of tiles are there; a barrier
  // is to follow.
  template <int kLeft>
  __device__ void make_scores() {
    mma::wait_copies<kLeft>();
    __syncthreads();
    mma::Sums scores[kTokens / 8];
    strip::clear(scores);
    const int first = static_cast<int>(threadIdx.x) / 32 % 2 * kTokens;
    strip::add_product<false, true, D, kRow, kRow>(m.query + token * kRow, m.key + first * kRow,
                                                   scores);
    strip::clear(sums);
    strip::each_pair(scores, [&](int which, int column, float a, float b) {
      const int row = token + strip::row(which);
      const int at = first + column;
      const auto between = [&](int other) {
        const float decay =
            exponential<T>((m.high[row] - m.high[other]) + (m.low[row] - m.low[other]));
        return row < other ? 0.0F : decay;
      };
      strip::store_pair(m.scores + row * kSquare + at, a * between(at), b * between(at + 1));
    });
  }
  __device__ void narrow_to(T* tile) {
    strip::each_pair(sums, [&](int which, int column, float a, float b) {
      strip::store_pair(tile + (token + strip::row(which)) * kRow + half + column, a, b);
    });
  }

  const Chunk<T>& c;
  const Memory m;
  const int token = static_cast<int>(threadIdx.x) / 64 * 16;
  const int half = static_cast<int>(threadIdx.x) / 32 % 2 * kHalf;
  mma::Sums sums[kHalf / 8];
};

template <class T, int D, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    output_kernel(Layer<T> l, T* y) {
  const Chunk<T> c(l, l.block(), static_cast<int>(blockIdx.y));
  if (c.length > 0) {
    Pool tiles = pool<kTiles>(l);
    using Memory = OutputMemory<T, D>;
    OfChunk<T, D, Memory>(c, Memory(tiles)).output(y);
  }
}

// Of y's gradient: its tile, and what it says of `fresh` within the chunk.
template <class T, int D, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 1)
    output_backward_kernel(Layer<T> l, const T* grad_y) {
  const Chunk<T> c(l, l.block(), static_cast<int>(blockIdx.y));
  if (c.length > 0) {
    Pool tiles = pool<kTiles>(l);
    using Memory = OutputBackwardMemory<T, D>;
    OfChunk<T, D, Memory>(c, Memory(tiles)).of_fresh(grad_y);
  }
}

}  // namespace sft::delta
