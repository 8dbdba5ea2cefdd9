// What the kernels of the gated delta rule share: a chunk of tokens as one value head has it, and
// how its matrices come to a block's tiles. See gated_delta_cuda.cu.
#pragma once

#include "ops/cuda/strip_product.cuh"
#include "ops/gated_delta_workspace.h"

namespace sft::delta {

// Of a block: two warps for 16 tokens, each with half of the columns.
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kC = static_cast<int>(DeltaWorkspace::kChunk);
constexpr int kMostColumns = 128;  // of keys and of values
constexpr float kNormEps = 1e-6F;

__device__ inline float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }
__device__ inline float softplus(float x) { return x > 20.0F ? x : log1pf(expf(x)); }

// Where a block's tiles lie: in shared memory, or on a card that has too little of it in the card's
// own memory, in a piece for each block of a launch. There what needs tensor cores cannot run.
enum class Tiles { shared, global };

// What kernels are given.
template <class T>
struct Layer {
  const T *qkv, *rates, *dt_bias;
  const float* a_log;
  const int32_t* starts;
  int documents;
  DeltaHeads heads;
  bool aligned;  // rows and values are on 16 bytes
  DeltaWorkspace space;
  char* memory;
  // Of launches with Tiles::global, which take some chunks or documents at a time.
  char* tiles = nullptr;
  int64_t tile_bytes = 0;  // of a block
  int64_t first_block = 0;

  __device__ int64_t block() const { return first_block + blockIdx.x; }
  __device__ int32_t* first_chunk() const {
    return reinterpret_cast<int32_t*>(memory + space.table);
  }
  __device__ int32_t* chunk_start() const { return first_chunk() + documents + 1; }
  __device__ int32_t* chunk_length() const { return chunk_start() + space.chunks; }
  __device__ float* sums() const { return reinterpret_cast<float*>(memory + space.sums); }
  __device__ int keys() const { return static_cast<int>(space.keys); }
  __device__ int values() const { return static_cast<int>(space.values); }
  __device__ float query_scale() const { return rsqrtf(static_cast<float>(heads.key_dim)); }
};

// The sums of decays up to each token of a chunk. They may be large where differences are small.
struct Decays {
  float *high, *low;
  // e to the decay from behind one token up to another.
  __device__ float between(int to, int from) const {
    return expf((high[to] - high[from]) + (low[to] - low[from]));
  }
  __device__ float from_start(int to) const { return expf(high[to]); }
  __device__ float to_end(int from) const { return between(kC - 1, from); }
};

template <class T>
struct Chunk {
  const Layer<T>& l;
  int head, key_head;
  int64_t index;      // among the tiles of value heads
  int64_t key_index;  // and of key heads
  int start, length;

  __device__ Chunk(const Layer<T>& layer, int64_t chunk, int value_head)
      : l(layer),
        head(value_head),
        key_head(value_head / layer.heads.served()),
        index(chunk * layer.heads.value_heads + value_head),
        key_index(chunk * layer.heads.key_heads + key_head),
        start(layer.chunk_start()[chunk]),
        length(layer.chunk_length()[chunk]) {}

  __device__ Decays decays() const {
    float* const high = reinterpret_cast<float*>(l.memory + l.space.decay) + index * 2 * kC;
    return {high, high + kC};
  }
  __device__ float* learn() const {
    return reinterpret_cast<float*>(l.memory + l.space.learn) + index * kC;
  }
  __device__ Matrix<T> query() const { return tile(l.space.query, key_index, kC, l.keys()); }
  __device__ Matrix<T> key() const { return tile(l.space.key, key_index, kC, l.keys()); }
  __device__ Matrix<T> w() const { return tile(l.space.w, index, kC, l.keys()); }
  __device__ Matrix<T> u() const { return of_values(l.space.u); }
  __device__ Matrix<T> fresh() const { return of_values(l.space.fresh); }
  __device__ Matrix<T> state() const { return of_state(l.space.states); }
  __device__ Matrix<T> inverse() const { return tile(l.space.inverse, index, kC, kC); }
  __device__ Matrix<T> grad_y() const { return of_values(l.space.grad_y); }
  __device__ Matrix<T> grad_fresh() const { return of_values(l.space.grad_fresh); }
  __device__ Matrix<T> grad_state() const { return of_state(l.space.grad_states); }

  // Where a token's values stand in a row of qkv, and of y.
  __device__ int64_t value_at(int token) const {
    return (start + token) * l.heads.row() + 2 * l.heads.keys() + int64_t{head} * l.heads.value_dim;
  }
  __device__ int64_t y_at(int token) const {
    return (start + token) * l.heads.values() + int64_t{head} * l.heads.value_dim;
  }
  __device__ int64_t rate_at(int token) const {
    return int64_t{start + token} * 2 * l.heads.value_heads + l.heads.b_at(head);
  }
  // kVec numbers of a token's values, where `row` is its own in qkv or y, and back; zeros where
  // there are none.
  __device__ Vec load(const T* row, int token, int column) const {
    const int left = token < length ? l.heads.value_dim - column : 0;
    return l.aligned && left > 0 ? load_vec(row + column) : load_some(row + column, left);
  }
  __device__ void store(T* row, int token, int column, const Vec& x) const {
    store(row, token, column, x, l.heads.value_dim);
  }
  __device__ void store(T* row, int token, int column, const Vec& x, int width) const {
    const int left = token < length ? width - column : 0;
    if (l.aligned && width % kVec == 0) {
      if (left > 0) {
        store_vec(row + column, x);
      }
    } else {
      store_some(row + column, x, left);
    }
  }
  // The same of a row of qkv with `width` numbers, as they lie there.
  __device__ Packed<T> raw(const T* row, int token, int column, int width) const {
    const int left = token < length ? width - column : 0;
    if (left <= 0) {
      return {};
    }
    return l.aligned && width % kVec == 0 ? *reinterpret_cast<const Packed<T>*>(row + column)
                                          : pack<T>(load_some(row + column, left));
  }
  __device__ Packed<T> value(int token, int column) const {
    return raw(l.qkv + value_at(token), token, column, l.heads.value_dim);
  }
  // Of this key head's queries or keys.
  __device__ int64_t key_at(int token, bool of_keys) const {
    return (start + token) * l.heads.row() + (of_keys ? l.heads.keys() : 0) +
           int64_t{key_head} * l.heads.key_dim;
  }
  __device__ Packed<T> query_or_key(int token, int column, bool of_keys) const {
    return raw(l.qkv + key_at(token, of_keys), token, column, l.heads.key_dim);
  }

 private:
  __device__ Matrix<T> tile(int64_t offset, int64_t at, int rows, int columns) const {
    return {reinterpret_cast<T*>(l.memory + offset) + at * rows * columns, columns};
  }
  __device__ Matrix<T> of_values(int64_t offset) const {
    return tile(offset, index, kC, l.values());
  }
  __device__ Matrix<T> of_state(int64_t offset) const {
    return tile(offset, index, l.keys(), l.values());
  }
};

// What the rates of a chunk's tokens are made of, of one token by each of the first kC threads.
struct Rates {
  float b, a;
};
template <class T>
__device__ inline Rates load_rates(const Chunk<T>& c) {
  const int token = static_cast<int>(threadIdx.x);
  if (token >= c.length) {
    return {};
  }
  const T* const rate = c.l.rates + c.rate_at(token);
  return {widen(rate[0]), widen(rate[c.l.heads.a_after()]) + widen(c.l.dt_bias[c.head])};
}

// How kVec numbers of a matrix with up to kColumns columns are shared out over the threads: each
// has one column, and rows kStep apart from its first on.
template <int kColumns>
struct Share {
  static constexpr int kLanes = kColumns / kVec;  // threads of a row, neighbours in a warp
  static constexpr int kStep = kThreads / kLanes;
  const int row = static_cast<int>(threadIdx.x) / kLanes;
  const int column = static_cast<int>(threadIdx.x) % kLanes * kVec;

  static __device__ float row_sum(float x) {
#pragma unroll
    for (int other = kLanes / 2; other > 0; other /= 2) {
      x += __shfl_xor_sync(0xffffffffU, x, other);
    }
    return x;
  }
};
// Calls f(row, column) for each kVec numbers of a matrix.
template <int kColumns, class F>
__device__ inline void each(int rows, int columns, const F& f) {
  const Share<kColumns> share;
  if (share.column < columns) {
#pragma unroll 4
    for (int row = share.row; row < rows; row += Share<kColumns>::kStep) {
      f(row, share.column);
    }
  }
}

template <class T>
__device__ inline Vec load(const Matrix<T>& m, int row, int column) {
  return load_vec(&m(row, column));
}
template <class T>
__device__ inline void store(const Matrix<T>& m, int row, int column, const Vec& x) {
  store_vec(&m(row, column), x);
}
__device__ inline Vec operator*(float a, Vec x) {
#pragma unroll
  for (float& v : x.v) {
    v *= a;
  }
  return x;
}
__device__ inline float dot(const Vec& a, const Vec& b) {
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    sum += a.v[i] * b.v[i];
  }
  return sum;
}

// e^x; what is rounded to 16 bits takes the quick one.
template <class T>
__device__ inline float exponential(float x) {
  return sizeof(T) == 2 ? __expf(x) : expf(x);
}

// kRows x kColumns of a matrix that has `rows` and `columns`, zeros beyond, to rows that lie
// kColumns + kTileGap apart. See mma::commit_copies.
template <int kRows, int kColumns, class T>
__device__ inline void bring(T* to, const Matrix<T>& from, int rows, int columns) {
  constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
  constexpr int kAcross = kColumns / kPiece;
  constexpr int kStep = kThreads / kAcross;
  const int first = static_cast<int>(threadIdx.x) / kAcross;
  const int column = static_cast<int>(threadIdx.x) % kAcross * kPiece;
  T* const there = to + first * (kColumns + kTileGap) + column;
  const T* const here = &from(first, column);
  const int left = column < columns ? rows - first : 0;
#pragma unroll
  for (int row = 0; row < kRows; row += kStep) {
    if (kRows % kStep == 0 || first + row < kRows) {
      strip::bring_16(there + row * (kColumns + kTileGap), here + row * from.stride, row < left);
    }
  }
}
// A chunk's tile.
template <int kColumns, class T>
__device__ inline void bring(T* to, const Matrix<T>& from, int columns) {
  bring<kC, kColumns>(to, from, kC, columns);
}

// A block's tiles, handed out piece by piece. On the host it counts what will be taken.
class Pool {
 public:
  __host__ __device__ explicit Pool(char* at) : at_(at) {}

  template <class T>
  __host__ __device__ T* vector(int count) {
    T* const out = reinterpret_cast<T*>(at_ + used_);
    used_ += (count * static_cast<int>(sizeof(T)) + 127) / 128 * 128;
    return out;
  }
  int used() const { return used_; }

 private:
  char* at_;
  int used_ = 0;
};
template <Tiles kTiles, class T>
__device__ inline Pool pool(const Layer<T>& l) {
  if constexpr (kTiles == Tiles::shared) {
    extern __shared__ __align__(128) char shared[];
    return Pool(shared);
  } else {
    const int64_t block = (int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    return Pool(l.tiles + block * l.tile_bytes);
  }
}
template <class Memory>
int bytes_of() {
  Pool counted(nullptr);
  Memory{counted};
  return counted.used();
}

}  // namespace sft::delta
