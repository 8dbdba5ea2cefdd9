// What the tests of the hub share: a folder that goes away, the error that something throws.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "core/error.h"
#include "core/file.h"
#include "hub/fake_hub.h"
#include "support/errors.h"

namespace sft::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "sft_hub_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

// A proxy in the surroundings must not come between the tests and loopback.
inline void without_proxies() { ::setenv("no_proxy", "*", 1); }

}  // namespace sft::testing
