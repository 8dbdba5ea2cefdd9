// Threads that the system may refuse: for want of memory, or by a limit (ulimit -u, a container's
// pids.max). A refusal is an error with a code, or the work is left to fewer of them.
#pragma once

#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace sft {

// G030: a thread that would have done `purpose`. The way out is named.
[[noreturn]] void thread_refused(const char* purpose);

template <class Work>
std::thread start_thread(const char* purpose, Work&& work) {
  try {
    return std::thread(std::forward<Work>(work));
  } catch (const std::system_error&) {
    thread_refused(purpose);
  }
}

// Threads that do the same beside whoever made them, and are joined when this goes.
class Helpers {
 public:
  Helpers() = default;
  ~Helpers() { join(); }
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  // false: the system gives no further thread.
  bool add(const std::function<void()>& work);
  void join();
  bool empty() const { return threads_.empty(); }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace sft
