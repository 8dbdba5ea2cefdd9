#include "control/operations.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/strings.h"

namespace sft {

OperationLane& Operations::open_lane() {
  const std::lock_guard lock(mutex_);
  return lanes_.emplace_back();
}

void Operations::begin(std::string name, control::Time now) {
  const std::lock_guard lock(mutex_);
  named_.begun += 1;
  named_.busy = true;
  named_.since = now;
  named_.text = std::move(name);
}

void Operations::end(control::Time now) {
  const std::lock_guard lock(mutex_);
  named_.busy = false;
  named_.since = now;
}

Operations::View Operations::view() const {
  const std::lock_guard lock(mutex_);
  View all;
  control::Time last = std::max(progressed_.load(std::memory_order_relaxed), named_.since);
  const auto add = [&](int64_t begun, bool busy, control::Time since) {
    all.begun += begun;
    last = std::max(last, since);
    const bool oldest = busy && (!all.busy || since < all.since);
    if (oldest) {
      all.busy = true;
      all.since = since;
    }
    return oldest;
  };
  if (add(named_.begun, named_.busy, named_.since)) {
    all.text = named_.text;
  }
  for (const OperationLane& lane : lanes_) {
    const int64_t state = lane.state_.load(std::memory_order_acquire);
    if (add((state + 1) / 2, state % 2 != 0, lane.since_.load(std::memory_order_relaxed))) {
      const char* name = lane.name_.load(std::memory_order_relaxed);
      const int64_t bytes = lane.bytes_.load(std::memory_order_relaxed);
      all.text = name == nullptr ? "an operation" : name;
      if (bytes > 0) {
        all.text += fmt::format(" of {}", human_bytes(static_cast<double>(bytes)));
      }
    }
  }
  if (!all.busy) {
    all.since = last;
  }
  if (const int64_t step = step_.load(std::memory_order_relaxed); step > 0) {
    all.steps = !all.busy;
    all.text += fmt::format("{}at step {}", all.text.empty() ? "" : " ", step);
  }
  return all;
}

}  // namespace sft
