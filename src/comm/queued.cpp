#include "comm/queued.h"

#include <utility>

namespace sft {

Communicator::Ticket QueuedCommunicator::begin(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (failure_) {
    std::rethrow_exception(failure_);
  }
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { serve(); });
  }
  queue_.push_back(std::move(work));
  changed_.notify_all();
  return ++begun_;
}

void QueuedCommunicator::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (ending_) {
      return;
    }
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    ++done_;
    if (failure) {  // what was begun behind it cannot be done any more
      failure_ = failure;
      done_ += std::exchange(queue_, {}).size();
    }
    changed_.notify_all();
  }
}

void QueuedCommunicator::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= ticket; });
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

void QueuedCommunicator::stop() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

// On the caller's own thread: there is nothing to do beside it.
void QueuedCommunicator::now(const std::function<void()>& work) {
  Ticket before = 0;
  {
    const std::lock_guard lock(mutex_);
    before = begun_;
  }
  wait(before);
  work();
}

void QueuedCommunicator::all_reduce(std::span<float> data) {
  now([&] { reduce(data); });
}
void QueuedCommunicator::all_reduce(std::span<double> data) {
  now([&] { reduce(data); });
}
void QueuedCommunicator::broadcast(std::span<std::byte> data) {
  now([&] { give(data); });
}
void QueuedCommunicator::barrier() {
  now([&] { meet(); });
}

Communicator::Ticket QueuedCommunicator::begin_reduce_scatter(const float* full, float* slice,
                                                              int64_t n, bool accumulate) {
  return begin([=, this] { reduce_scatter(full, slice, n, accumulate); });
}

Communicator::Ticket QueuedCommunicator::begin_all_gather(const void* slice, void* full,
                                                          size_t bytes) {
  return begin([=, this] {
    all_gather(static_cast<const std::byte*>(slice), static_cast<std::byte*>(full), bytes);
  });
}

Communicator::Ticket QueuedCommunicator::begin_all_reduce(float* data, int64_t n) {
  return begin([=, this] { reduce(std::span(data, static_cast<size_t>(n))); });
}

}  // namespace sft
