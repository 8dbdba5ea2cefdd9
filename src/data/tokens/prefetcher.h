// Makes a numbered series of things on threads of its own, ahead of whoever takes them. What is
// taken does not depend on the number of threads. Used by the loaders.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "core/threads.h"

namespace sft {

struct PrefetchLimits {
  int threads = 1;
  int64_t things = 4;                  // made or being made and not yet taken
  int64_t bytes = int64_t{256} << 20;  // made and not yet taken; one thing may be more
};

template <class T>
class Prefetcher {
 public:
  // `make(i)` is called for first, first + 1, … and is thread-safe when there are several threads.
  Prefetcher(std::function<T(int64_t)> make, std::function<int64_t(const T&)> bytes_of,
             int64_t first, PrefetchLimits limits)
      : make_(std::move(make)),
        bytes_of_(std::move(bytes_of)),
        limits_(limits),
        claimed_(first),
        taken_(first) {
    for (int i = 0; i < limits.threads && helpers_.add([this] { work(); }); ++i) {
    }
  }
  ~Prefetcher() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    helpers_.join();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // The next of the series, in order; throws what making it threw.
  T take() {
    if (helpers_.empty()) {  // the system gave no thread
      return make_(taken_++);
    }
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return made_.contains(taken_); });
    Made made = std::move(made_.extract(taken_).mapped());
    if (made.error) {
      std::rethrow_exception(made.error);
    }
    ++taken_;
    bytes_ -= made.bytes;
    lock.unlock();
    wake_.notify_all();
    return std::move(made.thing);
  }

 private:
  struct Made {
    T thing{};
    int64_t bytes = 0;
    std::exception_ptr error{};
  };

  bool may_claim() const {
    return claimed_ == taken_ || (claimed_ - taken_ < limits_.things && bytes_ < limits_.bytes);
  }

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return stop_ || may_claim(); });
      if (stop_) {
        return;
      }
      const int64_t number = claimed_++;
      lock.unlock();
      Made made;
      try {
        made.thing = make_(number);
        made.bytes = bytes_of_(made.thing);
      } catch (...) {
        made.error = std::current_exception();  // thrown when its turn comes
      }
      lock.lock();
      bytes_ += made.bytes;
      made_.emplace(number, std::move(made));
      ready_.notify_all();
    }
  }

  std::function<T(int64_t)> make_;
  std::function<int64_t(const T&)> bytes_of_;
  PrefetchLimits limits_;
  std::mutex mutex_;
  std::condition_variable wake_, ready_;
  std::map<int64_t, Made> made_;
  int64_t claimed_, taken_;  // the next to make, the next to take
  int64_t bytes_ = 0;
  bool stop_ = false;
  Helpers helpers_;
};

}  // namespace sft
