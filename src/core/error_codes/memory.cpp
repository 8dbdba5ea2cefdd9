#include "core/error_codes/families.h"

namespace sft {

namespace {

constexpr CodeRow kMemory[] = {
    {"G001", "the system or the GPU refused memory",
     "use a smaller batch or --max_length; --dry_run shows what training takes", Thrown::widely},
    {"G010", "the run does not fit, by its plan: nothing was allocated yet",
     "take one of the settings in the message"},
    {"G030", "the system gives no further thread, and one is needed",
     "raise the limit: ulimit -u, the container's pids.max", Thrown::widely},
    {"G031", "the system starts no process for a rank",
     "raise the limit: ulimit -u, the container's pids.max"},
};

constexpr CodeRow kDevices[] = {
    {"G002", "oneDNN could not multiply two matrices", "report it with the command"},
    {"G020", "no GPU can be used by this rank",
     "`sft env` shows what was found; or train with --use_cpu", Thrown::widely},
    {"G021", "a call of CUDA failed", "look at the driver's messages (dmesg), and start again"},
    {"G022", "cuBLASLt failed or has no algorithm for a product", "report it with the command"},
    {"G023", "NCCL failed", "NCCL_DEBUG=INFO tells more"},
    {"G024", "cuDNN's attention failed", "report it with the command"},
    {"G025", "NCCL cannot be loaded, or is too old",
     "install NCCL 2.18 or later, or train with --use_cpu"},
};

constexpr CodeGroup kGroups[] = {
    {"Memory", kMemory},
    {"Devices", kDevices},
};

}  // namespace

CodeFamily memory_codes() { return {'G', ExitCode::memory, "memory and device", kGroups}; }

}  // namespace sft
