// The few words that ranks exchange before they are connected: a map that all of them see. Used by
// the communicators of processes.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace sft {

class Store {
 public:
  virtual ~Store() = default;
  virtual void set(const std::string& key, std::string_view value) = 0;
  // Waits until the key is there; N020 after `timeout`.
  virtual std::string get(const std::string& key, std::chrono::milliseconds timeout) = 0;
};

}  // namespace sft
