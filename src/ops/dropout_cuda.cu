#include "ops/cuda/rows.cuh"
#include "ops/dropout.h"
#include "ops/dropout_draw.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;

// A thread has four neighbouring values of a row.
template <class T>
__global__ void dropout_kernel(const T* x, const int32_t* keys, const int32_t* seed, int64_t rows,
                               int64_t n, float rate, uint32_t site, T* y, bool accumulate) {
  const int64_t quarters = (n + 3) / 4;
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= rows * quarters) {
    return;
  }
  const int64_t row = at / quarters, i = at % quarters * 4;
  const DropoutDraw draw(seed, rate, site);
  const PhiloxWords words = draw.words(keys + 2 * row, i);
  for (int64_t j = i; j < i + 4 && j < n; ++j) {
    const float kept = draw.kept(words, j) ? widen(x[row * n + j]) * draw.scale : 0.0F;
    const float before = accumulate ? widen(y[row * n + j]) : 0.0F;
    y[row * n + j] = narrow<T>(before + kept);
  }
}

}  // namespace

void dropout(Device& device, const Tensor& x, const Tensor& keys, const Tensor& seed, float rate,
             uint32_t site, Tensor& y, bool accumulate) {
  const int64_t rows = x.shape[0], n = x.shape[1];
  const int64_t work = rows * ((n + 3) / 4);
  const auto blocks = static_cast<unsigned>((work + kThreads - 1) / kThreads);
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    dropout_kernel<<<blocks, kThreads, 0, cuda(device).stream()>>>(
        x.as<T>(), keys.i32(), seed.i32(), rows, n, rate, site, y.as<T>(), accumulate);
  });
  check_cuda(cudaGetLastError(), "dropout");
}

}  // namespace sft::gpu
