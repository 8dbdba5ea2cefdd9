#include "control/notice.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "control/reminder.h"
#include "control/socket.h"

namespace sft {

Notice::Notice(std::string what, Say say)
    : thread_([this, what = std::move(what), say = std::move(say)] {
        const control::Time begun = control::steady_now();
        control::Reminder reminder(begun);
        std::unique_lock lock(mutex_);
        while (!over_) {
          const std::chrono::microseconds wait(reminder.next() - control::steady_now());
          changed_.wait_for(lock, wait, [this] { return over_; });
          const control::Time now = control::steady_now();
          if (!over_ && reminder.due(now)) {
            say(fmt::format("waiting for {}: {} s so far", what, control::seconds(now - begun)));
          }
        }
      }) {}

Notice::~Notice() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace sft
