// What the gated delta rule makes of each chunk by itself before states go through: u, w, normed
// queries and keys, decays. See gated_delta_cuda.cu.
#pragma once

#include "ops/cuda/delta_chunk.cuh"

namespace sft::delta {

// Where the chunks are; one block.
template <class T>
__global__ void table_kernel(Layer<T> l) {
  int32_t* const first = l.first_chunk();
  if (threadIdx.x == 0) {
    int32_t chunks = 0;
    for (int d = 0; d < l.documents; ++d) {
      first[d] = chunks;
      chunks += (l.starts[d + 1] - l.starts[d] + kC - 1) / kC;
    }
    first[l.documents] = chunks;
  }
  __syncthreads();
  for (int c = first[l.documents] + static_cast<int>(threadIdx.x); c < l.space.chunks;
       c += static_cast<int>(blockDim.x)) {
    l.chunk_start()[c] = l.chunk_length()[c] = 0;
  }
  for (int d = static_cast<int>(threadIdx.x); d < l.documents; d += static_cast<int>(blockDim.x)) {
    for (int c = first[d]; c < first[d + 1]; ++c) {
      const int32_t start = l.starts[d] + (c - first[d]) * kC;
      l.chunk_start()[c] = start;
      l.chunk_length()[c] = min(kC, l.starts[d + 1] - start);
    }
  }
}

// Rates of a chunk's tokens: the sums of decays, and sigmoid(b); where there is no token the sum
// stays as it is and nothing is learnt. Ends with a barrier.
template <class T>
__device__ inline void make_rates(const Chunk<T>& c, const Rates& rates, const Decays& decays,
                                  float* learn) {
  const int i = static_cast<int>(threadIdx.x);
  if (i < kC) {
    const bool there = i < c.length;
    learn[i] = there ? sigmoid(rates.b) : 0.0F;
    decays.high[i] = there ? -expf(c.l.a_log[c.head]) * softplus(rates.a) : 0.0F;
  }
  __syncthreads();
  if (i < 32) {  // sums of pairs, then over the warp
    const double b = decays.high[2 * i + 1];
    double sum = static_cast<double>(decays.high[2 * i]) + b;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const double before = __shfl_up_sync(0xffffffffU, sum, offset);
      sum += i >= offset ? before : 0.0;
    }
    const auto keep = [&](int at, double x) {
      decays.high[at] = static_cast<float>(x);
      decays.low[at] = static_cast<float>(x - static_cast<double>(decays.high[at]));
    };
    keep(2 * i, sum - b);
    keep(2 * i + 1, sum);
  }
  __syncthreads();
}

// D: keys and values, or more.
template <class T, int D>
struct PrepareMemory {
  static constexpr int kRow = D + kTileGap;
  static constexpr int kSquare = kC + kTileGap;
  T *key, *value;
  T *of_value, *of_key;  // (kC, kC): T, its columns weighted as values and keys are
  float* lower;          // L; in the place of those
  float* inverse;        // (kC, kC): T
  float *high, *low, *learn;
  __host__ __device__ explicit PrepareMemory(Pool& p)
      : key(p.vector<T>(kC * kRow)),
        value(p.vector<T>(kC * kRow)),
        of_value(p.vector<T>(2 * kC * kSquare)),
        of_key(of_value + kC * kSquare),
        lower(reinterpret_cast<float*>(of_value)),
        inverse(p.vector<float>(kC * kSquare)),
        high(p.vector<float>(kC)),
        low(p.vector<float>(kC)),
        learn(p.vector<float>(kC)) {
    static_assert(2 * sizeof(T) >= sizeof(float));
  }
};

template <class T, int D>
class Prepare {
 public:
  __device__ Prepare(const Chunk<T>& chunk, const PrepareMemory<T, D>& memory)
      : c(chunk), l(chunk.l), m(memory) {}

  __device__ void run(bool keep_inverse) {
    const bool first = c.head % l.heads.served() == 0;  // of the heads with this key
    // All that comes from afar is on its way before anything waits for it.
    const Rates rates = load_rates(c);
    Packed<T> key[kRows], value[kRows], query[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = share.row + i * share.kStep;
      key[i] = c.query_or_key(row, share.column, true);
      value[i] = c.value(row, share.column);
      if (first) {
        query[i] = c.query_or_key(row, share.column, false);
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = share.row + i * share.kStep;
      const Vec normed = norm(key[i], 1.0F);
      store_vec(m.key + row * kRow + share.column, normed);
      store_vec(m.value + row * kRow + share.column, unpack(value[i]));
      if (first) {
        keep(normed, c.key(), row);
        keep(norm(query[i], l.query_scale()), c.query(), row);
      }
    }
    const Decays decays{m.high, m.low};
    make_rates(c, rates, decays, m.learn);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kC) {
      c.decays().high[thread] = m.high[thread];
      c.decays().low[thread] = m.low[thread];
      c.learn()[thread] = m.learn[thread];
    }
    make_lower();
    invert();
    weigh(keep_inverse);
    multiply();
  }

 private:
  static constexpr int kRow = PrepareMemory<T, D>::kRow;
  static constexpr int kSquare = PrepareMemory<T, D>::kSquare;
  static constexpr int kHalf = D / 2;
  static constexpr int kTokens = kC / 2;
  static constexpr int kBlock = 16;
  static constexpr int kRows = kC / Share<D>::kStep;  // of a thread, in a tile

  // A row's kVec queries or keys, normed.
  static __device__ Vec norm(const Packed<T>& raw, float scale) {
    const Vec x = unpack(raw);
    return rsqrtf(Share<D>::row_sum(dot(x, x)) + kNormEps) * scale * x;
  }
  __device__ void keep(const Vec& x, const Matrix<T>& to, int row) const {
    if (share.column < l.keys()) {
      store_vec(&to(row, share.column), x);
    }
  }

  // L
  __device__ void make_lower() const {
    mma::Sums sums[kTokens / 8];
    strip::clear(sums);
    const int first = half * kTokens;
    strip::add_product<false, true, D, kRow, kRow>(m.key + token * kRow, m.key + first * kRow,
                                                   sums);
    strip::each_pair(sums, [&](int which, int column, float a, float b) {
      const int row = token + strip::row(which);
      const auto weight = [&](int other) {
        const float decay =
            exponential<T>((m.high[row] - m.high[other]) + (m.low[row] - m.low[other]));
        return row > other ? m.learn[row] * decay : 0.0F;
      };
      const int at = first + column;
      strip::store_pair(m.lower + row * kSquare + at, a * weight(at), b * weight(at + 1));
    });
    __syncthreads();
  }

  // T = (I + L)^-1 by blocks: of those on the diagonal a thread solves for a column, and then, with
  // i > j, T_ij = -T_ii (sum over k from j on, before i, of L_ik T_kj).
  __device__ void invert() const {
    const int thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < kC * kC; i += kThreads) {
      if (i / kC / kBlock < i % kC / kBlock) {
        m.inverse[i / kC * kSquare + i % kC] = 0.0F;
      }
    }
    if (thread < kC) {
      const int at = thread / kBlock * kBlock * (kSquare + 1);
      const int column = thread % kBlock;
      float solved[kBlock];
#pragma unroll
      for (int i = 0; i < kBlock; ++i) {
        float sum = i == column ? 1.0F : 0.0F;
#pragma unroll
        for (int k = 0; k < i; ++k) {
          sum -= m.lower[at + i * kSquare + k] * solved[k];
        }
        solved[i] = sum;
        m.inverse[at + i * kSquare + column] = sum;
      }
    }
    __syncthreads();
    const int row = thread / kBlock;
    const int column = thread % kBlock;
    constexpr int kBlocks = kC / kBlock;
#pragma unroll
    for (int apart = 1; apart < kBlocks; ++apart) {
      float sums[kBlocks - 1];
#pragma unroll
      for (int j = 0; j < kBlocks - apart; ++j) {
        const float* const left = m.lower + ((j + apart) * kBlock + row) * kSquare;
        const float* const right = m.inverse + j * kBlock + column;
        float sum = 0.0F;
#pragma unroll
        for (int k = j * kBlock; k < (j + apart) * kBlock; k += 4) {
          const float4 x = *reinterpret_cast<const float4*>(left + k);
          sum += x.x * right[k * kSquare] + x.y * right[(k + 1) * kSquare] +
                 x.z * right[(k + 2) * kSquare] + x.w * right[(k + 3) * kSquare];
        }
        sums[j] = sum;
      }
#pragma unroll
      for (int j = 0; j < kBlocks - apart; ++j) {
        block(j + apart, j)[row * kSquare + column] = sums[j];
      }
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kBlocks - apart; ++j) {
        const float* const left = block(j + apart, j + apart) + row * kSquare;
        const float* const right = block(j + apart, j) + column;
        float sum = 0.0F;
#pragma unroll
        for (int k = 0; k < kBlock; k += 4) {
          const float4 x = *reinterpret_cast<const float4*>(left + k);
          sum += x.x * right[k * kSquare] + x.y * right[(k + 1) * kSquare] +
                 x.z * right[(k + 2) * kSquare] + x.w * right[(k + 3) * kSquare];
        }
        sums[j] = -sum;
      }
      __syncthreads();
#pragma unroll
      for (int j = 0; j < kBlocks - apart; ++j) {
        block(j + apart, j)[row * kSquare + column] = sums[j];
      }
      __syncthreads();
    }
  }
  __device__ float* block(int i, int j) const {
    return m.inverse + i * kBlock * kSquare + j * kBlock;
  }

  __device__ void weigh(bool keep_inverse) const {
    each<kC>(kC, kC, [&](int row, int column) {
      const Vec x = load_vec(m.inverse + row * kSquare + column);
      if (keep_inverse) {
        store(c.inverse(), row, column, x);
      }
      Vec of_value, of_key;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        of_value.v[i] = x.v[i] * m.learn[column + i];
        of_key.v[i] = of_value.v[i] * exponential<T>(m.high[column + i]);
      }
      store_vec(m.of_value + row * kSquare + column, of_value);
      store_vec(m.of_key + row * kSquare + column, of_key);
    });
    __syncthreads();
  }

  // u and w
  __device__ void multiply() const {
    mma::Sums u[kHalf / 8], w[kHalf / 8];
    strip::clear(u);
    strip::clear(w);
    strip::add_product<false, false, kC, kSquare, kRow>(m.of_value + token * kSquare,
                                                        m.value + half * kHalf, u);
    strip::add_product<false, false, kC, kSquare, kRow>(m.of_key + token * kSquare,
                                                        m.key + half * kHalf, w);
    __syncthreads();
    const auto narrow_to = [&](mma::Sums(&sums)[kHalf / 8], T* tile) {
      strip::each_pair(sums, [&](int which, int column, float a, float b) {
        strip::store_pair(tile + (token + strip::row(which)) * kRow + half * kHalf + column, a, b);
      });
    };
    narrow_to(u, m.value);
    narrow_to(w, m.key);
    __syncthreads();
    const auto copy = [&](const T* tile, const Matrix<T>& to, int columns) {
      each<D>(kC, columns, [&](int row, int column) {
        store_vec(&to(row, column), load_vec(tile + row * kRow + column));
      });
    };
    copy(m.value, c.u(), l.values());
    copy(m.key, c.w(), l.keys());
  }

  const Chunk<T>& c;
  const Layer<T>& l;
  const PrepareMemory<T, D>& m;
  const Share<D> share;
  const int token = static_cast<int>(threadIdx.x) / 64 * 16;
  const int half = static_cast<int>(threadIdx.x) / 32 % 2;
};

// u, w, and what later kernels read of the chunk.
template <class T, int D, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 1)
    prepare_kernel(Layer<T> l, bool keep_inverse) {
  const Chunk<T> c(l, l.block(), static_cast<int>(blockIdx.y));
  if (c.length > 0) {
    Pool tiles = pool<kTiles>(l);
    const PrepareMemory<T, D> memory(tiles);
    Prepare<T, D>(c, memory).run(keep_inverse);
  }
}

}  // namespace sft::delta
