// What a rank is at: the operations that its communicators work on, its step, and when it last got
// further. Communicators and the trainer write it, a few atomic stores each; the rank's heartbeat
// reads it once a second, and only then makes a sentence of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>

#include "control/wire.h"

namespace sft {

// The operations of one communicator, one after the other. One thread writes.
class OperationLane {
 public:
  // `name` must live as long as the program: "all-reduce".
  void begin(const char* name, int64_t bytes, control::Time now) {
    at(begun() + 1, true, name, bytes, now);
  }
  void end(control::Time now) { at(begun(), false, nullptr, 0, now); }
  // For who learns of it later: operation `number` is the oldest that has not ended, since `since`;
  // or all up to it have ended.
  void at(int64_t number, bool busy, const char* name, int64_t bytes, control::Time since) {
    since_.store(since, std::memory_order_relaxed);
    name_.store(name, std::memory_order_relaxed);
    bytes_.store(bytes, std::memory_order_relaxed);
    state_.store(2 * number - (busy ? 1 : 0), std::memory_order_release);
  }

 private:
  friend class Operations;
  int64_t begun() const { return (state_.load(std::memory_order_relaxed) + 1) / 2; }

  std::atomic<int64_t> state_ = 0;  // odd while in an operation
  std::atomic<control::Time> since_ = 0;
  std::atomic<const char*> name_ = nullptr;
  std::atomic<int64_t> bytes_ = 0;
};

class Operations {
 public:
  struct View {
    int64_t begun = 0;
    bool busy = false;
    bool steps = false;       // computes a training step, which does not take for ever
    control::Time since = 0;  // of the oldest operation under way; else of the last sign of life
    std::string text;         // "all-reduce of 12 MB at step 7"; "at step 7"; ""
  };

  // Lives as long as this object.
  OperationLane& open_lane();
  // The rank is at work on `step` (from 1; 0: on something of unknown length), and has got further.
  void progress(int64_t step, control::Time now) {
    step_.store(step, std::memory_order_relaxed);
    progressed_.store(now, std::memory_order_relaxed);
  }
  // An operation that is told by its name, beside the lanes'.
  void begin(std::string name, control::Time now);
  void end(control::Time now);

  View view() const;

 private:
  mutable std::mutex mutex_;
  std::deque<OperationLane> lanes_;
  View named_;
  std::atomic<int64_t> step_ = -1;
  std::atomic<control::Time> progressed_ = 0;
};

}  // namespace sft
