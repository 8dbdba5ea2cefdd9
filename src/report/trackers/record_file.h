// A file that trackers append whole records to. Each append is one write, so that readers that
// follow the file see whole records, but for the last one after a crash.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/fd.h"

namespace sft {

class RecordFile {
 public:
  // Makes the file and its folder; S001 when it exists already or cannot be made.
  explicit RecordFile(const std::filesystem::path& path);

  void append(std::string_view bytes);  // S001
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  Fd file_;
};

}  // namespace sft
