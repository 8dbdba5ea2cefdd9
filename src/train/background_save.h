// A checkpoint written while training goes on: what it holds is fixed when the step ends, and a
// thread of its own brings it to the disk. Used by the trainer.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "device/device.h"
#include "io/safetensors_writer.h"

namespace sft {

// Whether a copy of so much may be taken beside training, with some to spare.
bool is_room_for_copy(double free, double bytes, DeviceKind kind);

// Tensors of a device as files get them, by Device::download_beside; their memory must outlive
// them. What the device was given before is waited for.
std::vector<StreamedTensor> streamed_from(Device& device, std::span<const NamedTensor> tensors);

// The tensors of a training state (on the device, by global name) as they are now. They are copied
// beside themselves on the device when there is room for that with some to spare: that takes
// milliseconds, and on the CPU less than a step. Else into the host's memory, if they fit there: as
// long as the bus takes, not the disk. Otherwise they are read where they are, and whoever wants to
// change them waits (BackgroundSave::wait_until_read).
class StateSnapshot {
 public:
  StateSnapshot(Device& device, std::vector<NamedTensor> tensors);

  bool copied() const { return copy_.size() > 0; }
  // Read by one thread at a time, which need not be the device's own. Must not outlive this.
  std::vector<StreamedTensor> streamed() const {
    return on_host_ ? sft::streamed(tensors_) : streamed_from(device_, tensors_);
  }

 private:
  Device& device_;
  std::vector<NamedTensor> tensors_;
  Buffer copy_;
  bool on_host_ = false;
};

// One job at a time on a thread of its own.
class BackgroundSave {
 public:
  BackgroundSave() = default;
  ~BackgroundSave();  // waits
  BackgroundSave(const BackgroundSave&) = delete;
  BackgroundSave& operator=(const BackgroundSave&) = delete;

  // `job` gets a function to call once it has read all that may change; `fixed`: nothing of it may.
  // Call `finish` first. Where the system gives no thread the job is done at once.
  void start(std::function<void(const std::function<void()>& was_read)> job, bool fixed);
  // Whether there is something to `finish`.
  bool started() const { return started_; }
  // Whether the job started last has come to its end.
  bool ended();
  // Waits until it has read all that may change.
  void wait_until_read();
  // Waits for its end, and throws what it threw.
  void finish();

 private:
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool started_ = false, read_ = true, ended_ = true;
  std::exception_ptr failure_;
};

}  // namespace sft
