// What communicators of ranks that compute on CPUs have in common: a thread of the rank's own that
// does what was begun, in order, beside the compute. An implementation says how each operation is
// done.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace sft {

class QueuedCommunicator : public Communicator {
 public:
  void all_reduce(std::span<float> data) final;
  void all_reduce(std::span<double> data) final;
  void broadcast(std::span<std::byte> data) final;
  void barrier() final;
  Ticket begin_reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate) final;
  Ticket begin_all_gather(const void* slice, void* full, size_t bytes) final;
  Ticket begin_all_reduce(float* data, int64_t n) final;
  void wait(Ticket ticket) final;

 protected:
  // Called one at a time, in the order of the calls above.
  virtual void reduce(std::span<float> data) = 0;
  virtual void reduce(std::span<double> data) = 0;
  virtual void give(std::span<std::byte> data) = 0;
  virtual void meet() = 0;
  virtual void reduce_scatter(const float* full, float* slice, int64_t n, bool accumulate) = 0;
  virtual void all_gather(const std::byte* slice, std::byte* full, size_t bytes) = 0;

  // Ends the thread; what is under way must have been broken off. Destructors call it first.
  void stop();
  // Runs `work` after everything begun so far, and returns when it is done. `name` is a literal.
  void now(const char* name, size_t bytes, const std::function<void()>& work);

 private:
  struct Work {
    const char* name;
    size_t bytes;
    std::function<void()> run;
  };
  Ticket begin(const char* name, size_t bytes, std::function<void()> run);
  void serve();
  void run(const char* name, size_t bytes, const std::function<void()>& work);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  Ticket begun_ = 0, done_ = 0;
  std::exception_ptr failure_;
  bool ending_ = false;
  std::thread thread_;
};

// to[i] (+)= ((x0[i] + x1[i]) + x2[i]) ..., n elements; `to` may be one of `sources`.
template <class T>
void sum_in_order(std::span<const T* const> sources, T* to, int64_t n, bool accumulate) {
  constexpr int64_t kPiece = 2048;
  T total[kPiece];
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t m = std::min(kPiece, n - at);
    std::copy_n(sources[0] + at, m, total);
    for (size_t k = 1; k < sources.size(); ++k) {
      const T* x = sources[k] + at;
      for (int64_t i = 0; i < m; ++i) {
        total[i] += x[i];
      }
    }
    for (int64_t i = 0; i < m; ++i) {
      to[at + i] = accumulate ? to[at + i] + total[i] : total[i];
    }
  }
}

}  // namespace sft
