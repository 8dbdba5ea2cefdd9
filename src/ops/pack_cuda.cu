#include "ops/pack.h"

#include <algorithm>
#include <array>
#include <vector>

#include <cuda_fp8.h>

#include "formats/block8.h"
#include "ops/cuda/scale_book.h"
#include "ops/cuda/vec_max.cuh"

namespace sft::gpu {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlock = 64;  // values that share a scale

// 8 threads a block of 64, 8 values each.
__global__ void four_bit_kernel(const float* x, int64_t n, const FourBitBorders borders,
                                uint32_t* codes, float* scales) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVec;
  const Vec v = i + kVec <= n ? load_vec(x + i) : load_some(x + i, n - i);
  float most = largest(v);
#pragma unroll
  for (int lane = 1; lane < 8; lane *= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, lane));
  }
  if (i >= n) {
    return;
  }
  const float divisor = fmaxf(most, 1e-38F);
  const float inverse = __frcp_rn(divisor);
  const bool whole = i / kBlock * kBlock + kBlock <= n;
  uint32_t packed = 0;
#pragma unroll
  for (int k = 0; k < kVec; ++k) {
    // As bitsandbytes: times the inverse, but a last block that is not whole is divided.
    const float raw = whole ? __fmul_rn(v.v[k], inverse) : __fdiv_rn(v.v[k], divisor);
    int place = 0;  // what is no number lies above no border
#pragma unroll
    for (const float middle : borders.middles) {
      place += raw > middle ? 1 : 0;
    }
    const uint32_t code = i + k < n ? borders.order[place] : 0U;
    packed |= code << (k / 2 * 8 + (k % 2 == 0 ? 4 : 0));
  }
  codes[i / kVec] = packed;
  if (i % kBlock == 0) {
    scales[i / kBlock] = most;
  }
}

// A thread block for 256 scales: their codes, and the scale of these.
__global__ void nested_kernel(const float* scales, int64_t n, float mean, const float* book,
                              uint8_t* codes, float* outer) {
  __shared__ float values[block8::kCodes];
  values[threadIdx.x] = book[threadIdx.x];
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const float centred = i < n ? __fsub_rn(scales[i], mean) : 0.0F;
  const float most = block_max<kThreads>(fabsf(centred));
  const float inverse = most > 0.0F ? __frcp_rn(most) : 0.0F;
  const float x = __fmul_rn(centred, inverse);
  int up = 0;  // the first of the numbers that is not below x
#pragma unroll
  for (int half = block8::kCodes / 2; half > 0; half /= 2) {
    up += values[up + half - 1] < x ? half : 0;
  }
  up = max(up, 1);
  const float middle = __fadd_rn(values[up - 1], values[up]) / 2.0F;
  if (i < n) {
    codes[i] = static_cast<uint8_t>(x > middle ? up : up - 1);
  }
  if (threadIdx.x == 0) {
    outer[blockIdx.x] = most;
  }
}

void pack_four_bit(CudaDevice& gpu, const Tensor& x, Tensor& packed) {
  const int64_t n = x.shape.elements();
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  const FourBitScales parts = four_bit_scales(packed);
  gpu.zero(packed.data, packed.bytes());
  // Of nested ones the host needs the scales, so this is for when weights are loaded.
  Buffer apart;
  if (parts.scales == nullptr) {
    apart = gpu.allocate(static_cast<size_t>(blocks) * sizeof(float));
  }
  float* const scales = parts.scales != nullptr ? parts.scales : apart.f32();
  constexpr int64_t kStep = int64_t{kThreads} * kVec;
  four_bit_kernel<<<static_cast<unsigned>((n + kStep - 1) / kStep), kThreads, 0, gpu.stream()>>>(
      x.f32(), n, four_bit_borders(packed.dtype), packed.as<uint32_t>(), scales);
  if (parts.scales != nullptr) {
    return;
  }
  std::vector<float> on_host(static_cast<size_t>(blocks));
  gpu.download(on_host.data(), scales, on_host.size() * sizeof(float));
  const float mean = mean_of_scales(on_host);  // the order of a sum decides its last bits
  gpu.upload(parts.mean, &mean, sizeof mean);
  nested_kernel<<<static_cast<unsigned>((blocks + kThreads - 1) / kThreads), kThreads, 0,
                  gpu.stream()>>>(scales, blocks, mean, gpu.state<ScaleBook>().values(),
                                  parts.codes, parts.outer);
  gpu.synchronize();  // before `apart` goes
}

// A thread block for each row.
template <bool kInt8>
__global__ void eight_bit_kernel(const float* x, int64_t length, uint8_t* codes, float* scales) {
  const float* const row = x + int64_t{blockIdx.x} * length;
  const auto rounded = [&](int64_t i) {
    return kInt8 ? __half2float(__float2half_rn(row[i])) : row[i];
  };
  float most = 0.0F;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) {
    most = fmaxf(most, fabsf(rounded(i)));
  }
  most = block_max<kThreads>(most);
  const float limit = kInt8 ? 127.0F : 448.0F;
  // Of int8 as torch divides.
  const float step = kInt8 ? __fmul_rn(__fdiv_rn(1.0F, most), limit) : __fdiv_rn(limit, most);
  const float inverse = most > 0.0F ? step : 0.0F;
  for (int64_t i = threadIdx.x; i < length; i += kThreads) {
    const float scaled = __fmul_rn(rounded(i), inverse);
    codes[int64_t{blockIdx.x} * length + i] =
        kInt8 ? static_cast<uint8_t>(static_cast<int8_t>(rintf(scaled)))
              : static_cast<uint8_t>(__nv_cvt_float_to_fp8(scaled, __NV_SATFINITE, __NV_E4M3));
  }
  if (threadIdx.x == 0) {
    scales[blockIdx.x] = kInt8 ? most : __fdiv_rn(most, limit);
  }
}

void pack_eight_bit(CudaDevice& gpu, const Tensor& x, Tensor& packed) {
  const int64_t rows = x.shape[0];
  auto* const scales =
      reinterpret_cast<float*>(packed.as<uint8_t>() + scales_at(packed.dtype, packed.shape));
  const auto kernel =
      packed.dtype == DType::i8_rows ? eight_bit_kernel<true> : eight_bit_kernel<false>;
  gpu.zero(packed.data, packed.bytes());
  kernel<<<static_cast<unsigned>(rows), kThreads, 0, gpu.stream()>>>(
      x.f32(), x.shape.elements() / rows, packed.as<uint8_t>(), scales);
}

}  // namespace

void pack(Device& device, const Tensor& x, Tensor& packed) {
  CudaDevice& gpu = cuda(device);
  SFT_ASSERT(x.dtype == DType::f32 && x.shape == packed.shape);
  if (x.shape.elements() == 0) {
    return;
  }
  switch (packed.dtype) {
    case DType::nf4:
    case DType::fp4:
    case DType::nf4_nested:
    case DType::fp4_nested:
      pack_four_bit(gpu, x, packed);
      break;
    case DType::i8_rows:
    case DType::f8_rows:
      pack_eight_bit(gpu, x, packed);
      break;
    default:
      return device.add(x, packed, false);
  }
  check_cuda(cudaGetLastError(), "pack");
}

}  // namespace sft::gpu
