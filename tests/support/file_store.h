// The store of ranks in a folder that all of them see, for tests of processes without a control
// plane.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <thread>

#include "control/store.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"

namespace sft::testing {

class FileStore final : public Store {
 public:
  explicit FileStore(fs::path folder) : folder_(std::move(folder)) {
    fs::create_directories(folder_);
  }

  // A reader never sees a part.
  void set(const std::string& key, std::string_view value) override {
    write_text(folder_ / file_of(key), value, Writers::many);
  }

  std::string get(const std::string& key, std::chrono::milliseconds timeout) override {
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (true) {
      if (is_there(folder_ / file_of(key))) {
        return read_text(folder_ / file_of(key));
      }
      if (std::chrono::steady_clock::now() >= end) {
        throw Error("N020", fmt::format("no rank has set \"{}\" within {} s", key,
                                        static_cast<double>(timeout.count()) / 1000.0));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

 private:
  static std::string file_of(std::string key) {
    for (char& c : key) {
      c = c == '/' ? '_' : c;
    }
    return key;
  }

  fs::path folder_;
};

}  // namespace sft::testing
