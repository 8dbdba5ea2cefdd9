#include "device/device.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

#include "core/cgroup.h"
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
  release_ = [](void* data, size_t size) { ::munmap(data, size); };
}

Buffer::~Buffer() {
  if (data_ != nullptr) {
    release_(data_, size_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      release_(other.release_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(release_, other.release_);
  return *this;
}

Buffer Device::allocate(size_t bytes) {
  ++allocations_;
  return take(bytes);
}

Buffer Device::allocate_host(size_t bytes) {
  ++allocations_;
  return take_host(bytes);
}

namespace {

class CpuDevice : public Device {
 public:
  explicit CpuDevice(int count) : Device(DeviceKind::cpu, count) {}

  std::string name() const override {
    return fmt::format("cpu, {} threads", const_cast<CpuDevice*>(this)->threads().size());
  }
  size_t free_memory() const override { return available_memory(); }
  void upload(void* to, const void* from, size_t bytes) override { move(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes) override { move(to, from, bytes); }
  void download_beside(void* to, const void* from, size_t bytes) override { move(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { move(to, from, bytes); }
  void zero(void* to, size_t bytes) override { std::memset(to, 0, bytes); }

  void add(const Tensor& x, Tensor& y, bool accumulate) override {
    const float* from = x.f32();
    float* to = y.f32();
    threads().parallel_for(
        x.shape.elements(),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            to[i] = from[i] + (accumulate ? to[i] : 0.0F);
          }
        },
        16384);
  }

 protected:
  Buffer take(size_t bytes) override { return Buffer(bytes); }

 private:
  static void move(void* to, const void* from, size_t bytes) {
    if (to != from && bytes > 0) {
      std::memcpy(to, from, bytes);
    }
  }
};

}  // namespace

std::unique_ptr<Device> Device::cpu(int threads) { return std::make_unique<CpuDevice>(threads); }

int Device::mark() {
  marks_.push_back(std::chrono::steady_clock::now());
  return static_cast<int>(marks_.size()) - 1;
}

double Device::seconds_between(int from, int to) {
  return std::chrono::duration<double>(marks_.at(static_cast<size_t>(to)) -
                                       marks_.at(static_cast<size_t>(from)))
      .count();
}

HostView::HostView(Device& device, void* data, size_t bytes)
    : device_(device), on_device_(data), data_(data) {
  if (device.kind() != DeviceKind::cpu) {
    copy_ = Buffer(bytes);
    data_ = copy_.data();
    device.download(data_, data, bytes);
  }
}

void HostView::write_back() {
  if (data_ != on_device_) {
    device_.upload(on_device_, data_, copy_.size());
  }
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

namespace {

// What ulimit -v or -d leaves, where it is set; `key` is what has been taken, in /proc.
std::optional<size_t> left_of_limit(__rlimit_resource resource, std::string_view key) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::nullopt;
  }
  std::ifstream status("/proc/self/status");
  std::string word;
  size_t kibibytes = 0;
  while (status >> word) {
    if (word == key && status >> kibibytes) {
      break;
    }
  }
  const size_t used = kibibytes * 1024;
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

}  // namespace

size_t available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string key, unit;
  size_t kibibytes = 0, machine = 0;
  while (machine == 0 && info >> key >> kibibytes >> unit) {
    machine = key == "MemAvailable:" ? kibibytes * 1024 : 0;
  }
  if (const auto left = cgroup_memory_left()) {
    machine = std::min(machine, static_cast<size_t>(*left));
  }
  for (const auto& [resource, taken] :
       {std::pair{RLIMIT_AS, "VmSize:"}, {RLIMIT_DATA, "VmData:"}}) {
    if (const auto left = left_of_limit(resource, taken)) {
      machine = std::min(machine, *left);
    }
  }
  return machine;
}

}  // namespace sft
