#include "ops/gather_rows.h"

#include "ops/cuda/rows.cuh"

namespace sft::gpu {

void gather_rows_forward(Device& device, const Tensor& x, const Tensor& rows, Tensor& y) {
  with_type(x.dtype, [&](auto type) {
    using T = decltype(type);
    copy_rows<T>(cuda(device), rows.shape[0], x.shape[1], x.as<T>(), rows.i32(), y.as<T>(),
                 nullptr);
  });
  check_cuda(cudaGetLastError(), "gather_rows");
}

void gather_rows_backward(Device& device, const Tensor& grad_y, const Tensor& rows, Tensor& grad_x,
                          bool accumulate) {
  if (!accumulate) {
    device.zero(grad_x.data, grad_x.bytes());
  }
  with_type(grad_x.dtype, [&](auto type) {
    using T = decltype(type);
    copy_rows<T>(cuda(device), rows.shape[0], grad_x.shape[1], grad_y.as<T>(), nullptr,
                 grad_x.as<T>(), rows.i32(), accumulate);
  });
  check_cuda(cudaGetLastError(), "gather_rows.backward");
}

}  // namespace sft::gpu
