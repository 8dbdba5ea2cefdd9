#include "comm/cuda/nccl_api.h"

#include <dlfcn.h>

#include "core/installed.h"

namespace sft::nccl {

namespace {

constexpr const char* kLibrary = "libnccl.so.2";
constexpr int kOldest = 21800;

template <class F>
void find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (function == nullptr) {
    throw Error("G025", std::string(kLibrary) + " has no " + name)
        .hint("install NCCL 2.18 or later");
  }
}

Api load() {
  void* const library = ::dlopen(nvidia_library(kLibrary).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error("G025",
                std::string("ranks on GPUs need NCCL, and it cannot be loaded: ") + ::dlerror())
        .hint(
            "install NCCL (libnccl2), name its folder in LD_LIBRARY_PATH, or train on CPUs with "
            "--use_cpu");
  }
  Api a{};
  find(library, "ncclGetVersion", a.get_version);
  int version = 0;
  a.get_version(&version);
  if (version < kOldest) {
    throw Error("G025", std::string(kLibrary) + " is version " + std::to_string(version))
        .hint("install NCCL 2.18 or later");
  }
  find(library, "ncclGetUniqueId", a.get_unique_id);
  find(library, "ncclCommInitRank", a.comm_init_rank);
  find(library, "ncclCommSplit", a.comm_split);
  find(library, "ncclCommCount", a.comm_count);
  find(library, "ncclCommUserRank", a.comm_user_rank);
  find(library, "ncclCommGetAsyncError", a.comm_get_async_error);
  find(library, "ncclCommAbort", a.comm_abort);
  find(library, "ncclCommDestroy", a.comm_destroy);
  find(library, "ncclGetErrorString", a.get_error_string);
  find(library, "ncclGetLastError", a.get_last_error);
  find(library, "ncclAllReduce", a.all_reduce);
  find(library, "ncclReduceScatter", a.reduce_scatter);
  find(library, "ncclAllGather", a.all_gather);
  find(library, "ncclBroadcast", a.broadcast);
  return a;
}

}  // namespace

const Api& api() {
  static const Api loaded = load();
  return loaded;
}

}  // namespace sft::nccl
