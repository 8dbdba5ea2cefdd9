// Where the time of training goes: what the device does by marks on its own clock, so that nobody
// waits for it, and what happens between its steps by the host's. The activities' seconds add up to
// the time between the first step and the last. Used by the trainer.
#pragma once

#include <chrono>

#include "device/device.h"
#include "report/run_log.h"

namespace sft {

class StepTimes {
 public:
  explicit StepTimes(Device& device) : device_(device) {}

  // Points of a step, in this order.
  void batches_begin();
  void batches_end();
  void waited();  // the host has waited for the batches: all before them is over too
  void gradients_ready();
  void updated();

  // Host seconds between two steps, from construction to the end of the scope.
  class Span {
   public:
    Span(StepTimes& times, double TimeLog::* activity)
        : times_(times), activity_(activity), start_(Clock::now()) {}
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    using Clock = std::chrono::steady_clock;
    StepTimes& times_;
    double TimeLog::* activity_;
    Clock::time_point start_;
  };
  // Seconds of this step's batches in which their tokens went to the device.
  void copied(double seconds) { now_.copies += seconds; }

  // What was counted since the last call: of steps that are over on the device, too.
  TimeLog take();
  // Somebody else makes and forgets marks until `resume`; such steps are not counted.
  void pause() { running_ = false; }
  void resume();

 private:
  struct Step {
    int begin = -1, end = -1, ready = -1, updated = -1;  // marks
    double computed = 0;  // seconds of the batches that were counted before their marks went
    double copies = 0;
    TimeLog between;  // host seconds since the step before
  };
  void count_gap(double seconds, const TimeLog& host);

  Device& device_;
  bool running_ = true;
  bool has_last_ = false;
  Step last_, now_;
  TimeLog sums_;
  int steps_with_marks_ = 0;
};

}  // namespace sft
