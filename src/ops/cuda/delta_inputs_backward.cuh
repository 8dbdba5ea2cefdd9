// The gradients of what the gated delta rule is given, for each chunk by itself. See
// gated_delta_cuda.cu.
//
// With dY, dF and dS the gradients of y, `fresh` and S after the chunk, and Z = T^T dF, which is
// u's:
//   scores P = q k^T * D:  dP = dY fresh^T, so q gets (dP * D) k, and k its transpose times q
//   y = (e^G q) S:         q gets e^G (dY S^T)
//   (e^(last - G) k)^T fresh:  k gets e^(last - G) (fresh dS^T)
//   w = T (beta e^G k):    k gets -beta e^G (Z S^T)
//   T = (I + L)^-1:        L's gradient is -T^T dT T^T = -Z fresh^T, as u - w S is fresh
#pragma once

#include "ops/cuda/delta_chunk.cuh"

namespace sft::delta {

// D: keys and values, or more. kParts: 2, or 4 where shared memory is short; a state is read in so
// many parts, each of as many keys of either half.
template <class T, int D, int kParts>
struct InputsMemory {
  static constexpr int kRow = D + kTileGap;
  static constexpr int kSquare = kC + kTileGap;
  static constexpr int kPart = D / 2 / kParts;  // keys of a half
  static constexpr bool kTight = kParts > 2;
  static_assert(!kTight || 2 * kPart * kRow <= kC * kSquare);
  T *query, *key, *grad_y, *fresh;
  T* grad_fresh;  // then Z
  T* square;      // (kC, kC): T, then gradients of scores and of L, then sums to be added up
  T* state;       // a part of it; in the place of `square` where memory is short
  float *high, *low, *learn;
  float* rate;       // a + dt_bias
  float* of_values;  // the part of beta's gradient that comes from values
  __host__ __device__ explicit InputsMemory(Pool& p)
      : query(p.vector<T>(kC * kRow)),
        key(p.vector<T>(kC * kRow)),
        grad_y(p.vector<T>(kC * kRow)),
        fresh(p.vector<T>(kC * kRow)),
        grad_fresh(p.vector<T>(kC * kRow)),
        square(p.vector<T>(kC * kSquare)),
        state(kTight ? square : p.vector<T>(2 * kPart * kRow)),
        high(p.vector<float>(kC)),
        low(p.vector<float>(kC)),
        learn(p.vector<float>(kC)),
        rate(p.vector<float>(kC)),
        of_values(p.vector<float>(kC)) {}
};

template <class T, int D, int kParts>
class InputsBackward {
  using Memory = InputsMemory<T, D, kParts>;

 public:
  __device__ InputsBackward(const Layer<T>& layer, const Memory& memory) : l(layer), m(memory) {
    strip::clear(of_query);
    strip::clear(of_key);
  }

  // The gradients of one value head: its values' and rates' are written, those of query and key
  // are added to.
  __device__ void add_head(const Chunk<T>& c, bool first, T* grad_qkv, T* grad_rates) {
    begin(c, first);
    of_u();
    of_products();
    of_values(c, grad_qkv);
    of_states(c);
    of_rates(c, grad_rates);
  }

  // Those of query and key, before they were normed.
  __device__ void write(const Chunk<T>& c, T* grad_qkv) {
    Packed<T> raw[kRows][2];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = share.row + i * share.kStep;
      raw[i][0] = c.query_or_key(row, share.column, false);
      raw[i][1] = c.query_or_key(row, share.column, true);
    }
    __syncthreads();
    const Matrix<float> query{reinterpret_cast<float*>(m.query), kRow};
    const Matrix<float> key{query.at + kC * kRow, kRow};
    const auto store = [&](mma::Sums(&sums)[kHalf / 8], const Matrix<float>& to) {
      strip::each_pair(sums, [&](int which, int column, float a, float b) {
        strip::store_pair(&to(first_row + strip::row(which), half * kHalf + column), a, b);
      });
    };
    store(of_query, query);
    store(of_key, key);
    __syncthreads();
    // x scale / |x| has the gradient scale / |x| (g - x (g x) / |x|^2).
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = share.row + i * share.kStep;
#pragma unroll
      for (int of_keys = 0; of_keys < 2; ++of_keys) {
        const Vec x = unpack(raw[i][of_keys]);
        const Matrix<float>& grads = of_keys != 0 ? key : query;
        const Vec grad = load_vec(&grads(row, share.column));
        const float scale = of_keys != 0 ? 1.0F : l.query_scale();
        const float by = rsqrtf(Share<D>::row_sum(dot(x, x)) + kNormEps);
        const float along = Share<D>::row_sum(dot(x, grad)) * by * by;
        Vec out;
#pragma unroll
        for (int k = 0; k < kVec; ++k) {
          out.v[k] = scale * by * (grad.v[k] - x.v[k] * along);
        }
        c.store(grad_qkv + c.key_at(row, of_keys != 0), row, share.column, out, l.heads.key_dim);
      }
    }
  }

 private:
  static constexpr int kRow = Memory::kRow;
  static constexpr int kSquare = Memory::kSquare;
  static constexpr int kHalf = D / 2;          // a warp's columns of keys or values
  static constexpr int kTokens = kC / 2;       // and of tokens
  static constexpr int kPart = Memory::kPart;  // and of keys whose states are there at a time
  static constexpr int kRows = kC / Share<D>::kStep;  // of a thread, where rows are shared out
  using Pair = mma::Sums[2];

  __device__ int which_key(int part, int row) const {
    const int key = row / kPart * kHalf + part * kPart + row % kPart;
    return key < l.keys() ? key : -1;
  }
  __device__ void bring_states(T* to, const Matrix<T>& from, int part) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = i * kHalf + part * kPart;
      bring<kPart, D>(to + i * kPart * kRow, {from.at + key * from.stride, from.stride},
                      l.keys() - key, l.values());
    }
  }
  // e to the decay from behind one token up to another.
  __device__ float between(int to, int from) const {
    return exponential<T>((m.high[to] - m.high[from]) + (m.low[to] - m.low[from]));
  }
  __device__ int row(int which) const { return first_row + strip::row(which); }

  // Tiles on their way in the order in which they are waited for.
  __device__ void begin(const Chunk<T>& c, bool first) {
    __syncthreads();
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
    const Matrix<T> inverse = c.inverse();
    for (int i = static_cast<int>(threadIdx.x); i < kC * kC / kPiece; i += kThreads) {
      const int at = i * kPiece;
      strip::bring_16(m.square + at / kC * kSquare + at % kC, inverse.at + at, true);
    }
    bring<D>(m.grad_fresh, c.grad_fresh(), l.values());
    mma::commit_copies();
    if (first) {
      bring<D>(m.query, c.query(), l.keys());
      bring<D>(m.key, c.key(), l.keys());
    }
    bring<D>(m.grad_y, c.grad_y(), l.values());
    bring<D>(m.fresh, c.fresh(), l.values());
    mma::commit_copies();
    if constexpr (!Memory::kTight) {
      bring_states(m.state, c.state(), 0);
    }
    mma::commit_copies();
    const Decays decays = c.decays();
    const float* const learns = c.learn();
    if (threadIdx.x < kC) {
      m.high[threadIdx.x] = decays.high[threadIdx.x];
      m.low[threadIdx.x] = decays.low[threadIdx.x];
      m.learn[threadIdx.x] = learns[threadIdx.x];
      m.rate[threadIdx.x] = load_rates(c).a;
    }
  }

  // Z in the place of grad_fresh.
  __device__ void of_u() {
    mma::wait_copies<2>();
    __syncthreads();
    mma::Sums z[kHalf / 8];
    strip::clear(z);
    strip::add_product<true, false, kC, kSquare, kRow>(m.square + first_row,
                                                       m.grad_fresh + half * kHalf, z);
    __syncthreads();
    strip::each_pair(z, [&](int which, int column, float a, float b) {
      strip::store_pair(
          m.grad_fresh + (first_row + strip::row(which)) * kRow + half * kHalf + column, a, b);
    });
    mma::wait_copies<1>();
    __syncthreads();
    of_decay[0] = of_decay[1] = of_learn[0] = of_learn[1] = ahead = 0.0F;
  }

  // sums = this warp's rows of a with 16 rows of b, of its half's `part`.
  __device__ void dot_rows(const T* a, const T* b, int part, Pair& sums) const {
    strip::clear(sums);
    strip::add_product<false, true, D, kRow, kRow>(a + first_row * kRow,
                                                   b + (half * kTokens + part * 16) * kRow, sums);
  }
  __device__ void to_square(Pair& sums, int part) const {
    T* const to = m.square + first_row * kSquare + half * kTokens + part * 16;
    strip::each_pair(sums, [&](int which, int column, float a, float b) {
      strip::store_pair(to + strip::row(which) * kSquare + column, a, b);
    });
  }
  // Calls f(which, row, column, gradient, score) for each number of 16 columns, which makes the
  // gradient of a product out of that of its score, and returns that of the decay's logarithm.
  template <class F>
  __device__ void weigh(Pair& of, const Pair& scores, int part, float (&of_columns)[8],
                        const F& f) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int which = i / 2;
        const int column =
            half * kTokens + part * 16 + 8 * n + 2 * (static_cast<int>(threadIdx.x) % 4) + i % 2;
        const float x = f(which, first_row + strip::row(which), column, of[n][i], scores[n][i]);
        of_decay[which] += x;
        of_columns[4 * part + 2 * n + i % 2] -= x;
      }
    }
  }

  // Of scores and of L.
  __device__ void of_products() {
    float of_columns[8] = {};
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      Pair of, scores;
      dot_rows(m.query, m.key, part, scores);
      dot_rows(m.grad_y, m.fresh, part, of);
      weigh(of, scores, part, of_columns,
            [&](int which, int row, int column, float& x, float score) {
              const float decay = between(row, column);
              x = row >= column ? x * decay : 0.0F;
              return row == column ? 0.0F : score * x;  // D is 1 there
            });
      to_square(of, part);
    }
    __syncthreads();
    const T* const by_row = m.square + first_row * kSquare;
    const T* const by_column = m.square + first_row;
    const T* const query = m.query + half * kHalf;
    const T* const key = m.key + half * kHalf;
    strip::add_product<false, false, kC, kSquare, kRow>(by_row, key, of_query);
    strip::add_product<true, false, kC, kSquare, kRow>(by_column, query, of_key);
    Pair lower[2];
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      Pair scores;
      dot_rows(m.key, m.key, part, scores);
      dot_rows(m.grad_fresh, m.fresh, part, lower[part]);
      weigh(lower[part], scores, part, of_columns,
            [&](int which, int row, int column, float& x, float score) {
              const float decay = between(row, column);
              x = row > column ? -x * decay : 0.0F;
              of_learn[which] += score * x;
              x *= m.learn[row];
              return score * x;
            });
    }
    // Over the strip's rows; each thread keeps one of the sums.
    const int kept = static_cast<int>(threadIdx.x) % 32 / 4;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int other = 4; other < 32; other *= 2) {
        of_columns[n] += __shfl_xor_sync(0xffffffffU, of_columns[n], other);
      }
      of_column = n == kept ? of_columns[n] : of_column;
    }
    __syncthreads();
    to_square(lower[0], 0);
    to_square(lower[1], 1);
    __syncthreads();
    strip::add_product<false, false, kC, kSquare, kRow>(by_row, key, of_key);
    strip::add_product<true, false, kC, kSquare, kRow>(by_column, key, of_key);
  }

  __device__ void of_values(const Chunk<T>& c, T* grad_qkv) {
    Packed<T> value[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      value[i] = c.value(share.row + i * share.kStep, share.column);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = share.row + i * share.kStep;
      const Vec z = load_vec(m.grad_fresh + row * kRow + share.column);
      const float sum = Share<D>::row_sum(dot(z, unpack(value[i])));
      c.store(grad_qkv + c.value_at(row), row, share.column, m.learn[row] * z);
      if (share.column == 0) {
        m.of_values[row] = sum;
      }
    }
  }

  // sums = this warp's rows of a with a part of a state's rows; adds scale * sums to `to`, and
  // returns by row the sums' products with rows of x, of this thread's columns.
  template <int kPartAt>
  __device__ float2 of_part(const T* a, const T* states, const T* x, const float (&scale)[2],
                            mma::Sums (&to)[kHalf / 8]) const {
    mma::Sums sums[kPart / 8];
    strip::clear(sums);
    strip::add_product<false, true, D, kRow, kRow>(a + first_row * kRow,
                                                   states + half * kPart * kRow, sums);
    float2 dots{0.0F, 0.0F};
    const T* const upper = x + row(0) * kRow + half * kHalf + kPartAt * kPart +
                           2 * (static_cast<int>(threadIdx.x) % 4);
#pragma unroll
    for (int n = 0; n < kPart / 8; ++n) {
      const mma::Sums& sum = sums[n];
      const float2 above = strip::load_pair(upper + 8 * n);
      const float2 below = strip::load_pair(upper + 8 * kRow + 8 * n);
      dots.x += sum[0] * above.x + sum[1] * above.y;
      dots.y += sum[2] * below.x + sum[3] * below.y;
      mma::Sums& added = to[kPartAt * kPart / 8 + n];
      added[0] += scale[0] * sum[0];
      added[1] += scale[0] * sum[1];
      added[2] += scale[1] * sum[2];
      added[3] += scale[1] * sum[3];
    }
    return dots;
  }
  // (e^G q) S, and w = T (beta e^G k)
  template <int kPartAt>
  __device__ void of_state() {
    mma::wait_copies<0>();
    __syncthreads();
    const float from_start[2] = {exponential<T>(m.high[row(0)]), exponential<T>(m.high[row(1)])};
    const float2 asked = of_part<kPartAt>(m.grad_y, m.state, m.query, from_start, of_query);
    of_decay[0] += from_start[0] * asked.x;
    of_decay[1] += from_start[1] * asked.y;
    const float scale[2] = {-m.learn[row(0)] * from_start[0], -m.learn[row(1)] * from_start[1]};
    const float2 dots = of_part<kPartAt>(m.grad_fresh, m.state, m.key, scale, of_key);
    of_learn[0] -= from_start[0] * dots.x;
    of_learn[1] -= from_start[1] * dots.y;
    of_decay[0] += scale[0] * dots.x;
    of_decay[1] += scale[1] * dots.y;
    __syncthreads();
  }
  // (e^(last - G) k)^T fresh
  template <int kPartAt>
  __device__ void of_grad_state(const T* states) {
    const float to_end[2] = {between(kC - 1, row(0)), between(kC - 1, row(1))};
    const float2 dots = of_part<kPartAt>(m.fresh, states, m.key, to_end, of_key);
    of_decay[0] -= to_end[0] * dots.x;
    of_decay[1] -= to_end[1] * dots.y;
    ahead += to_end[0] * dots.x + to_end[1] * dots.y;
  }
  // The part at kPartAt and all behind it.
  template <int kPartAt>
  __device__ void of_states_from(const Chunk<T>& c) {
    if constexpr (kPartAt < kParts) {
      if constexpr (kPartAt > 0 || Memory::kTight) {
        bring_states(m.state, c.state(), kPartAt);
        mma::commit_copies();
      }
      of_state<kPartAt>();
      of_states_from<kPartAt + 1>(c);
    }
  }
  // Two parts at a time, in the place of y's gradient and of the state.
  template <int kPartAt>
  __device__ void of_grad_states_from(const Chunk<T>& c) {
    if constexpr (kPartAt < kParts) {
      T* const first = Memory::kTight ? m.grad_y + 2 * kPart * kRow : m.state;
      bring_states(first, c.grad_state(), kPartAt);
      bring_states(m.grad_y, c.grad_state(), kPartAt + 1);
      mma::commit_copies();
      mma::wait_copies<0>();
      __syncthreads();
      of_grad_state<kPartAt>(first);
      of_grad_state<kPartAt + 1>(m.grad_y);
      // e^last S
      const Matrix<T> state = c.state();
      float sum = 0.0F;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const T* const grads = part == 0 ? first : m.grad_y;
#pragma unroll 2
        for (int i = static_cast<int>(threadIdx.x); i < 2 * kPart * D / kVec; i += kThreads) {
          const int row = i / (D / kVec);
          const int column = i % (D / kVec) * kVec;
          const int key = which_key(kPartAt + part, row);
          if (key >= 0 && column < l.values()) {
            sum += dot(load_vec(grads + row * kRow + column), load(state, key, column));
          }
        }
      }
      ahead += exponential<T>(m.high[kC - 1]) * sum;
      if constexpr (kPartAt + 2 < kParts) {
        __syncthreads();
      }
      of_grad_states_from<kPartAt + 2>(c);
    }
  }
  __device__ void of_states(const Chunk<T>& c) {
    if constexpr (Memory::kTight) {
      __syncthreads();  // the state comes to the place of what was multiplied last
    }
    of_states_from<0>(c);
    of_grad_states_from<0>(c);
  }

  // From the sums of decays to each decay, and to what it is made of; by one warp.
  __device__ void of_rates(const Chunk<T>& c, T* grad_rates) {
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % 32;
    float* const decay_parts = reinterpret_cast<float*>(m.square);  // (2, kC): by half
    float* const learn_parts = decay_parts + 2 * kC;                // likewise
    float* const column_parts = learn_parts + 2 * kC;               // (4, kC): by strip
    float* const ahead_parts = column_parts + 4 * kC;               // by warp
#pragma unroll
    for (int which = 0; which < 2; ++which) {
#pragma unroll
      for (int other = 1; other < 4; other *= 2) {
        of_decay[which] += __shfl_xor_sync(0xffffffffU, of_decay[which], other);
        of_learn[which] += __shfl_xor_sync(0xffffffffU, of_learn[which], other);
      }
      if (lane % 4 == 0) {
        decay_parts[half * kC + first_row + strip::row(which)] = of_decay[which];
        learn_parts[half * kC + first_row + strip::row(which)] = of_learn[which];
      }
    }
    column_parts[first_row / 16 * kC + half * kTokens + lane / 8 * 8 + 2 * (lane % 4) +
                 lane / 4 % 2] = of_column;
    ahead = warp_sum(ahead);
    if (lane == 0) {
      ahead_parts[thread / 32] = ahead;
    }
    __syncthreads();
    if (thread >= 32) {
      return;
    }
    float all_ahead = 0.0F;
#pragma unroll
    for (int i = 0; i < kThreads / 32; ++i) {
      all_ahead += ahead_parts[i];
    }
    float decay[2], learnt[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = 2 * lane + i;
      decay[i] = decay_parts[at] + decay_parts[kC + at];
#pragma unroll
      for (int strip = 0; strip < kC / 16; ++strip) {
        decay[i] += column_parts[strip * kC + at];
      }
      learnt[i] = learn_parts[at] + learn_parts[kC + at] + m.of_values[at];
    }
    float sum = decay[0] + decay[1];  // of this pair and those behind it
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const float behind = __shfl_down_sync(0xffffffffU, sum, offset);
      sum += lane + offset < 32 ? behind : 0.0F;
    }
    const float of_step[2] = {sum + all_ahead, sum - decay[0] + all_ahead};
    float of_a_log = 0.0F;
    float of_dt_bias = 0.0F;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = 2 * lane + i;
      if (token < c.length) {
        const int64_t at = c.rate_at(token);
        const float x = m.rate[token];
        const float rate = -expf(l.a_log[c.head]) * of_step[i];
        const float beta = m.learn[token];
        grad_rates[at] = narrow<T>(learnt[i] * beta * (1.0F - beta));
        grad_rates[at + l.heads.a_after()] = narrow<T>(rate * sigmoid(x));
        of_a_log += rate * softplus(x);
        of_dt_bias += rate * sigmoid(x);
      }
    }
    of_a_log = warp_sum(of_a_log);
    of_dt_bias = warp_sum(of_dt_bias);
    if (lane == 0) {
      l.sums()[c.index] = of_a_log;
      l.sums()[l.space.chunks * l.heads.value_heads + c.index] = of_dt_bias;
    }
  }

  const Layer<T>& l;
  const Memory& m;
  const Share<D> share;
  const int first_row = static_cast<int>(threadIdx.x) / 64 * 16;
  const int half = static_cast<int>(threadIdx.x) / 32 % 2;
  mma::Sums of_query[kHalf / 8], of_key[kHalf / 8];
  // Parts of the gradients of the sums of decays and of beta, of the two rows that a thread has.
  float of_decay[2], of_learn[2];
  float of_column;  // of the sum of decays at the columns of scores, one for each thread of a warp
  float ahead;      // of the sum up to the last token
};

// A key head's gradients of a chunk: those of the value heads that it serves, one after the other.
template <class T, int D, int kParts, Tiles kTiles>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 2 : 1)
    inputs_backward_kernel(Layer<T> l, T* grad_qkv, T* grad_rates) {
  const int key_head = static_cast<int>(blockIdx.y);
  const int served = l.heads.served();
  const auto chunk = [&](int i) { return Chunk<T>(l, l.block(), key_head * served + i); };
  if (chunk(0).length == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < served; i += kThreads) {
      const int64_t at = chunk(i).index;
      l.sums()[at] = 0.0F;
      l.sums()[l.space.chunks * l.heads.value_heads + at] = 0.0F;
    }
    return;
  }
  Pool tiles = pool<kTiles>(l);
  const InputsMemory<T, D, kParts> memory(tiles);
  InputsBackward<T, D, kParts> backward(l, memory);
  for (int i = 0; i < served; ++i) {
    backward.add_head(chunk(i), i == 0, grad_qkv, grad_rates);
  }
  backward.write(chunk(0), grad_qkv);
}

}  // namespace sft::delta
