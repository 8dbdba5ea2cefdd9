// A run's folder while it grows: reads what has been appended to metrics.jsonl since the last look,
// from a byte offset on, so that it makes no difference who was away in between. Used by the page's
// server, the report and the commands that show a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "report/history/run_history.h"

namespace sft {

class RunFollower {
 public:
  // The output_dir of a run of sft, or of TRL (with trainer_state.json there or in checkpoints).
  explicit RunFollower(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Takes in at most `most` bytes of what is new; true where there was anything. A file that was
  // replaced or cut is read anew. M001 when it is there and cannot be read.
  bool poll(size_t most = size_t{16} << 20);
  // Until nothing is new.
  void read_all();

  const std::filesystem::path& folder() const { return folder_; }
  const RunHistory& history() const { return history_; }
  int64_t offset() const { return offset_; }  // bytes of metrics.jsonl that were taken in
  int64_t behind() const { return size_ - offset_; }
  bool has_more() const { return more_; }  // another poll takes in more at once
  bool made_by_trl() const { return from_state_; }

 private:
  bool poll_state();

  std::filesystem::path folder_;
  RunHistory history_;
  int64_t offset_ = 0;           // where the first line begins that was not taken in
  int64_t size_ = 0, seen_ = 0;  // of the file: now, and when it was read last
  bool more_ = false;            // there was more than was to be read at once
  uint64_t inode_ = 0;
  bool overlong_ = false;  // what comes until the next line end belongs to a line left out
  bool from_state_ = false;
  std::filesystem::path state_file_;
  std::filesystem::file_time_type state_time_{};
};

// Whether there is anything of a run in it.
bool is_run_folder(const std::filesystem::path& folder);

}  // namespace sft
