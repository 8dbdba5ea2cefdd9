// A fixed set of threads that belongs to one rank; the caller works as thread 0.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace sft {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls `work(thread)` once on each thread and returns when all have. The first exception thrown
  // is rethrown here. Not reentrant.
  void run(const std::function<void(int thread)>& work);

  // Splits [0, n) into `size()` contiguous ranges, in thread order and fixed by n alone, so that a
  // reduction by range is the same every time. Ranges smaller than `grain` are not split further.
  void parallel_for(int64_t n, const std::function<void(int64_t begin, int64_t end)>& body,
                    int64_t grain = 1);

  // Hands out the items 0..n-1 one at a time, for work of uneven cost whose results do not depend
  // on who does it.
  void for_each(int64_t n, const std::function<void(int64_t item, int thread)>& body);

 private:
  void work_loop(int thread);

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> unfinished_{0};
  std::atomic<bool> stop_{false};
  const std::function<void(int)>* work_ = nullptr;
  std::exception_ptr failure_;
};

// The number of threads to use when none is given: the physical cores this process may run on.
int default_threads();

}  // namespace sft
