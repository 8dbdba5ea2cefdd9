// Some of a tensor's rows, as a tensor. Used by kernels that work on so many rows at a time.
#pragma once

#include "core/tensor.h"

namespace sft {

inline Tensor row_range(const Tensor& t, int64_t first, int64_t count) {
  std::vector<int64_t> dims = t.shape.dims();
  const auto row =
      static_cast<int64_t>(size_of(t.dtype)) * (dims[0] == 0 ? 0 : t.shape.elements() / dims[0]);
  dims[0] = count;
  return {static_cast<std::byte*>(t.data) + first * row, Shape(dims), t.dtype};
}

}  // namespace sft
