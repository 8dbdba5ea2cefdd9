// A rank's device: its memory, its threads, and the order in which its work happens. Kernels run on
// it through graph/program.h. The CPU is built in; the CUDA device lives in libsft_cuda.so.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error_code.h"
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace sft {

inline constexpr Code kGpuFailed = "G021";  // a call of CUDA

struct OpKernels;     // ops/kernels.h
struct OptimKernels;  // optim/kernels.h

// Owns zeroed memory of a device; move-only; at least 64-byte aligned. Only memory of the CPU may
// be read and written through data().
class Buffer {
 public:
  using Release = void (*)(void*, size_t);
  Buffer() = default;
  explicit Buffer(size_t bytes);  // the CPU's; G001 when the system refuses
  Buffer(void* data, size_t bytes, Release release)
      : data_(static_cast<std::byte*>(data)), size_(bytes), release_(release) {}
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() const { return data_; }
  float* f32() const { return reinterpret_cast<float*>(data_); }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  Release release_ = nullptr;
};

enum class DeviceKind { cpu, cuda };

// Where a device's work queues up: the main one, one for what may run beside it, and one for copies
// between the device and the host.
enum class Lane { main, aside, copies };
inline constexpr int kLanes = 3;

// What a program is recorded for: the kind of device decides workspaces, `compute` is the type of
// activations and of the weights that matmuls read.
struct Target {
  DeviceKind device = DeviceKind::cpu;
  DType compute = DType::f32;
  int64_t shared_memory = 0;  // see Device::shared_memory
};

// Work that a device has recorded and can start again in one call.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  virtual void launch() = 0;
};

// One per rank. On the CPU calls return when the work is done; on a GPU work runs in the order of
// the calls, and `download` and `synchronize` wait for it.
class Device {
 public:
  virtual ~Device() = default;
  static std::unique_ptr<Device> cpu(int threads);
  // G020 when there is no such GPU or libsft_cuda.so cannot be used; the message says why. What is
  // found out about the device is kept in `cache_folder` for the next run; empty: not kept.
  static std::unique_ptr<Device> cuda(int ordinal, int threads,
                                      const std::filesystem::path& cache_folder = {});

  DeviceKind kind() const { return kind_; }
  // What a block of threads of a GPU may have of its multiprocessor's memory, in bytes; 0 on a CPU.
  virtual int64_t shared_memory() const { return 0; }
  Target target(DType compute) const { return {kind_, compute, shared_memory()}; }
  ThreadPool& threads() { return threads_; }

  virtual std::string name() const = 0;  // "cpu, 8 threads", "NVIDIA H100 80GB HBM3"
  virtual size_t free_memory() const = 0;
  // What the device's libraries take beyond what is allocated here, once they are in use.
  virtual size_t overhead() const { return 0; }
  // G001 when there is not enough.
  Buffer allocate(size_t bytes);
  // Memory of the host that `copy` reaches at full speed and without waiting; G001.
  Buffer allocate_host(size_t bytes);
  // How often the two were called: after the first step of a run they should not be.
  int64_t allocations() const { return allocations_; }

  // Has at least so many bytes ready, from now on, for kernels' libraries to work in and to try
  // algorithms in. Without, they take memory when they meet a size for the first time.
  virtual void reserve_workspace(size_t /*bytes*/) {}

  // `from` may be used again at once.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void download(void* to, const void* from, size_t bytes) = 0;
  // A download by any thread beside the device's own work, from memory that nothing writes
  // meanwhile and whose contents have been waited for.
  virtual void download_beside(void* to, const void* from, size_t bytes) = 0;
  // Between any two of the device's memory and allocate_host's.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void zero(void* to, size_t bytes) = 0;
  // y = x, or y += x
  virtual void add(const Tensor& x, Tensor& y, bool accumulate) = 0;
  virtual void synchronize() {}

  // Work between these two may run beside what follows it, and after what came before it. Returns a
  // number for wait_aside: what follows that call comes after it. Work of one lane runs in order.
  virtual void begin_aside(Lane /*lane*/) {}
  virtual int end_aside() { return 0; }
  virtual void wait_aside(int /*ticket*/) {}
  // The host waits for it.
  virtual void await(int /*ticket*/) {}

  // Records what `work` does without doing it; null on devices that do not record.
  virtual std::unique_ptr<RecordedWork> record(const std::function<void()>& /*work*/) {
    return nullptr;
  }

  // Notes this point of the work, for a trace; the time between two notes is asked for later, and
  // waits for the work.
  virtual int mark();
  virtual double seconds_between(int from, int to);
  virtual void forget_marks() { marks_.clear(); }

  // Whether float32 matrices may be multiplied with the 10 bits of TensorFloat-32.
  void use_tf32(bool yes) { tf32_ = yes; }
  bool tf32() const { return tf32_; }

  // The kernels of a device that is not the CPU.
  virtual const OpKernels* op_kernels() const { return nullptr; }
  virtual const OptimKernels* optim_kernels() const { return nullptr; }

 protected:
  Device(DeviceKind kind, int threads) : kind_(kind), threads_(threads) {}
  virtual Buffer take(size_t bytes) = 0;
  virtual Buffer take_host(size_t bytes) { return Buffer(bytes); }

 private:
  int64_t allocations_ = 0;
  DeviceKind kind_;
  ThreadPool threads_;
  std::vector<std::chrono::steady_clock::time_point> marks_;
  bool tf32_ = false;
};

// A flat device buffer where the host can read and write it: the buffer itself on the CPU, else a
// copy, made on construction; `write_back` brings changes to the device.
class HostView {
 public:
  HostView(Device& device, void* data, size_t bytes);
  float* f32() const { return static_cast<float*>(data_); }
  void write_back();

 private:
  Device& device_;
  void* on_device_;
  void* data_;
  Buffer copy_;
};

// Whether a GPU can be used, and why not: "" or "no NVIDIA driver".
std::string why_no_cuda();
// Instruction sets that the kernels can use here, for `sft env`: "avx2 fma".
std::string cpu_features();
// Memory that the system says is free for use, in bytes.
size_t available_memory();

}  // namespace sft
