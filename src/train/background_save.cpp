#include "train/background_save.h"

#include <cstring>
#include <system_error>
#include <utility>

namespace sft {

namespace {

constexpr size_t kAlign = 256;

bool is_room(size_t free, size_t bytes, DeviceKind kind) {
  return is_room_for_copy(static_cast<double>(free), static_cast<double>(bytes), kind);
}

void copy_on(Device& device, std::byte* to, const Tensor& from) {
  if (device.kind() != DeviceKind::cpu) {
    device.copy(to, from.data, from.bytes());
    return;
  }
  device.threads().parallel_for(
      static_cast<int64_t>(from.bytes()),
      [&](int64_t begin, int64_t end) {
        std::memcpy(to + begin, from.as<std::byte>() + begin, static_cast<size_t>(end - begin));
      },
      int64_t{1} << 20);
}

// The host's memory, there already: one thread that takes page after page is slower than the bus.
Buffer memory_of_host(size_t bytes, ThreadPool& threads) {
  constexpr size_t kPage = 4096;
  Buffer memory(bytes);
  threads.parallel_for(
      static_cast<int64_t>(bytes / kPage),
      [&](int64_t begin, int64_t end) {
        for (int64_t page = begin; page < end; ++page) {
          memory.data()[static_cast<size_t>(page) * kPage] = std::byte{0};
        }
      },
      int64_t{1} << 12);
  return memory;
}

}  // namespace

StateSnapshot::StateSnapshot(Device& device, std::vector<NamedTensor> tensors)
    : device_(device), tensors_(std::move(tensors)) {
  size_t bytes = 0;
  for (const NamedTensor& t : tensors_) {
    bytes += (t.tensor.bytes() + kAlign - 1) / kAlign * kAlign;
  }
  if (is_room(device.free_memory(), bytes, device.kind())) {
    copy_ = device.allocate(bytes);
  } else if (device.kind() != DeviceKind::cpu &&
             is_room(available_memory(), bytes, DeviceKind::cpu)) {
    copy_ = memory_of_host(bytes, device.threads());
    on_host_ = true;
  }
  if (copied()) {
    std::byte* to = copy_.data();
    for (NamedTensor& t : tensors_) {
      if (on_host_) {
        device.download(to, t.tensor.data, t.tensor.bytes());
      } else {
        copy_on(device, to, t.tensor);
      }
      t.tensor.data = to;
      to += (t.tensor.bytes() + kAlign - 1) / kAlign * kAlign;
    }
  }
}

// What is left is, on a card, for programs of sizes not met yet and libraries' workspaces, on a
// host for the files' way through its cache.
bool is_room_for_copy(double free, double bytes, DeviceKind kind) {
  const double kept = kind == DeviceKind::cpu ? double{256 << 20} : double{1 << 30} * 2;
  return free > bytes * 1.125 + kept;
}

std::vector<StreamedTensor> streamed_from(Device& device, std::span<const NamedTensor> tensors) {
  device.synchronize();  // the last update may still be under way
  std::vector<StreamedTensor> out;
  for (const NamedTensor& t : tensors) {
    out.push_back({t.name, t.tensor.dtype, t.tensor.shape,
                   [device = &device, from = t.tensor.as<const std::byte>()](
                       uint64_t begin, std::span<std::byte> into) {
                     device->download_beside(into.data(), from + begin, into.size());
                   }});
  }
  return out;
}

BackgroundSave::~BackgroundSave() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

void BackgroundSave::start(std::function<void(const std::function<void()>&)> job, bool fixed) {
  read_ = fixed;
  ended_ = false;
  started_ = true;
  const auto work = [this, job = std::move(job)] {
    const auto was_read = [this] {
      const std::lock_guard lock(mutex_);
      read_ = true;
      changed_.notify_all();
    };
    try {
      job(was_read);
    } catch (...) {
      failure_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    read_ = ended_ = true;
    changed_.notify_all();
  };
  try {
    thread_ = std::thread(work);
  } catch (const std::system_error&) {
    work();
  }
}

bool BackgroundSave::ended() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

void BackgroundSave::wait_until_read() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return read_; });
}

void BackgroundSave::finish() {
  if (thread_.joinable()) {
    thread_.join();
  }
  started_ = false;
  if (failure_) {
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

}  // namespace sft
