// Files that grow: metrics.jsonl, and the records of trackers.
#pragma once

#include <filesystem>
#include <string_view>

#include "core/fd.h"

namespace sft {

// Appends whole lines with one `write` each, so a reader never sees half a line (S001 on failure).
// Half a line that a crash has left is dropped. A file that was removed meanwhile, with its folder
// perhaps, is begun anew. Links are not followed: S001 for a symbolic one, and a file that has a
// second name is copied first.
class LineAppender {
 public:
  explicit LineAppender(const std::filesystem::path& path);
  void append(std::string_view line);  // the newline is added here

 private:
  void open();
  void drop_half_line() const;

  std::filesystem::path path_;
  Fd file_;
};

}  // namespace sft
