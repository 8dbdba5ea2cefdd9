#include "cli/failure.h"

#include <new>
#include <system_error>

namespace sft {

Error error_of(const std::exception& failure) {
  if (const auto* error = dynamic_cast<const Error*>(&failure)) {
    return *error;
  }
  if (dynamic_cast<const std::bad_alloc*>(&failure) != nullptr) {
    return Error("G001", "out of memory")
        .hint("free memory on this machine; --dry_run shows what training takes");
  }
  if (const auto* system = dynamic_cast<const std::system_error*>(&failure);
      system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
    return Error("G030", "the system gives this process no further thread")
        .hint("raise the limit: ulimit -u, the container's pids.max");
  }
  return {"X002", failure.what()};
}

}  // namespace sft
