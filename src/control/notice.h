// Says that something lasts, after 4 s and then ever more seldom, until it goes. Used where a call
// into a library blocks.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace sft {

using Say = std::function<void(const std::string&)>;

class Notice {
 public:
  // `say` is called from a thread of its own with "waiting for `what`: 4 s so far".
  Notice(std::string what, Say say);
  ~Notice();
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace sft
