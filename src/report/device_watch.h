// A thread that writes down every few seconds what the cards and this process take. Nothing of the
// run waits for it. Made by run_training's report.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "core/json.h"
#include "device/nvml.h"

namespace sft {

class DeviceWatch {
 public:
  // `write` gets an index (-1: the process) and values by name, from the thread. `nvml` may be
  // null. Where the system gives no thread nothing is watched.
  DeviceWatch(std::unique_ptr<Nvml> nvml, std::function<void(int index, const Json&)> write);
  ~DeviceWatch();  // after a last look
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;

 private:
  void work();
  void look();

  std::unique_ptr<Nvml> nvml_;
  std::function<void(int, const Json&)> write_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace sft
