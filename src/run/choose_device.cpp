#include "run/choose_device.h"

#include <fmt/format.h>

#include <algorithm>

#include "device/cuda_library.h"
#include "run/capability.h"

namespace sft {

void say_shortage(const ThreadPool& threads, int wanted, const Logger& log) {
  if (threads.size() < wanted) {
    log.warn(fmt::format("the system gives {} of {} threads (ulimit -u, the container's pids.max)",
                         threads.size(), wanted));
  }
}

ChosenDevice choose_device(const DeviceWish& wish, const Logger& log) {
  const int threads =
      wish.threads > 0 ? wish.threads : std::max(1, default_threads() / wish.local_world);
  if (wish.use_cpu || !why_no_cuda().empty()) {
    if (wish.fp16 || wish.tf32 || wish.bf16.value_or(true)) {
      log.note(fmt::format("computing in float32: {} for GPUs", wish.fp16   ? "float16 is"
                                                                : wish.tf32 ? "TensorFloat-32 is"
                                                                            : "bfloat16 is"));
    }
    ChosenDevice chosen{Device::cpu(threads), DType::f32};
    say_shortage(chosen.device->threads(), threads, log);
    return chosen;
  }
  ChosenDevice chosen{Device::cuda(wish.local_rank, threads, wish.cache_folder),
                      type_of_capability(cuda_capability(wish.local_rank))};
  if (wish.fp16) {
    chosen.compute = DType::f16;
  } else if (!wish.bf16.value_or(true)) {
    chosen.compute = DType::f32;
  } else if (chosen.compute == DType::f16) {
    log.note("this GPU has no bfloat16: computing in float16, with a scale for the loss");
  }
  chosen.device->use_tf32(wish.tf32);
  say_shortage(chosen.device->threads(), threads, log);
  log.note(fmt::format("device: {}, computing in {}{}", chosen.device->name(),
                       name_of(chosen.compute),
                       wish.tf32 && chosen.compute == DType::f32 ? " through TensorFloat-32" : ""));
  return chosen;
}

}  // namespace sft
