#include "device/cuda/cuda_device.h"
#include "device/cuda/vec.cuh"
#include "ops/cache_rows.h"

namespace sft::gpu {

namespace {

template <class T>
__global__ void cache_rows_kernel(const T* qkv, const int32_t* past, int64_t fresh, int64_t row,
                                  int64_t width, T* cache) {
  const int64_t t = blockIdx.x;
  const int32_t* place = past + 2 * (t / fresh);
  const int64_t to = int64_t{place[0]} + place[1] + t % fresh;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    cache[to * width + i] = qkv[t * row + row - width + i];
  }
}

}  // namespace

void cache_rows(Device& device, const Tensor& qkv, const Tensor& past, Tensor& cache) {
  const CudaDevice& gpu = cuda(device);
  with_type(qkv.dtype, [&](auto type) {
    using T = decltype(type);
    cache_rows_kernel<<<static_cast<unsigned>(qkv.shape[0]), 128, 0, gpu.stream()>>>(
        qkv.as<T>(), past.i32(), qkv.shape[0] / past.shape[0], qkv.shape[1], cache.shape[1],
        cache.as<T>());
  });
  check_cuda(cudaGetLastError(), "fill_cache");
}

}  // namespace sft::gpu
