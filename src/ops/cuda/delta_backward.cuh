// The way back of the gated delta rule. See gated_delta_cuda.cu.
#pragma once

#include "ops/cuda/delta_forward.cuh"

namespace sft::delta {

// Of y's gradient: its tile, and what it says of `fresh` within the chunk.
template <class T>
__global__ void __launch_bounds__(kThreads) output_backward_kernel(Layer<T> l, const T* grad_y) {
  const Chunk<T> c(l, blockIdx.x, static_cast<int>(blockIdx.y));
  if (c.length == 0) {
    return;
  }
  const int values = l.values();
  Pool shared = pool();
  const OutputMemory<T> m(shared, l.keys(), values);
  each(kC, values, [&](int row, int j) {
    m.tile(row, j) = c.has(row, j) ? grad_y[c.y_at(row) + j] : narrow<T>(0.0F);
    c.grad_y()(row, j) = m.tile(row, j);
  });
  make_scores(c, m);
  tile_product(turned(m.scores), plain(m.tile), kC, values, kC, m.product);
  __syncthreads();
  each(kC, values, [&](int row, int j) { c.grad_fresh()(row, j) = narrow<T>(m.product(row, j)); });
}

// From the last chunk to the first: the gradients of the state after each chunk, and all of what
// `fresh` has.
template <class T>
__global__ void __launch_bounds__(kThreads) states_backward_kernel(Layer<T> l) {
  const int keys = l.keys();
  const int columns = l.values() / static_cast<int>(gridDim.z);
  const int from = static_cast<int>(blockIdx.z) * columns;
  Pool shared = pool();
  const ScanMemory<T> m(shared, keys, columns);
  each(keys, columns, [&](int k, int j) { m.state(k, j) = 0.0F; });
  const int32_t* const first = l.first_chunk() + blockIdx.x;
  for (int chunk = first[1]; chunk-- > first[0];) {
    const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
    const float* const decay = c.decay();
    const float last = decay[kC - 1];
    const Matrix<T> after = c.grad_state().from_column(from);
    const Matrix<T> key = c.key();
    const Matrix<T> query = c.query();
    __syncthreads();
    each(keys, columns, [&](int k, int j) {
      const T x = narrow<T>(m.state(k, j));
      m.narrowed(k, j) = x;
      after(k, j) = x;
      m.state(k, j) *= expf(last);
    });
    each(kC, keys, [&](int row, int k) {
      m.scaled(row, k) = narrow<T>(expf(last - decay[row]) * widen(key(row, k)));
    });
    __syncthreads();
    tile_product(plain(m.scaled), plain(m.narrowed), kC, columns, keys, m.product);
    __syncthreads();
    const Matrix<T> grad_fresh = c.grad_fresh().from_column(from);
    each(kC, columns, [&](int row, int j) {
      const float sum = m.product(row, j) + widen(grad_fresh(row, j));
      grad_fresh(row, j) = narrow<T>(sum);
      m.fresh(row, j) = narrow<T>(-sum);
    });
    each(kC, keys, [&](int row, int k) {
      m.scaled(row, k) = narrow<T>(expf(decay[row]) * widen(query(row, k)));
    });
    __syncthreads();
    tile_product(turned(m.scaled), plain(c.grad_y().from_column(from)), keys, columns, kC, m.state,
                 true);
    __syncthreads();
    tile_product(turned(c.w()), plain(m.fresh), keys, columns, kC, m.state, true);
  }
}

// What the gradients of a chunk's inputs are added up in.
template <class T>
struct Gradients {
  Matrix<float> query, key;     // (kC, keys), of the normed ones
  Matrix<float> product;        // (kC, keys or values)
  Matrix<float> scores, other;  // (kC, kC)
  Matrix<T> narrowed;           // (kC, kC)
  Matrix<T> tile;               // (kC, keys or values)
  float *decay, *learn;         // of the sums of decays, of sigmoid(b)
  float* ahead;                 // of the sum up to the last token: to be added up
  float* rows;                  // keys
  __host__ __device__ Gradients(Pool& p, int keys, int values)
      : query(p.matrix<float>(kC, keys)),
        key(p.matrix<float>(kC, keys)),
        product(p.matrix<float>(kC, keys > values ? keys : values)),
        scores(p.matrix<float>(kC, kC)),
        other(p.matrix<float>(kC, kC)),
        narrowed(p.matrix<T>(kC, kC)),
        tile(p.matrix<T>(kC, keys > values ? keys : values)),
        decay(p.vector<float>(kC)),
        learn(p.vector<float>(kC)),
        ahead(p.vector<float>(kC)),
        rows(p.vector<float>(keys)) {}
};

// The gradients of one value head in a chunk: its values' and rates' are written, those of query
// and key are added to.
template <class T>
class HeadBackward {
 public:
  __device__ HeadBackward(const Chunk<T>& chunk, const Gradients<T>& gradients)
      : c(chunk),
        g(gradients),
        keys(chunk.l.keys()),
        values(chunk.l.values()),
        decay(chunk.decay()),
        learn(chunk.learn()),
        last(decay[kC - 1]),
        query(chunk.query()),
        key(chunk.key()) {}

  __device__ void run(T* grad_qkv, T* grad_rates) {
    if (threadIdx.x < kC) {
      g.decay[threadIdx.x] = 0.0F;
      g.learn[threadIdx.x] = 0.0F;
    }
    of_scores();
    of_asking();
    of_adding();
    of_fading();
    of_w();
    of_u(grad_qkv);
    of_lower();
    of_rates(grad_rates);
  }

 private:
  __device__ float between(int row, int column) const { return expf(decay[row] - decay[column]); }

  // What the decays between tokens have from m(i, j), the gradient of the logarithm of D[i][j].
  template <class M>
  __device__ void add_decays(const M& m) {
    each_row_sum(kC, kC, m, [&](int row, float sum) { g.decay[row] += sum; });
    __syncthreads();
    each_row_sum(
        kC, kC, [&](int row, int column) { return m(column, row); },
        [&](int row, float sum) { g.decay[row] -= sum; });
    __syncthreads();
  }

  // (lower part of q k^T * D) fresh
  __device__ void of_scores() {
    tile_product(plain(query), turned(key), kC, kC, keys, g.scores);
    tile_product(plain(c.grad_y()), turned(c.fresh()), kC, kC, values, g.other);
    __syncthreads();
    each(kC, kC, [&](int row, int column) {
      const float of = row >= column ? g.other(row, column) * between(row, column) : 0.0F;
      g.narrowed(row, column) = narrow<T>(of);
      g.scores(row, column) *= of;
    });
    __syncthreads();
    add_decays([&](int row, int column) { return g.scores(row, column); });
    tile_product(plain(g.narrowed), plain(key), kC, keys, kC, g.query, true);
    tile_product(turned(g.narrowed), plain(query), kC, keys, kC, g.key, true);
  }

  // (e^G q) S
  __device__ void of_asking() {
    tile_product(plain(c.grad_y()), turned(c.state()), kC, keys, values, g.product);
    __syncthreads();
    each(kC, keys,
         [&](int row, int k) { g.query(row, k) += expf(decay[row]) * g.product(row, k); });
    each_row_sum(
        kC, keys, [&](int row, int k) { return g.product(row, k) * widen(query(row, k)); },
        [&](int row, float sum) { g.decay[row] += expf(decay[row]) * sum; });
    __syncthreads();
  }

  // (e^(last - G) k)^T fresh
  __device__ void of_adding() {
    tile_product(plain(c.fresh()), turned(c.grad_state()), kC, keys, values, g.product);
    __syncthreads();
    each(kC, keys,
         [&](int row, int k) { g.key(row, k) += expf(last - decay[row]) * g.product(row, k); });
    each_row_sum(
        kC, keys, [&](int row, int k) { return g.product(row, k) * widen(key(row, k)); },
        [&](int row, float sum) {
          const float part = expf(last - decay[row]) * sum;
          g.decay[row] -= part;
          g.ahead[row] = part;
        });
    __syncthreads();
  }

  // e^last S
  __device__ void of_fading() {
    const Matrix<T> state = c.state();
    const Matrix<T> grad_state = c.grad_state();
    each_row_sum(
        keys, values, [&](int k, int j) { return widen(state(k, j)) * widen(grad_state(k, j)); },
        [&](int k, float sum) { g.rows[k] = expf(last) * sum; });
    __syncthreads();
    if (threadIdx.x < kC) {
      for (int k = static_cast<int>(threadIdx.x); k < keys; k += kC) {
        g.ahead[threadIdx.x] += g.rows[k];
      }
    }
    __syncthreads();
  }

  // w = T (beta e^G k), of which the gradient is -grad_fresh S^T; `scores` gets what T has of it.
  __device__ void of_w() {
    tile_product(plain(c.grad_fresh()), turned(c.state()), kC, keys, values, g.product);
    __syncthreads();
    each(kC, keys, [&](int row, int k) { g.tile(row, k) = narrow<T>(-g.product(row, k)); });
    __syncthreads();
    tile_product(turned(c.inverse()), plain(g.tile), kC, keys, kC, g.product);
    __syncthreads();
    each(kC, keys, [&](int row, int k) {
      g.tile(row, k) = narrow<T>(g.product(row, k));
      g.key(row, k) += learn[row] * expf(decay[row]) * g.product(row, k);
    });
    each_row_sum(
        kC, keys, [&](int row, int k) { return g.product(row, k) * widen(key(row, k)); },
        [&](int row, float sum) {
          g.learn[row] += expf(decay[row]) * sum;
          g.decay[row] += learn[row] * expf(decay[row]) * sum;
        });
    __syncthreads();
    tile_product(plain(g.tile), turned(c.w()), kC, kC, keys, g.scores);
  }

  // u = T (beta v)
  __device__ void of_u(T* grad_qkv) {
    tile_product(turned(c.inverse()), plain(c.grad_fresh()), kC, values, kC, g.product);
    __syncthreads();
    each(kC, values, [&](int row, int j) {
      g.tile(row, j) = narrow<T>(g.product(row, j));
      if (c.has(row, j)) {
        grad_qkv[c.value_at(row) + j] = narrow<T>(learn[row] * g.product(row, j));
      }
    });
    each_row_sum(
        kC, values, [&](int row, int j) { return g.product(row, j) * c.value(row, j); },
        [&](int row, float sum) { g.learn[row] += sum; });
    __syncthreads();
    tile_product(plain(g.tile), turned(c.u()), kC, kC, values, g.scores, true);
  }

  // L = (beta k) k^T * D, of which the gradient is minus the strictly lower part of `scores`.
  __device__ void of_lower() {
    tile_product(plain(key), turned(key), kC, kC, keys, g.other);
    __syncthreads();
    each(kC, kC, [&](int row, int column) {
      const float of = row > column ? -g.scores(row, column) * between(row, column) : 0.0F;
      g.narrowed(row, column) = narrow<T>(learn[row] * of);
      g.scores(row, column) = of * g.other(row, column);
    });
    __syncthreads();
    each_row_sum(
        kC, kC, [&](int row, int column) { return g.scores(row, column); },
        [&](int row, float sum) { g.learn[row] += sum; });
    add_decays([&](int row, int column) { return learn[row] * g.scores(row, column); });
    tile_product(plain(g.narrowed), plain(key), kC, keys, kC, g.key, true);
    __syncthreads();
    tile_product(turned(g.narrowed), plain(key), kC, keys, kC, g.key, true);
  }

  // From the sums of decays to each decay, and to what it is made of; by one warp.
  __device__ void of_rates(T* grad_rates) {
    const Layer<T>& l = c.l;
    const int lane = static_cast<int>(threadIdx.x);
    if (lane < 32) {
      const float ahead = warp_sum(g.ahead[2 * lane] + g.ahead[2 * lane + 1]);
      const float a = g.decay[2 * lane];
      const float b = g.decay[2 * lane + 1];
      float sum = a + b;  // of this pair and those behind it
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const float behind = __shfl_down_sync(0xffffffffU, sum, offset);
        sum += lane + offset < 32 ? behind : 0.0F;
      }
      const float of_decay[2] = {sum + ahead, sum - a + ahead};
      float of_a_log = 0.0F;
      float of_dt_bias = 0.0F;
      for (int i = 2 * lane; i < min(2 * lane + 2, c.length); ++i) {
        const int64_t at = c.rate_at(i);
        const float x = widen(l.rates[at + l.heads.a_after()]) + widen(l.dt_bias[c.head]);
        const float rate = -expf(l.a_log[c.head]) * of_decay[i % 2];
        grad_rates[at] = narrow<T>(g.learn[i] * learn[i] * (1.0F - learn[i]));
        grad_rates[at + l.heads.a_after()] = narrow<T>(rate * sigmoid(x));
        of_a_log += rate * softplus(x);
        of_dt_bias += rate * sigmoid(x);
      }
      of_a_log = warp_sum(of_a_log);
      of_dt_bias = warp_sum(of_dt_bias);
      if (lane == 0) {
        l.sums()[c.index] = of_a_log;
        l.sums()[l.space.chunks * l.heads.value_heads + c.index] = of_dt_bias;
      }
    }
    __syncthreads();
  }

  const Chunk<T>& c;
  const Gradients<T>& g;
  int keys, values;
  const float *decay, *learn;
  float last;
  Matrix<T> query, key;
};

// A key head's gradients of a chunk: those of the value heads that it serves, one after the other.
template <class T>
__global__ void __launch_bounds__(kThreads)
    inputs_backward_kernel(Layer<T> l, T* grad_qkv, T* grad_rates) {
  const int key_head = static_cast<int>(blockIdx.y);
  const int served = l.heads.served();
  const Chunk<T> first(l, blockIdx.x, key_head * served);
  if (first.length == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < served; i += threads()) {
      l.sums()[first.index + i] = 0.0F;
      l.sums()[l.space.chunks * l.heads.value_heads + first.index + i] = 0.0F;
    }
    return;
  }
  Pool shared = pool();
  const Gradients<T> g(shared, l.keys(), l.values());
  each(kC, l.keys(), [&](int row, int k) { g.query(row, k) = g.key(row, k) = 0.0F; });
  __syncthreads();
  for (int i = 0; i < served; ++i) {
    const Chunk<T> c(l, blockIdx.x, key_head * served + i);
    HeadBackward<T>(c, g).run(grad_qkv, grad_rates);
  }
  // Through the norms: x scale / |x| has the gradient scale / |x| (g - x (g x) / |x|^2).
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < first.length; row += warps()) {
    for (const bool of_key : {false, true}) {
      const int64_t at = (first.start + row) * l.heads.row() + (of_key ? l.heads.keys() : 0) +
                         int64_t{key_head} * l.heads.key_dim;
      const Matrix<float>& grad = of_key ? g.key : g.query;
      const float scale = of_key ? 1.0F : l.query_scale();
      float squares = 0.0F;
      float dot = 0.0F;
      for (int k = lane; k < l.heads.key_dim; k += 32) {
        const float x = widen(l.qkv[at + k]);
        squares += x * x;
        dot += x * grad(row, k);
      }
      const float by = rsqrtf(warp_sum(squares) + kNormEps);
      const float along = warp_sum(dot) * by * by;
      for (int k = lane; k < l.heads.key_dim; k += 32) {
        grad_qkv[at + k] = narrow<T>(scale * by * (grad(row, k) - widen(l.qkv[at + k]) * along));
      }
    }
  }
}

}  // namespace sft::delta
