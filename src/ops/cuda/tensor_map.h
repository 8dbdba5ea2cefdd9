// How the copy engine of compute capability 9.0 sees a matrix. Used by kernels that load tiles.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace sft {

// A row-major matrix (rows, columns) of bfloat16 whose rows lie `stride` values apart, in pieces
// of 64 columns and `box_rows` rows, swizzled in shared memory. `base` and rows are on 16 bytes.
CUtensorMap tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride,
                       int box_rows);

}  // namespace sft
