// How the copy engine of compute capability 9.0 sees a matrix. Used by kernels that load tiles.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace sft {

// A row-major matrix (rows, columns) of bfloat16 whose rows lie `stride` values apart, in pieces
// of 64 columns and `box_rows` rows, swizzled in shared memory. `base` and rows are on 16 bytes.
CUtensorMap tensor_map(const void* base, int64_t rows, int64_t columns, int64_t stride,
                       int box_rows);

// The heads of tokens: (tokens, heads, head_dim) of bfloat16, tokens `stride` values apart, in
// pieces of 64 columns, `box_heads` heads and `box_tokens` tokens, swizzled likewise: a row for
// each head.
CUtensorMap head_map(const void* base, int64_t tokens, int64_t heads, int64_t head_dim,
                     int64_t stride, int box_heads, int box_tokens);

}  // namespace sft
