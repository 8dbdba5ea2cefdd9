// Weights in other types than a product computes in: packed ones are decoded as formats/ does on
// the CPU and rounded once.
#include <algorithm>

#include "ops/cuda/scale_book.h"
#include "ops/cuda/unpack.cuh"
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

template <bool kNested>
void decode_four_bit(CudaDevice& gpu, const Tensor& x, Tensor& y) {
  const FourBitScales parts = four_bit_scales(x);
  packed::FourBit<kNested> format{x.as<uint8_t>(), parts.scales, parts.codes, parts.outer,
                                  parts.mean,      nullptr,      {}};
  if (kNested) {
    format.book = gpu.state<ScaleBook>().values();
  }
  std::ranges::copy(four_bit_codes(x.dtype), format.codes);
  decode_as(gpu, format, y);
}

template <bool kInt8, bool kTiles>
void decode_eight_bit(CudaDevice& gpu, const Tensor& x, Tensor& y) {
  const int64_t rows = x.shape[0], length = x.shape.elements() / rows;
  const auto* const scales =
      reinterpret_cast<const float*>(x.as<uint8_t>() + scales_at(x.dtype, x.shape));
  const auto decode = [&]<bool kEven>(std::bool_constant<kEven>) {
    decode_as(gpu,
              packed::EightBit<kInt8, kTiles, kEven>{x.as<uint8_t>(), scales, rows, length,
                                                     1.0F / 127.0F},
              y);
  };
  length % kVec == 0 ? decode(std::true_type{}) : decode(std::false_type{});
}

}  // namespace

void widen(Device& device, const Tensor& x, Tensor& y) {
  CudaDevice& gpu = cuda(device);
  if (x.shape.elements() == 0) {
    return;
  }
  const auto* const data = x.as<uint8_t>();
  switch (x.dtype) {
    case DType::nf4:
    case DType::fp4:
      decode_four_bit<false>(gpu, x, y);
      break;
    case DType::nf4_nested:
    case DType::fp4_nested:
      decode_four_bit<true>(gpu, x, y);
      break;
    case DType::i8_rows:
      decode_eight_bit<true, false>(gpu, x, y);
      break;
    case DType::f8_rows:
      decode_eight_bit<false, false>(gpu, x, y);
      break;
    case DType::f8_blocks:
      decode_eight_bit<false, true>(gpu, x, y);
      break;
    case DType::q8_0:
      decode_as(gpu, packed::Q8{data}, y);
      break;
    case DType::q4_0:
      decode_as(gpu, packed::Q4<false, false>{data}, y);
      break;
    case DType::q4_1:
      decode_as(gpu, packed::Q4<true, false>{data}, y);
      break;
    case DType::q5_0:
      decode_as(gpu, packed::Q4<false, true>{data}, y);
      break;
    case DType::q5_1:
      decode_as(gpu, packed::Q4<true, true>{data}, y);
      break;
    case DType::q4_k:
      decode_as(gpu, packed::K4<false>{data}, y);
      break;
    case DType::q5_k:
      decode_as(gpu, packed::K4<true>{data}, y);
      break;
    case DType::q6_k:
      decode_as(gpu, packed::Q6K{data}, y);
      break;
    default:
      return device.add(x, y, false);
  }
  check_cuda(cudaGetLastError(), "widen");
}

}  // namespace sft::gpu
