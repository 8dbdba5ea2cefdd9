// The part of NCCL's interface that is used here, from libnccl.so.2, which is loaded when ranks on
// GPUs connect: neither building nor starting the program needs NCCL. Names and values are those
// of NCCL's nccl.h, which keeps them from version to version.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include "comm/nccl_library.h"

namespace sft::nccl {

struct Comm;  // ncclComm
struct UniqueId {
  char bytes[kNcclIdBytes];
};
using Result = int;
constexpr Result kSuccess = 0, kInProgress = 7;
enum class Type : int { int8 = 0, float32 = 7, float64 = 8 };
constexpr int kSum = 0;

struct Api {
  Result (*get_version)(int* version);
  Result (*get_unique_id)(UniqueId* id);
  Result (*comm_init_rank)(Comm** comm, int ranks, UniqueId id, int rank);
  Result (*comm_split)(Comm* comm, int color, int key, Comm** made, void* config);
  Result (*comm_count)(const Comm* comm, int* count);
  Result (*comm_user_rank)(const Comm* comm, int* rank);
  Result (*comm_get_async_error)(Comm* comm, Result* error);
  Result (*comm_abort)(Comm* comm);
  Result (*comm_destroy)(Comm* comm);
  const char* (*get_error_string)(Result result);
  const char* (*get_last_error)(Comm* comm);
  Result (*all_reduce)(const void* from, void* to, size_t count, Type type, int op, Comm* comm,
                       cudaStream_t stream);
  Result (*reduce_scatter)(const void* from, void* to, size_t count, Type type, int op, Comm* comm,
                           cudaStream_t stream);
  Result (*all_gather)(const void* from, void* to, size_t count, Type type, Comm* comm,
                       cudaStream_t stream);
  Result (*broadcast)(const void* from, void* to, size_t count, Type type, int root, Comm* comm,
                      cudaStream_t stream);
};

// Loads it on first use; G025 when it cannot be loaded or is too old (2.18 has comm_split).
const Api& api();

}  // namespace sft::nccl
