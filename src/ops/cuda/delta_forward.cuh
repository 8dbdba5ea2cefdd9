// The way forward of the gated delta rule, and what its way back makes again. See
// gated_delta_cuda.cu.
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

// Normed queries or keys of a chunk, which begin at `from` in its first token's row.
template <class T>
__device__ inline void norm_tile(const Chunk<T>& c, int64_t from, float scale,
                                 const Matrix<T>& to) {
  const Layer<T>& l = c.l;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int kHeld = 4;  // values that a lane holds: keys of up to 128
  for (int row = static_cast<int>(threadIdx.x) / 32; row < kC; row += warps()) {
    float held[kHeld];
    float squares = 0.0F;
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int column = lane + 32 * k;
      const bool there = row < c.length && column < l.heads.key_dim;
      held[k] = there ? widen(l.qkv[(c.start + row) * l.heads.row() + from + column]) : 0.0F;
      squares += held[k] * held[k];
    }
    const float by = rsqrtf(warp_sum(squares) + kNormEps);
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (lane + 32 * k < l.keys()) {
        to(row, lane + 32 * k) = narrow<T>(held[k] * by * scale);
      }
    }
  }
}

// The inverse of a matrix with ones on the diagonal and `lower` below it: each thread of the first
// kC solves for a column.
__device__ inline void invert(const Matrix<float>& lower, const Matrix<float>& inverse) {
  const int column = static_cast<int>(threadIdx.x);
  if (column < kC) {
    float solved[kC];
#pragma unroll
    for (int i = 0; i < kC; ++i) {
      float sums[4] = {i == column ? 1.0F : 0.0F, 0.0F, 0.0F, 0.0F};  // that need not wait
#pragma unroll
      for (int k = 0; k < i; ++k) {
        sums[k % 4] -= lower(i, k) * solved[k];
      }
      solved[i] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      inverse(i, column) = solved[i];
    }
  }
}

template <class T>
struct PrepareMemory {
  Matrix<T> key, weighted, inverse;
  Decays decays;
  float* learn;
  Matrix<float> lower, solved;
  Matrix<float> product;  // in the place of the two before
  __host__ __device__ PrepareMemory(Pool& p, int keys, int values)
      : key(p.matrix<T>(kC, keys)),
        weighted(p.matrix<T>(kC, keys > values ? keys : values)),
        inverse(p.matrix<T>(kC, kC)),
        decays{p.vector<float>(kC), p.vector<float>(kC)},
        learn(p.vector<float>(kC)),
        lower(p.matrix<float>(kC, kC)),
        solved(p.matrix<float>(kC, kC)),
        product{lower.at, (keys > values ? keys : values) + kTileGap} {
    static_assert(kMostColumns + kTileGap <= 2 * (kC + kTileGap));
  }
};

// u, w, and what later kernels read of the chunk.
template <class T>
__global__ void __launch_bounds__(kThreads) prepare_kernel(Layer<T> l, bool keep_inverse) {
  const Chunk<T> c(l, blockIdx.x, static_cast<int>(blockIdx.y));
  if (c.length == 0) {
    return;
  }
  const int keys = l.keys();
  const int values = l.values();
  Pool shared = pool();
  const PrepareMemory<T> m(shared, keys, values);
  make_rates(c, m.decays, m.learn);
  const int64_t key_at = int64_t{c.head / l.heads.served()} * l.heads.key_dim;
  const bool first = c.head % l.heads.served() == 0;  // of the heads with this key
  norm_tile(c, l.heads.keys() + key_at, 1.0F, m.key);
  if (first) {
    norm_tile(c, key_at, l.query_scale(), c.query());
  }
  if (threadIdx.x < kC) {
    c.decays().high[threadIdx.x] = m.decays.high[threadIdx.x];
    c.decays().low[threadIdx.x] = m.decays.low[threadIdx.x];
    c.learn()[threadIdx.x] = m.learn[threadIdx.x];
  }
  __syncthreads();
  if (first) {
    each(kC, keys, [&](int row, int k) { store(c.key(), row, k, load(m.key, row, k)); });
  }
  tile_product(plain(m.key), turned(m.key), kC, kC, keys, m.lower);
  __syncthreads();
  each(kC, kC, [&](int row, int column) {
    Vec x = load(m.lower, row, column);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const bool below = row > column + i;
      x.v[i] *= below ? m.learn[row] * m.decays.between(row, column + i) : 0.0F;
    }
    store(m.lower, row, column, x);
  });
  __syncthreads();
  invert(m.lower, m.solved);
  __syncthreads();
  each(kC, kC, [&](int row, int column) {
    const Vec x = load(m.solved, row, column);
    store(m.inverse, row, column, x);
    if (keep_inverse) {
      store(c.inverse(), row, column, x);
    }
  });
  each(kC, values,
       [&](int row, int j) { store(m.weighted, row, j, m.learn[row] * c.value(row, j)); });
  __syncthreads();
  tile_product(plain(m.inverse), plain(m.weighted), kC, values, kC, m.product);
  __syncthreads();
  each(kC, values, [&](int row, int j) { store(c.u(), row, j, load(m.product, row, j)); });
  each(kC, keys, [&](int row, int k) {
    store(m.weighted, row, k, m.learn[row] * m.decays.from_start(row) * load(m.key, row, k));
  });
  __syncthreads();
  tile_product(plain(m.inverse), plain(m.weighted), kC, keys, kC, m.product);
  __syncthreads();
  each(kC, keys, [&](int row, int k) { store(c.w(), row, k, load(m.product, row, k)); });
}

// Of the kernels that go from chunk to chunk. A block takes some columns of a state: they do not
// depend on each other.
template <class T>
struct ScanMemory {
  Matrix<float> state;
  Matrix<T> narrowed, scaled, fresh;
  Matrix<float> product;
  __host__ __device__ ScanMemory(Pool& p, int keys, int columns)
      : state(p.matrix<float>(keys, columns)),
        narrowed(p.matrix<T>(keys, columns)),
        scaled(p.matrix<T>(kC, keys)),
        fresh(p.matrix<T>(kC, columns)),
        product(p.matrix<float>(kC, columns)) {}
};

// The states before each chunk of a document, and what is new in each.
template <class T>
__global__ void __launch_bounds__(kThreads) states_kernel(Layer<T> l) {
  const int keys = l.keys();
  const int columns = l.values() / static_cast<int>(gridDim.z);
  const int from = static_cast<int>(blockIdx.z) * columns;
  Pool shared = pool();
  const ScanMemory<T> m(shared, keys, columns);
  each(keys, columns, [&](int k, int j) { store(m.state, k, j, Vec{}); });
  const int32_t* const first = l.first_chunk() + blockIdx.x;
  for (int chunk = first[0]; chunk < first[1]; ++chunk) {
    const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
    const Decays decays = c.decays();
    const float fade = decays.from_start(kC - 1);
    const Matrix<T> before = c.state().from_column(from);
    const Matrix<T> key = c.key();
    __syncthreads();
    each(keys, columns, [&](int k, int j) {
      const Vec x = load(m.state, k, j);
      store(m.narrowed, k, j, x);
      store(before, k, j, x);
      store(m.state, k, j, fade * x);
    });
    each(kC, keys,
         [&](int row, int k) { store(m.scaled, row, k, decays.to_end(row) * load(key, row, k)); });
    __syncthreads();
    tile_product(plain(c.w()), plain(m.narrowed), kC, columns, keys, m.product);
    __syncthreads();
    const Matrix<T> u = c.u().from_column(from);
    const Matrix<T> fresh = c.fresh().from_column(from);
    each(kC, columns, [&](int row, int j) {
      const Vec x = load(u, row, j) + -1.0F * load(m.product, row, j);
      store(m.fresh, row, j, x);
      store(fresh, row, j, x);
    });
    __syncthreads();
    tile_product(turned(m.scaled), plain(m.fresh), keys, columns, kC, m.state, true);
  }
}

// Of the kernels about y: scores within the chunk, and a product.
template <class T>
struct OutputMemory {
  Matrix<T> tile, scores;
  Matrix<float> product;
  __host__ __device__ OutputMemory(Pool& p, int keys, int values)
      : tile(p.matrix<T>(kC, keys > values ? keys : values)),
        scores(p.matrix<T>(kC, kC)),
        product(p.matrix<float>(kC, values > kC ? values : kC)) {}
};

// scores = the lower part of q k^T * D. Ends with a barrier.
template <class T>
__device__ inline void make_scores(const Chunk<T>& c, const OutputMemory<T>& m) {
  const Decays decays = c.decays();
  tile_product(plain(c.query()), turned(c.key()), kC, kC, c.l.keys(), m.product);
  __syncthreads();
  each(kC, kC, [&](int row, int column) {
    Vec x = load(m.product, row, column);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      x.v[i] *= row >= column + i ? decays.between(row, column + i) : 0.0F;
    }
    store(m.scores, row, column, x);
  });
  __syncthreads();
}

// y of a chunk.
template <class T>
__global__ void __launch_bounds__(kThreads) output_kernel(Layer<T> l, T* y) {
  const Chunk<T> c(l, blockIdx.x, static_cast<int>(blockIdx.y));
  if (c.length == 0) {
    return;
  }
  const int values = l.values();
  Pool shared = pool();
  const OutputMemory<T> m(shared, l.keys(), values);
  const Decays decays = c.decays();
  const Matrix<T> query = c.query();
  each(kC, l.keys(), [&](int row, int k) {
    store(m.tile, row, k, decays.from_start(row) * load(query, row, k));
  });
  make_scores(c, m);
  tile_product(plain(m.tile), plain(c.state()), kC, values, l.keys(), m.product);
  __syncthreads();
  tile_product(plain(m.scores), plain(c.fresh()), kC, values, kC, m.product, true);
  __syncthreads();
  each(c.length, values,
       [&](int row, int j) { c.store(y + c.y_at(row), row, j, load(m.product, row, j)); });
}

}  // namespace sft::delta
