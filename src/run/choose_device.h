// Which device a run uses and in which type it computes there. Used by training and generation.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "core/log.h"
#include "device/device.h"

namespace sft {

struct DeviceWish {
  bool use_cpu = false;
  std::optional<bool> bf16;  // none: where the device has it
  int threads = 0;           // 0: this rank's share of the machine's
  int local_rank = 0;        // which GPU
  int local_world = 1;       // ranks on this machine
  bool fp16 = false;         // float16 instead
  bool tf32 = false;         // float32 matmuls through TensorFloat-32
  // Where what is found out about a GPU is kept for the next run; empty: nowhere.
  std::filesystem::path cache_folder{};
};

struct ChosenDevice {
  std::unique_ptr<Device> device;
  DType compute = DType::f32;
};

// A warning where the system gave fewer threads than were asked for.
void say_shortage(const ThreadPool& threads, int wanted, const Logger& log);

// The GPU where there is one, in bfloat16 or, where it has none, float16; else the CPU, in float32.
ChosenDevice choose_device(const DeviceWish& wish, const Logger& log);

}  // namespace sft
