#include "train/step_times.h"

#include <algorithm>
#include <utility>

namespace sft {

StepTimes::Span::~Span() {
  times_.now_.between.*activity_ += std::chrono::duration<double>(Clock::now() - start_).count();
}

void StepTimes::batches_begin() {
  if (running_) {
    now_.begin = device_.mark();
  }
}

void StepTimes::batches_end() {
  if (running_) {
    now_.end = device_.mark();
  }
}

// Between two steps the device has waited for the host. Where the host did things while the device
// was still busy, the gap is shorter than what they took together.
void StepTimes::count_gap(double seconds, const TimeLog& host) {
  const double known = host.data + host.comm + host.eval + host.save;
  const double share = known > seconds ? std::max(seconds, 0.0) / known : 1.0;
  sums_.data += host.data * share;
  sums_.comm += host.comm * share;
  sums_.eval += host.eval * share;
  sums_.save += host.save * share;
  sums_.host += std::max(0.0, seconds - known);
}

void StepTimes::waited() {
  if (!running_ || now_.begin < 0) {
    return;
  }
  if (has_last_) {
    const double batches = last_.computed + device_.seconds_between(last_.begin, last_.end);
    const double copies = std::min(last_.copies, batches);
    sums_.copy += copies;
    sums_.fwd_bwd += batches - copies;
    sums_.comm += device_.seconds_between(last_.end, last_.ready);
    sums_.opt += device_.seconds_between(last_.ready, last_.updated);
    count_gap(device_.seconds_between(last_.updated, now_.begin), now_.between);
    sums_.steps += 1;
  }
  has_last_ = false;
  constexpr int kSteps = 64;  // marks are kept no longer
  if (++steps_with_marks_ >= kSteps) {
    now_.computed = device_.seconds_between(now_.begin, now_.end);
    device_.forget_marks();
    now_.begin = now_.end = device_.mark();
    steps_with_marks_ = 0;
  }
}

void StepTimes::gradients_ready() {
  if (running_) {
    now_.ready = device_.mark();
  }
}

void StepTimes::updated() {
  if (running_ && now_.begin >= 0) {
    now_.updated = device_.mark();
    last_ = now_;
    has_last_ = true;
  }
  now_ = Step();
}

TimeLog StepTimes::take() { return std::exchange(sums_, TimeLog()); }

void StepTimes::resume() {
  running_ = true;
  has_last_ = false;
  now_ = Step();
  steps_with_marks_ = 0;
}

}  // namespace sft
