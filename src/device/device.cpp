#include "device/device.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/strings.h"

namespace sft {

Buffer::Buffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) {
    return;
  }
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    throw Error("G001", fmt::format("cannot allocate {} of memory ({} available)",
                                    human_bytes(static_cast<double>(bytes)),
                                    human_bytes(static_cast<double>(available_memory()))))
        .hint("use a smaller --per_device_train_batch_size or --max_length");
  }
  ::madvise(p, bytes, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(p);
}

Buffer::~Buffer() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::unique_ptr<Device> Device::cpu(int threads) {
  return std::unique_ptr<Device>(new Device(DeviceKind::cpu, threads));
}

std::string cpu_features() {
  std::string found;
#if defined(__x86_64__)
  const auto add = [&](bool has, const char* name) {
    if (has) {
      found += found.empty() ? name : std::string(" ") + name;
    }
  };
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
#endif
  return found;
}

size_t available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  size_t kibibytes = 0;
  while (info >> key >> kibibytes >> unit) {
    if (key == "MemAvailable:") {
      return kibibytes * 1024;
    }
  }
  return 0;
}

}  // namespace sft
