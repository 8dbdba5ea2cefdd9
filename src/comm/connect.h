// What moves data between a run's ranks, whichever launcher started them and wherever they compute.
// Used by training and `sft bench`.
#pragma once

#include <memory>

#include "comm/communicator.h"
#include "control/launch_environment.h"
#include "control/notice.h"

namespace sft {

// NCCL between GPUs (and copy engines, if they are wanted), Gloo between CPUs, nothing for one
// rank. `store` outlives it; `timeout`: seconds that one operation may take (--ddp_timeout). Errors
// as of nccl_communicator and gloo_communicator. `say` is told now and then what lasts.
std::unique_ptr<Communicator> connect_ranks(const LaunchEnvironment& launch, Device& device,
                                            Store* store, double timeout, bool copy_engines,
                                            const Say& say);

}  // namespace sft
