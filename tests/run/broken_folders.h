// Models' folders with one fault each, made of a sound one. Used by check_test and, to see what
// transformers does with them, by tests/peers/check.py.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sft::testing {

struct Fault {
  std::string name;  // the finding that it is
  void (*make)(const std::filesystem::path& folder);
};

// Of a folder that sft saved.
const std::vector<Fault>& faults();

// Copies `sound` to `folder`/NAME for each fault, and makes it.
void make_broken_folders(const std::filesystem::path& sound, const std::filesystem::path& folder);

}  // namespace sft::testing
