#include "report/history/run_follower.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "core/error.h"
#include "core/fd.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/numbers.h"

namespace sft {

namespace {

constexpr const char* kMetrics = "metrics.jsonl";
constexpr const char* kState = "trainer_state.json";
constexpr size_t kRoom = 64;  // that may be read behind a line

// Where TRL has left its log: in the folder itself, or in its newest checkpoint.
fs::path state_in(const fs::path& folder) {
  if (is_file(folder / kState)) {
    return folder / kState;
  }
  int64_t newest = -1;
  fs::path found;
  for (const fs::path& path : paths_in(folder)) {
    const std::string name = path.filename().string();
    constexpr std::string_view kCheckpoint = "checkpoint-";
    if (!name.starts_with(kCheckpoint)) {
      continue;
    }
    const auto step = whole_number(std::string_view(name).substr(kCheckpoint.size()), 0);
    if (step && *step > newest && is_file(path / kState)) {
      newest = *step;
      found = path / kState;
    }
  }
  return found;
}

}  // namespace

bool is_run_folder(const fs::path& folder) {
  return is_folder(folder) && (is_file(folder / kMetrics) || !state_in(folder).empty());
}

bool RunFollower::poll(size_t most) {
  const fs::path path = folder_ / kMetrics;
  const Fd file = open_file(path, O_RDONLY | O_NONBLOCK);
  if (!file) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return poll_state();
    }
    fail_read(path);
  }
  struct stat about{};
  if (::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) {
    errno = EINVAL;
    fail_read(path);
  }
  if (from_state_ || about.st_ino != inode_ || about.st_size < offset_) {
    history_ = RunHistory();
    offset_ = seen_ = 0;
    overlong_ = from_state_ = more_ = false;
    inode_ = about.st_ino;
  }
  size_ = about.st_size;
  if (size_ == offset_ || (size_ == seen_ && !more_)) {
    return false;
  }
  seen_ = size_;
  const auto wanted = static_cast<size_t>(std::min(size_ - offset_, static_cast<int64_t>(most)));
  more_ = offset_ + static_cast<int64_t>(wanted) < size_;
  std::string text(wanted + kRoom, '\0');
  const ssize_t got =
      uninterrupted([&] { return ::pread(file.get(), text.data(), wanted, offset_); });
  if (got < 0) {
    fail_read(path);
  }
  const std::string_view all(text.data(), static_cast<size_t>(got));
  size_t begin = 0;
  for (size_t end = all.find('\n'); end != std::string_view::npos; end = all.find('\n', begin)) {
    if (overlong_) {
      history_.add("a line too long");
    } else {
      history_.add(all.substr(begin, end - begin), kRoom);
    }
    overlong_ = false;
    begin = end + 1;
  }
  if (begin == 0 && more_) {
    overlong_ = true;  // a line of `most` bytes is none of ours
    begin = all.size();
  }
  offset_ += static_cast<int64_t>(begin);
  history_.settle();
  return begin > 0;
}

void RunFollower::read_all() {
  while (poll() || (more_ && !from_state_)) {
  }
}

bool RunFollower::poll_state() {
  const fs::path file = state_in(folder_);
  if (file.empty()) {
    return false;
  }
  std::error_code ignored;
  const auto time = fs::last_write_time(file, ignored);
  if (from_state_ && file == state_file_ && time == state_time_) {
    return false;
  }
  const Json state = json_of(read_text(file));
  from_state_ = true;
  state_file_ = file;
  state_time_ = time;
  history_ = RunHistory();
  if (state.is_object()) {
    history_.add_trainer_state(state);
  } else {
    history_.add("not a trainer_state.json");
  }
  return true;
}

}  // namespace sft
