#include "ops/cuda/tensor_map.h"

#include <cuda.h>
#include <cuda_runtime.h>

#include "core/error.h"
#include "device/cuda/cuda_device.h"

namespace sft {

CUtensorMap tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride,
                       int box_rows) {
  // The driver is asked for by name, so that nothing needs it to be there when it is linked.
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                              cudaEnableDefault, &found),
             "the driver's tensor maps");
  CUtensorMap map{};
  const cuuint64_t size[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry)(
      &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(base), size, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error("G021", "CUDA cannot describe a matrix of " + std::to_string(rows) + " x " +
                            std::to_string(columns) + " (" + std::to_string(result) + ")");
  }
  return map;
}

}  // namespace sft
