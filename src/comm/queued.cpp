#include "comm/queued.h"

#include <utility>

#include "control/operations.h"
#include "control/socket.h"
#include "core/threads.h"

namespace sft {

namespace {

size_t bytes_of(int64_t floats) { return static_cast<size_t>(floats) * sizeof(float); }

}  // namespace

Communicator::Ticket QueuedCommunicator::begin(const char* name, size_t bytes,
                                               std::function<void()> run) {
  const std::lock_guard lock(mutex_);
  if (failure_) {
    std::rethrow_exception(failure_);
  }
  if (!thread_.joinable()) {
    thread_ = start_thread("what ranks exchange", [this] { serve(); });
  }
  queue_.push_back({name, bytes, std::move(run)});
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
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr failure;
    try {
      run(work.name, work.bytes, work.run);
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
void QueuedCommunicator::now(const char* name, size_t bytes, const std::function<void()>& work) {
  Ticket before = 0;
  {
    const std::lock_guard lock(mutex_);
    before = begun_;
  }
  wait(before);
  run(name, bytes, work);
}

// One that fails stays the rank's operation: it is what others should hear of.
void QueuedCommunicator::run(const char* name, size_t bytes, const std::function<void()>& work) {
  if (OperationLane* lane = this->lane(); lane != nullptr) {
    lane->begin(name, static_cast<int64_t>(bytes), control::steady_now());
    work();
    lane->end(control::steady_now());
  } else {
    work();
  }
}

void QueuedCommunicator::all_reduce(std::span<float> data) {
  now("all-reduce", data.size_bytes(), [&] { reduce(data); });
}
void QueuedCommunicator::all_reduce(std::span<double> data) {
  now("all-reduce", data.size_bytes(), [&] { reduce(data); });
}
void QueuedCommunicator::broadcast(std::span<std::byte> data) {
  now("broadcast", data.size(), [&] { give(data); });
}
void QueuedCommunicator::barrier() {
  now("barrier", 0, [&] { meet(); });
}

Communicator::Ticket QueuedCommunicator::begin_reduce_scatter(const float* full, float* slice,
                                                              int64_t n, bool accumulate) {
  return begin("reduce-scatter", bytes_of(n) * static_cast<size_t>(size()),
               [=, this] { reduce_scatter(full, slice, n, accumulate); });
}

Communicator::Ticket QueuedCommunicator::begin_all_gather(const void* slice, void* full,
                                                          size_t bytes) {
  return begin("all-gather", bytes * static_cast<size_t>(size()), [=, this] {
    all_gather(static_cast<const std::byte*>(slice), static_cast<std::byte*>(full), bytes);
  });
}

Communicator::Ticket QueuedCommunicator::begin_all_reduce(float* data, int64_t n) {
  return begin("all-reduce", bytes_of(n),
               [=, this] { reduce(std::span(data, static_cast<size_t>(n))); });
}

}  // namespace sft
