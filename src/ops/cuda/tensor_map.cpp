#include "ops/cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/driver_function.h"

namespace sft {

namespace {

// Sizes and box in values, strides of all dimensions but the innermost in bytes.
CUtensorMap encode(const void* base, std::vector<cuuint64_t> sizes, std::vector<cuuint64_t> strides,
                   std::vector<cuuint32_t> box) {
  // The driver is asked for by name, so that nothing needs it to be there when it is linked.
  void* entry = nullptr;
  if (!driver_function("cuTensorMapEncodeTiled", &entry)) {
    throw Error(kGpuFailed, "the driver has no tensor maps");
  }
  CUtensorMap map{};
  const std::vector<cuuint32_t> steps(sizes.size(), 1);
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(sizes.size()),
      const_cast<void*>(base), sizes.data(), strides.data(), box.data(), steps.data(),
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(kGpuFailed, "CUDA cannot describe a matrix of " + std::to_string(sizes.back()) +
                                " x " + std::to_string(sizes.front()) + " (" +
                                std::to_string(result) + ")");
  }
  return map;
}

cuuint64_t bytes(int64_t values) { return static_cast<cuuint64_t>(values) * 2; }

}  // namespace

CUtensorMap tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride,
                       int box_rows) {
  return encode(base, {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)},
                {bytes(stride)}, {64, static_cast<cuuint32_t>(box_rows)});
}

CUtensorMap head_map(const void* base, int64_t tokens, int64_t heads, int64_t head_dim,
                     int64_t stride, int box_heads, int box_tokens) {
  return encode(base,
                {static_cast<cuuint64_t>(head_dim), static_cast<cuuint64_t>(heads),
                 static_cast<cuuint64_t>(tokens)},
                {bytes(head_dim), bytes(stride)},
                {64, static_cast<cuuint32_t>(box_heads), static_cast<cuuint32_t>(box_tokens)});
}

}  // namespace sft
