// When to say again what is waited for: soon at first, then ever more seldom. Used by the state
// machines of the control plane.
#pragma once

#include <algorithm>

#include "control/wire.h"

namespace sft::control {

class Reminder {
 public:
  explicit Reminder(Time now) : next_(now + gap_) {}
  Time next() const { return next_; }
  bool due(Time now) {
    if (now < next_) {
      return false;
    }
    gap_ = std::min(3 * gap_, kLongest);
    next_ = now + gap_;
    return true;
  }

 private:
  static constexpr Time kLongest = 300 * kSecond;
  Time gap_ = 4 * kSecond;
  Time next_;
};

}  // namespace sft::control
