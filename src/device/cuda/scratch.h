// Device memory that a kernel's own passes share: free for the next call in its stream, so never
// kept. Fixed in size, because recorded work keeps its address.
#pragma once

#include "core/error.h"
#include "device/cuda/cuda_device.h"

namespace sft {

class Scratch {
 public:
  explicit Scratch(CudaDevice& device)
      : device_(device), buffers_{device.allocate(kBytes), device.allocate(kBytes)} {}

  // `count` values of T at the start of the memory.
  template <class T>
  T* take(int64_t count) {
    SFT_ASSERT(static_cast<size_t>(count) * sizeof(T) <= kBytes);
    return reinterpret_cast<T*>(buffers_[device_.lane()].data());
  }

  static constexpr size_t kBytes = size_t{64} << 20;

 private:
  CudaDevice& device_;
  Buffer buffers_[2];  // one for each stream
};

}  // namespace sft
