// Weights in other types than a product computes in: packed ones are decoded as formats/ does on
// the CPU and rounded once.
#include <algorithm>

#include "ops/cuda/packed_formats.cuh"
#include "ops/cuda/unpack_mxfp4.cuh"
#include "ops/linear.h"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 4;  // so many loads of a thread are under way

template <class T, class Format>
__global__ void __launch_bounds__(kThreads)
    widen_kernel(const Format format, int64_t n, bool aligned, T* y) {
  __shared__ float table[std::max(Format::kTable, 1)];
  if constexpr (Format::kTable > 0) {
    for (int i = static_cast<int>(threadIdx.x); i < Format::kTable; i += kThreads) {
      table[i] = format.entry(i);
    }
    __syncthreads();
  }
  constexpr int64_t kStep = int64_t{kThreads} * kVec;
  const int64_t stride = int64_t{gridDim.x} * kStep * kAtOnce;
  for (int64_t block = int64_t{blockIdx.x} * kStep * kAtOnce; block < n; block += stride) {
    const int64_t first = block + int64_t{threadIdx.x} * kVec;
    if (aligned && block + kStep * kAtOnce <= n) {  // nothing between the loads
      Vec values[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        values[i] = format.eight(first + i * kStep, table);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        store_vec(y + first + i * kStep, values[i]);
      }
      continue;
    }
    for (int64_t at = first; at < min(block + kStep * kAtOnce, n); at += kStep) {
      store_some(y + at, format.eight(at, table), n - at);
    }
  }
}

template <class Format>
void decode_as(CudaDevice& gpu, const Format& format, Tensor& y) {
  const int64_t n = y.shape.elements();
  const bool aligned = reinterpret_cast<uintptr_t>(y.data) % 16 == 0;
  constexpr int64_t kBlock = int64_t{kThreads} * kVec * kAtOnce;
  const auto blocks = static_cast<unsigned>(
      std::clamp<int64_t>((n + kBlock - 1) / kBlock, 1, gpu.multiprocessors() * 32L));
  with_type(y.dtype, [&](auto type) {
    using T = decltype(type);
    widen_kernel<<<blocks, kThreads, 0, gpu.stream()>>>(format, n, aligned, y.as<T>());
  });
}

// Launches a kernel whose blocks have a Tile each.
template <class Tile, class T>
void decode_tiles(CudaDevice& gpu,
                  void (*kernel)(const uint8_t*, const uint8_t*, int64_t, int64_t, T*),
                  const Tensor& x, Tensor& y) {
  const int64_t in = x.shape[x.shape.rank() - 2];
  const int64_t out = x.shape[x.shape.rank() - 1];
  const auto blocks = [](int64_t n, int64_t size) {
    return static_cast<unsigned>((n + size - 1) / size);
  };
  const dim3 grid(blocks(out, Tile::kColumns), blocks(in, Tile::kRows),
                  blocks(x.shape.elements(), in * out));
  kernel<<<grid, Tile::kThreads, 0, gpu.stream()>>>(
      x.as<uint8_t>(), x.as<uint8_t>() + scales_at(x.dtype, x.shape), in, out, y.as<T>());
}

void decode_mxfp4(CudaDevice& gpu, const Tensor& x, Tensor& y) {
  if (y.dtype == DType::bf16) {
    return decode_tiles<packed::Mxfp4Bf16Tile>(gpu, packed::mxfp4_bf16_kernel, x, y);
  }
  with_type(y.dtype, [&](auto type) {
    decode_tiles<packed::Mxfp4Tile>(gpu, packed::mxfp4_kernel<decltype(type)>, x, y);
  });
}

}  // namespace

void widen(Device& device, const Tensor& x, Tensor& y) {
  CudaDevice& gpu = cuda(device);
  if (x.shape.elements() == 0) {
    return;
  }
  if (x.dtype == DType::mxfp4) {
    decode_mxfp4(gpu, x, y);
    check_cuda(cudaGetLastError(), "widen");
    return;
  }
  const auto decode = [&](const auto& format) { decode_as(gpu, format, y); };
  if (!packed::with_codes<true>(gpu, x, decode) && !packed::with_blocks(gpu, x, decode)) {
    return device.add(x, y, false);
  }
  check_cuda(cudaGetLastError(), "widen");
}

}  // namespace sft::gpu
