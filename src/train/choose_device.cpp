#include "train/choose_device.h"

#include <fmt/format.h>

#include <cstdlib>

#include "core/cache_folder.h"

namespace sft {

ChosenDevice choose_device(const DeviceWish& wish, const Logger& log) {
  const int threads = wish.threads > 0 ? wish.threads : default_threads();
  if (wish.use_cpu || !why_no_cuda().empty()) {
    if (wish.bf16.value_or(true)) {
      log.note("training in float32: bfloat16 is for GPUs");
    }
    return {Device::cpu(threads), DType::f32};
  }
  const auto cache = cache_folder("matmul", [](const char* name) { return std::getenv(name); });
  ChosenDevice chosen{Device::cuda(wish.local_rank, threads, cache), DType::bf16};
  if (!wish.bf16.value_or(true)) {
    chosen.compute = DType::f32;
  }
  log.note(
      fmt::format("device: {}, computing in {}", chosen.device->name(), name_of(chosen.compute)));
  return chosen;
}

}  // namespace sft
