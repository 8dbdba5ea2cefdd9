// The few words that ranks exchange before they are connected: a map that all of them see. Used by
// the communicators of processes; a test puts it into a folder.
#pragma once

#include <chrono>
#include <memory>
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

// A folder that all ranks see, empty when the run begins.
std::unique_ptr<Store> file_store(const std::string& folder);

}  // namespace sft
