// A rank's device: its memory and its threads. Kernels run on it through graph/program.h.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "core/thread_pool.h"

namespace sft {

// Owns zeroed memory on a device; move-only; 64-byte aligned.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);  // G001 when the system refuses
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() const { return data_; }
  float* f32() const { return reinterpret_cast<float*>(data_); }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

enum class DeviceKind { cpu };

// One per rank; calls return when the work is done.
class Device {
 public:
  static std::unique_ptr<Device> cpu(int threads);

  DeviceKind kind() const { return kind_; }
  Buffer allocate(size_t bytes) const { return Buffer(bytes); }
  ThreadPool& threads() { return threads_; }

 private:
  Device(DeviceKind kind, int threads) : kind_(kind), threads_(threads) {}
  DeviceKind kind_;
  ThreadPool threads_;
};

// Instruction sets that the kernels can use here, for `sft env`: "avx2 fma".
std::string cpu_features();
// Memory that the system says is free for use, in bytes.
size_t available_memory();

}  // namespace sft
