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
__device__ inline void make_rates(const Chunk<T>& c, const Decays& decays, float* learn) {
  const Layer<T>& l = c.l;
  const int i = static_cast<int>(threadIdx.x);
  if (i < kC) {
    float step = 0.0F;
    float beta = 0.0F;
    if (i < c.length) {
      const T* const rate = l.rates + c.rate_at(i);
      beta = sigmoid(widen(rate[0]));
      step = -expf(l.a_log[c.head]) *
             softplus(widen(rate[l.heads.a_after()]) + widen(l.dt_bias[c.head]));
    }
    learn[i] = beta;
    decays.high[i] = step;
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
    const int64_t key_at = int64_t{c.head / l.heads.served()} * l.heads.key_dim;
    const auto no_tile = [](int, int, const Vec&) {};
    norm(l.heads.keys() + key_at, 1.0F, first, c.key(),
         [&](int row, int column, const Vec& x) { store_vec(m.key + row * kRow + column, x); });
    if (first) {
      norm(key_at, l.query_scale(), true, c.query(), no_tile);
    }
    each(kC, D, [&](int row, int column) {
      store_vec(m.value + row * kRow + column, column < l.values() ? c.value(row, column) : Vec{});
    });
    const Decays decays{m.high, m.low};
    make_rates(c, decays, m.learn);
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

  // Normed queries or keys of the chunk, which begin at `from` in its first token's row.
  template <class F>
  __device__ void norm(int64_t from, float scale, bool keep, const Matrix<T>& to,
                       const F& f) const {
    constexpr int kLanes = kMostColumns / kVec;
    const int column = static_cast<int>(threadIdx.x) % kLanes * kVec;
    const bool aligned = l.aligned && l.heads.key_dim % kVec == 0;
    Vec x[kC * kLanes / kThreads];
#pragma unroll
    for (int i = 0; i < kC * kLanes / kThreads; ++i) {
      const int row = (static_cast<int>(threadIdx.x) + i * kThreads) / kLanes;
      const T* const at = l.qkv + (c.start + row) * l.heads.row() + from + column;
      const int left = row < c.length ? l.heads.key_dim - column : 0;
      x[i] = aligned && left > 0 ? load_vec(at) : load_some(at, left);
    }
#pragma unroll
    for (int i = 0; i < kC * kLanes / kThreads; ++i) {
      const int row = (static_cast<int>(threadIdx.x) + i * kThreads) / kLanes;
      float squares = dot(x[i], x[i]);
#pragma unroll
      for (int other = kLanes / 2; other > 0; other /= 2) {
        squares += __shfl_xor_sync(0xffffffffU, squares, other);
      }
      const Vec normed = rsqrtf(squares + kNormEps) * scale * x[i];
      if (column < D) {
        f(row, column, normed);
      }
      if (keep && column < l.keys()) {
        store_vec(&to(row, column), normed);
      }
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
        const float decay = (m.high[row] - m.high[other]) + (m.low[row] - m.low[other]);
        return row > other ? m.learn[row] * exponential<T>(decay) : 0.0F;
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
    each(kC, kC, [&](int row, int column) {
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
    const auto keep = [&](const T* tile, const Matrix<T>& to, int columns) {
      each(kC, columns, [&](int row, int column) {
        store_vec(&to(row, column), load_vec(tile + row * kRow + column));
      });
    };
    keep(m.value, c.u(), l.values());
    keep(m.key, c.w(), l.keys());
  }

  const Chunk<T>& c;
  const Layer<T>& l;
  const PrepareMemory<T, D>& m;
  const int token = static_cast<int>(threadIdx.x) / 64 * 16;
  const int half = static_cast<int>(threadIdx.x) / 32 % 2;
};

// u, w, and what later kernels read of the chunk.
template <class T, int D>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 3 : 1)
    prepare_kernel(Layer<T> l, bool keep_inverse) {
  const Chunk<T> c(l, blockIdx.x, static_cast<int>(blockIdx.y));
  if (c.length > 0) {
    Pool shared = pool();
    const PrepareMemory<T, D> memory(shared);
    Prepare<T, D>(c, memory).run(keep_inverse);
  }
}

}  // namespace sft::delta
