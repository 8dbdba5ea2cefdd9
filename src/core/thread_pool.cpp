#include "core/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <future>

#include "core/cgroup.h"
#include "core/threads.h"

namespace sft {

namespace {
// Between two ops of a training step only microseconds pass: waiting threads spin that long before
// they sleep.
constexpr int kSpins = 4000;
constexpr size_t kManyThreads = 8;
constexpr int kLeftToOthers = 6;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
}  // namespace

// Where the system refuses threads there are fewer: see say_shortage.
ThreadPool::ThreadPool(int threads) {
  const auto wanted = static_cast<size_t>(std::max(threads, 1)) - 1;
  workers_.reserve(wanted);
  // Under a limit, what is read ahead, saved and sent needs threads too: places are held for them.
  Helpers places;
  std::promise<void> all_made;
  const std::shared_future<void> made = all_made.get_future().share();
  for (int i = 0; wanted > kManyThreads && i < kLeftToOthers; ++i) {
    places.add([made] { made.wait(); });
  }
  try {
    while (workers_.size() < wanted) {
      const int number = static_cast<int>(workers_.size()) + 1;
      workers_.emplace_back([this, number] { work_loop(number); });
    }
  } catch (const std::exception&) {  // a limit, or no memory for another stack
  }
  all_made.set_value();
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& t : workers_) {
    t.join();
  }
}

void ThreadPool::work_loop(int thread) {
  uint64_t seen = 0;
  for (;;) {
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; ++i) {
      relax();
    }
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) {
      return;
    }
    try {
      (*work_)(thread);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) {
        failure_ = std::current_exception();
      }
    }
    unfinished_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::run(const std::function<void(int)>& work) {
  if (workers_.empty()) {
    work(0);
    return;
  }
  failure_ = nullptr;
  work_ = &work;
  unfinished_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  std::exception_ptr own;
  try {
    work(0);
  } catch (...) {
    own = std::current_exception();
  }
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
  if (own) {
    std::rethrow_exception(own);
  }
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

void ThreadPool::parallel_for(int64_t n, const std::function<void(int64_t, int64_t)>& body,
                              int64_t grain) {
  const int64_t parts = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, size());
  if (parts == 1) {
    if (n > 0) {
      body(0, n);
    }
    return;
  }
  run([&](int thread) {
    if (thread < parts) {
      body(n * thread / parts, n * (thread + 1) / parts);
    }
  });
}

void ThreadPool::for_each(int64_t n, const std::function<void(int64_t, int)>& body) {
  if (n == 1 || size() == 1) {
    for (int64_t i = 0; i < n; ++i) {
      body(i, 0);
    }
    return;
  }
  std::atomic<int64_t> next{0};
  run([&](int thread) {
    for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) {
      body(i, thread);
    }
  });
}

int default_threads() {
  cpu_set_t set;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    threads = CPU_COUNT(&set);
  }
  if (const auto share = cgroup_processors()) {
    threads = std::min(threads, static_cast<int>(std::ceil(*share)));
  }
  return std::max(1, threads);
}

}  // namespace sft
