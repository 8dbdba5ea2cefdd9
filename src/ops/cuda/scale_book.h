// The numbers that the codes of nested scales stand for (formats/four_bit.h), on a GPU. Used by
// widen_cuda.cu and pack_cuda.cu.
#pragma once

#include "device/cuda/cuda_device.h"
#include "formats/four_bit.h"

namespace sft {

class ScaleBook {
 public:
  explicit ScaleBook(CudaDevice& device)
      : buffer_(device.allocate(nested_scale_numbers().size_bytes())) {
    device.upload(buffer_.data(), nested_scale_numbers().data(), buffer_.size());
  }
  const float* values() const { return buffer_.f32(); }

 private:
  Buffer buffer_;
};

}  // namespace sft
