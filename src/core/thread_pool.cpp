#include "core/thread_pool.h"

#include <sched.h>
#include <cmath>

#include <algorithm>

#include "core/cgroup.h"

namespace sft {

namespace {
// Between two ops of a training step only microseconds pass: waiting threads spin that long before
// they sleep.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i] { work_loop(i); });
  }
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
