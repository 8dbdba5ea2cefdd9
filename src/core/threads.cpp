#include "core/threads.h"

#include <fmt/format.h>

#include "core/error.h"

namespace sft {

void thread_refused(const char* purpose) {
  throw Error("G030", fmt::format("the system gives this process no further thread ({})", purpose))
      .hint(
          "raise the limit (ulimit -u, the container's pids.max), or ask for fewer:  --threads 1 "
          "--dataset_num_proc 1");
}

bool Helpers::add(const std::function<void()>& work) {
  threads_.reserve(threads_.size() + 1);  // a thread that runs must have a place
  try {
    threads_.emplace_back(work);
    return true;
  } catch (const std::exception&) {  // a limit, or no memory for another stack
    return false;
  }
}

void Helpers::join() {
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
}

}  // namespace sft
