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
    const Vec x = c.load(grad_y + c.y_at(row), row, j);
    store(m.tile, row, j, x);
    store(c.grad_y(), row, j, x);
  });
  make_scores(c, m);
  tile_product(turned(m.scores), plain(m.tile), kC, values, kC, m.product);
  __syncthreads();
  each(kC, values, [&](int row, int j) { store(c.grad_fresh(), row, j, load(m.product, row, j)); });
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
  each(keys, columns, [&](int k, int j) { store(m.state, k, j, Vec{}); });
  const int32_t* const first = l.first_chunk() + blockIdx.x;
  for (int chunk = first[1]; chunk-- > first[0];) {
    const Chunk<T> c(l, chunk, static_cast<int>(blockIdx.y));
    const Decays decays = c.decays();
    const float fade = decays.from_start(kC - 1);
    const Matrix<T> after = c.grad_state().from_column(from);
    const Matrix<T> key = c.key();
    const Matrix<T> query = c.query();
    __syncthreads();
    each(keys, columns, [&](int k, int j) {
      const Vec x = load(m.state, k, j);
      store(m.narrowed, k, j, x);
      store(after, k, j, x);
      store(m.state, k, j, fade * x);
    });
    each(kC, keys,
         [&](int row, int k) { store(m.scaled, row, k, decays.to_end(row) * load(key, row, k)); });
    __syncthreads();
    tile_product(plain(m.scaled), plain(m.narrowed), kC, columns, keys, m.product);
    __syncthreads();
    const Matrix<T> grad_fresh = c.grad_fresh().from_column(from);
    each(kC, columns, [&](int row, int j) {
      const Vec sum = load(m.product, row, j) + load(grad_fresh, row, j);
      store(grad_fresh, row, j, sum);
      store(m.fresh, row, j, -1.0F * sum);
    });
    each(kC, keys, [&](int row, int k) {
      store(m.scaled, row, k, decays.from_start(row) * load(query, row, k));
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

// m += x
__device__ inline void add(const Matrix<float>& m, int row, int column, const Vec& x) {
  store(m, row, column, load(m, row, column) + x);
}

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
        decays(chunk.decays()),
        learn(chunk.learn()),
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
  // What the decays between tokens have from `scores`, the gradient of the logarithm of D[i][j]:
  // its rows' sums, less its columns'.
  __device__ void add_decays() {
    each_row_sum(
        kC, kC, [&](int row, int column) { return total(load(g.scores, row, column)); },
        [&](int row, float sum) { g.decay[row] += sum; });
    __syncthreads();
    each_row_sum(
        kC, kC,
        [&](int column, int row) {
          float sum = 0.0F;
#pragma unroll
          for (int i = 0; i < kVec; ++i) {
            sum += g.scores(row + i, column);
          }
          return sum;
        },
        [&](int column, float sum) { g.decay[column] -= sum; });
    __syncthreads();
  }

  // (lower part of q k^T * D) fresh
  __device__ void of_scores() {
    tile_product(plain(query), turned(key), kC, kC, keys, g.scores);
    tile_product(plain(c.grad_y()), turned(c.fresh()), kC, kC, values, g.other);
    __syncthreads();
    each(kC, kC, [&](int row, int column) {
      Vec of = load(g.other, row, column);
      Vec scores = load(g.scores, row, column);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        of.v[i] *= row >= column + i ? decays.between(row, column + i) : 0.0F;
        scores.v[i] *= row == column + i ? 0.0F : of.v[i];  // D is 1 there
      }
      store(g.narrowed, row, column, of);
      store(g.scores, row, column, scores);
    });
    __syncthreads();
    add_decays();
    tile_product(plain(g.narrowed), plain(key), kC, keys, kC, g.query, true);
    tile_product(turned(g.narrowed), plain(query), kC, keys, kC, g.key, true);
  }

  // (e^G q) S
  __device__ void of_asking() {
    tile_product(plain(c.grad_y()), turned(c.state()), kC, keys, values, g.product);
    __syncthreads();
    each(kC, keys, [&](int row, int k) {
      add(g.query, row, k, decays.from_start(row) * load(g.product, row, k));
    });
    each_row_sum(
        kC, keys, [&](int row, int k) { return dot(load(g.product, row, k), load(query, row, k)); },
        [&](int row, float sum) { g.decay[row] += decays.from_start(row) * sum; });
    __syncthreads();
  }

  // (e^(last - G) k)^T fresh
  __device__ void of_adding() {
    tile_product(plain(c.fresh()), turned(c.grad_state()), kC, keys, values, g.product);
    __syncthreads();
    each(kC, keys,
         [&](int row, int k) { add(g.key, row, k, decays.to_end(row) * load(g.product, row, k)); });
    each_row_sum(
        kC, keys, [&](int row, int k) { return dot(load(g.product, row, k), load(key, row, k)); },
        [&](int row, float sum) {
          const float part = decays.to_end(row) * sum;
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
        keys, values, [&](int k, int j) { return dot(load(state, k, j), load(grad_state, k, j)); },
        [&](int k, float sum) { g.rows[k] = decays.from_start(kC - 1) * sum; });
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
    each(kC, keys, [&](int row, int k) { store(g.tile, row, k, -1.0F * load(g.product, row, k)); });
    __syncthreads();
    tile_product(turned(c.inverse()), plain(g.tile), kC, keys, kC, g.product);
    __syncthreads();
    each(kC, keys, [&](int row, int k) {
      const Vec x = load(g.product, row, k);
      store(g.tile, row, k, x);
      add(g.key, row, k, learn[row] * decays.from_start(row) * x);
    });
    each_row_sum(
        kC, keys, [&](int row, int k) { return dot(load(g.product, row, k), load(key, row, k)); },
        [&](int row, float sum) {
          g.learn[row] += decays.from_start(row) * sum;
          g.decay[row] += learn[row] * decays.from_start(row) * sum;
        });
    __syncthreads();
    tile_product(plain(g.tile), turned(c.w()), kC, kC, keys, g.scores);
  }

  // u = T (beta v)
  __device__ void of_u(T* grad_qkv) {
    tile_product(turned(c.inverse()), plain(c.grad_fresh()), kC, values, kC, g.product);
    __syncthreads();
    each(kC, values, [&](int row, int j) {
      const Vec x = load(g.product, row, j);
      store(g.tile, row, j, x);
      c.store(grad_qkv + c.value_at(row), row, j, learn[row] * x);
    });
    each_row_sum(
        kC, values, [&](int row, int j) { return dot(load(g.product, row, j), c.value(row, j)); },
        [&](int row, float sum) { g.learn[row] += sum; });
    __syncthreads();
    tile_product(plain(g.tile), turned(c.u()), kC, kC, values, g.scores, true);
  }

  // L = (beta k) k^T * D, of which the gradient is minus the strictly lower part of `scores`.
  __device__ void of_lower() {
    tile_product(plain(key), turned(key), kC, kC, keys, g.other);
    __syncthreads();
    each(kC, kC, [&](int row, int column) {
      Vec of = load(g.scores, row, column);
      Vec scores = load(g.other, row, column);
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        of.v[i] = row > column + i ? -of.v[i] * decays.between(row, column + i) : 0.0F;
        scores.v[i] *= of.v[i];
      }
      store(g.narrowed, row, column, learn[row] * of);
      store(g.scores, row, column, scores);  // without beta yet
    });
    __syncthreads();
    each_row_sum(
        kC, kC, [&](int row, int column) { return total(load(g.scores, row, column)); },
        [&](int row, float sum) { g.learn[row] += sum; });
    __syncthreads();
    each(kC, kC, [&](int row, int column) {
      store(g.scores, row, column, learn[row] * load(g.scores, row, column));
    });
    __syncthreads();
    add_decays();
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
  Decays decays;
  const float* learn;
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
  each(kC, l.keys(), [&](int row, int k) {
    store(g.query, row, k, Vec{});
    store(g.key, row, k, Vec{});
  });
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
