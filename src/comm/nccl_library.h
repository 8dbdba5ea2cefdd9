// What libsft_cuda.so gives for ranks on GPUs: src/comm/cuda has it.
#pragma once

#include <cstdint>

#include "comm/communicator.h"

namespace sft {

// NCCL's name for a communicator that is to be made: rank 0 makes it, all ranks bring it.
constexpr size_t kNcclIdBytes = 128;

// G025 when libnccl.so.2 cannot be loaded or is too old.
using NcclMakeId = void (*)(char* id);
constexpr const char* kNcclMakeId = "sft_nccl_make_id";

// Returns a communicator that the caller owns. N041 when the ranks do not come together in time.
using NcclOpen = Communicator* (*)(Device* device, int rank, int world, const char* id,
                                   int64_t timeout_ms);
constexpr const char* kNcclOpen = "sft_nccl_open";

// See copying_communicator. Takes `rest` over, and the caller owns what it returns.
using CopyingOpen = Communicator* (*)(Device* device, Communicator* rest);
constexpr const char* kCopyingOpen = "sft_copying_open";

}  // namespace sft
