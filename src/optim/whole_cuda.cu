#include <algorithm>
#include <cmath>
#include <utility>

#include "device/cuda/cuda_device.h"
#include "device/cuda/scratch.h"
#include "device/cuda/vec.cuh"
#include "ops/cuda/gemm.h"
#include "ops/cuda/rows.cuh"
#include "optim/kernels.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// The sum over a block, for every thread; in float64, since an axis may be long.
__device__ inline float block_sum(double x, double* shared) {
  __syncthreads();
  shared[threadIdx.x] = x;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      shared[threadIdx.x] += shared[threadIdx.x + half];
    }
  }
  __syncthreads();
  return static_cast<float>(shared[0]);
}

unsigned blocks_of(int64_t n) { return static_cast<unsigned>((n + kThreads - 1) / kThreads); }

// --- Muon
// -----------------------------------------------------------------------------------------------

// Where element (row, column) of the wide form lies in a matrix that may be tall.
struct WideForm {
  int64_t m, n, columns;
  bool tall;
  __device__ int64_t at(int64_t row, int64_t column) const {
    return tall ? column * columns + row : row * columns + column;
  }
};

__global__ void to_wide_kernel(const float* from, WideForm form, __nv_bfloat16* to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < form.m * form.n) {
    to[i] = __float2bfloat16(from[form.at(i / form.n, i % form.n)]);
  }
}

__global__ void from_wide_kernel(const __nv_bfloat16* from, WideForm form, float scale, float* to) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < form.m * form.n) {
    to[form.at(i / form.n, i % form.n)] = __bfloat162float(from[i]) * scale;
  }
}

// One sum of squares per block, of x(r) = widen(row r) over `n` values.
template <class T>
__global__ void row_squares_kernel(const T* x, int64_t n, float* sums) {
  __shared__ double shared[kThreads];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    const float v = widen(x[int64_t{blockIdx.x} * n + i]);
    sum += static_cast<double>(v * v);
  }
  const float total = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = total;
  }
}

// The sum of n values, by one block.
__device__ inline float sum_of(const float* x, int64_t n, double* shared) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    sum += static_cast<double>(x[i]);
  }
  return block_sum(sum, shared);
}

__global__ void normalise_kernel(__nv_bfloat16* x, int64_t count, const float* squares, int64_t n) {
  __shared__ double shared[kThreads];
  const float norm = widen(__float2bfloat16(sqrtf(sum_of(squares, n, shared))));
  const float divisor = fmaxf(norm, widen(__float2bfloat16(NewtonSchulz::kLeastNorm)));
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads) {
    x[i] = __float2bfloat16(widen(x[i]) / divisor);
  }
}

void product(CudaDevice& gpu, const __nv_bfloat16* a, const __nv_bfloat16* b, bool transpose_b,
             __nv_bfloat16* c, int64_t m, int64_t n, int64_t k, float alpha, float beta) {
  CudaGemm g;
  g.transpose_b = transpose_b;
  g.m = m, g.n = n, g.k = k;
  g.alpha = alpha, g.beta = beta;
  g.a = a, g.lda = k;
  g.b = b, g.ldb = transpose_b ? k : n;
  g.c = c, g.ldc = n;
  g.type = DType::bf16, g.out_type = DType::bf16;
  gemm(gpu, g);
}

void muon(CudaDevice& gpu, const WholeTensor& t, const WholeScalars& scalars,
          __nv_bfloat16* workspace) {
  const int64_t m = std::min(t.rows, t.columns), n = std::max(t.rows, t.columns);
  const WideForm form{m, n, t.columns, t.rows > t.columns};
  __nv_bfloat16* x = workspace;
  __nv_bfloat16* next = x + m * n;
  __nv_bfloat16* const gram = next + m * n;
  __nv_bfloat16* const polynomial = gram + m * m;
  auto* const squares = gpu.state<Scratch>().take<float>(m);
  to_wide_kernel<<<blocks_of(m * n), kThreads, 0, gpu.stream()>>>(t.values, form, x);
  row_squares_kernel<<<static_cast<unsigned>(m), kThreads, 0, gpu.stream()>>>(x, n, squares);
  const auto blocks = std::min<unsigned>(blocks_of(m * n), 1024);
  normalise_kernel<<<blocks, kThreads, 0, gpu.stream()>>>(x, m * n, squares, m);
  for (int step = 0; step < NewtonSchulz::kSteps; ++step) {
    product(gpu, x, x, true, gram, m, m, n, 1.0F, 0.0F);
    gpu.copy(polynomial, gram, static_cast<size_t>(m * m) * sizeof *gram);
    product(gpu, gram, gram, false, polynomial, m, m, m, NewtonSchulz::kC, NewtonSchulz::kB);
    gpu.copy(next, x, static_cast<size_t>(m * n) * sizeof *x);
    product(gpu, polynomial, x, false, next, m, n, m, 1.0F, NewtonSchulz::kA);
    std::swap(x, next);
  }
  from_wide_kernel<<<blocks_of(m * n), kThreads, 0, gpu.stream()>>>(x, form, scalars.scale,
                                                                    t.values);
}

// --- Adafactor
// ------------------------------------------------------------------------------------------

__device__ inline float mixed(float old, float mean, const WholeScalars& u) {
  return old * u.beta2 + mean * u.one_minus_beta2;
}

// One block a row.
__global__ void row_average_kernel(const float* values, int64_t columns, WholeScalars u,
                                   float* average) {
  __shared__ double shared[kThreads];
  double sum = 0.0;
  for (int64_t c = threadIdx.x; c < columns; c += kThreads) {
    const float g = values[int64_t{blockIdx.x} * columns + c] * u.clip;
    sum += static_cast<double>(g * g + u.epsilon);
  }
  const float total = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    average[blockIdx.x] = mixed(average[blockIdx.x], total / static_cast<float>(columns), u);
  }
}

// Sums over `height` rows a block, for column_sums.
__global__ void column_squares_kernel(const float* values, int64_t rows, int64_t columns,
                                      int64_t height, WholeScalars u, float* partial) {
  const int64_t c = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c >= columns) {
    return;
  }
  const int64_t begin = int64_t{blockIdx.y} * height;
  const int64_t end = min(rows, begin + height);
  double sum = 0.0;
  for (int64_t r = begin; r < end; ++r) {
    const float g = values[r * columns + c] * u.clip;
    sum += static_cast<double>(g * g + u.epsilon);
  }
  partial[int64_t{blockIdx.y} * columns + c] = static_cast<float>(sum);
}

__global__ void mix_kernel(const float* sums, int64_t n, float divisor, WholeScalars u,
                           float* average) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) {
    average[i] = mixed(average[i], sums[i] / divisor, u);
  }
}

// One block a row: the direction, and its sum of squares.
__global__ void factored_kernel(float* values, int64_t rows, int64_t columns, WholeScalars u,
                                const float* row_average, const float* column_average,
                                const float* row_total, float* squares) {
  __shared__ double shared[kThreads];
  const float mean = *row_total / static_cast<float>(rows);
  const float row_factor = 1.0F / sqrtf(row_average[blockIdx.x] / mean);
  double sum = 0.0;
  for (int64_t c = threadIdx.x; c < columns; c += kThreads) {
    float& v = values[int64_t{blockIdx.x} * columns + c];
    v = v * u.clip * row_factor / sqrtf(column_average[c]);
    sum += static_cast<double>(v * v);
  }
  const float total = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    squares[blockIdx.x] = total;
  }
}

__global__ void total_kernel(const float* x, int64_t n, float* out) {
  __shared__ double shared[kThreads];
  const float total = sum_of(x, n, shared);
  if (threadIdx.x == 0) {
    *out = total;
  }
}

// A vector, by one block.
__global__ void vector_kernel(float* values, int64_t n, WholeScalars u, float* average,
                              float* square) {
  __shared__ double shared[kThreads];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) {
    const float g = values[i] * u.clip;
    average[i] = mixed(average[i], g * g + u.epsilon, u);
    values[i] = g / sqrtf(average[i]);
    sum += static_cast<double>(values[i] * values[i]);
  }
  const float total = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    *square = total;
  }
}

__global__ void clip_kernel(float* values, int64_t count, WholeScalars u, const float* square) {
  const float rms = sqrtf(*square / static_cast<float>(count));
  const float divisor = fmaxf(1.0F, rms / u.clip_threshold);
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads) {
    values[i] /= divisor;
  }
}

void adafactor(CudaDevice& gpu, const WholeTensor& t, const WholeScalars& u) {
  constexpr int64_t kChunks = 64;
  const int64_t count = t.rows * t.columns;
  const auto stream = gpu.stream();
  auto* const scratch = gpu.state<Scratch>().take<float>(4 + t.rows + (kChunks + 1) * t.columns);
  float* const total = scratch;
  float* const squares = scratch + 4;
  if (t.is_vector) {
    vector_kernel<<<1, kThreads, 0, stream>>>(t.values, t.columns, u, t.states[2], total);
  } else {
    float* const sums = squares + t.rows;
    float* const partial = sums + t.columns;
    const int64_t height = (t.rows + kChunks - 1) / kChunks;
    const auto rows = static_cast<unsigned>(t.rows);
    row_average_kernel<<<rows, kThreads, 0, stream>>>(t.values, t.columns, u, t.states[0]);
    const int64_t parts = (t.rows + height - 1) / height;
    column_squares_kernel<<<dim3(blocks_of(t.columns), static_cast<unsigned>(parts)), kThreads, 0,
                            stream>>>(t.values, t.rows, t.columns, height, u, partial);
    column_sums(gpu, partial, parts, t.columns, sums, false);
    mix_kernel<<<blocks_of(t.columns), kThreads, 0, stream>>>(
        sums, t.columns, static_cast<float>(t.rows), u, t.states[1]);
    total_kernel<<<1, kThreads, 0, stream>>>(t.states[0], t.rows, total);
    factored_kernel<<<rows, kThreads, 0, stream>>>(t.values, t.rows, t.columns, u, t.states[0],
                                                   t.states[1], total, squares);
    total_kernel<<<1, kThreads, 0, stream>>>(squares, t.rows, total);
  }
  clip_kernel<<<std::min<unsigned>(blocks_of(count), 1024), kThreads, 0, stream>>>(t.values, count,
                                                                                   u, total);
}

}  // namespace

void whole(Device& device, WholeStep step, const WholeTensor& tensor, const WholeScalars& scalars,
           std::byte* workspace) {
  CudaDevice& gpu = cuda(device);
  if (step == WholeStep::muon) {
    muon(gpu, tensor, scalars, reinterpret_cast<__nv_bfloat16*>(workspace));
  } else {
    adafactor(gpu, tensor, scalars);
  }
  check_cuda(cudaGetLastError(), "whole");
}

}  // namespace sft::gpu
