// What the readers of a model's files will make of them. cli/check.cpp shows it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "run/check/finding.h"

namespace sft {

struct CheckResult {
  std::vector<Finding> findings;  // the worst first
  std::vector<Reader> readers;    // of this kind of file
  bool looked_inside = false;     // at every weight

  Effect on(Reader reader) const;
};

// Of a model's folder, an adapter's, or a .gguf file. C241 for anything else. `look_inside`: also
// at every value of the weights, for those that are no numbers.
CheckResult check_model(const std::filesystem::path& path, bool look_inside);

// Makes the changes that the program can make, file by file -> the files that were changed.
std::vector<std::string> fix_model(const std::filesystem::path& folder,
                                   const std::vector<Finding>& findings);

Json to_json(const CheckResult& result, const std::string& path);

}  // namespace sft
