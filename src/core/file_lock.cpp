#include "core/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"

namespace sft {

namespace {

// Whoever held the lock may have removed the file; then a lock on it guards nothing.
bool is_at(const Fd& file, const fs::path& path) {
  struct stat mine{}, named{};
  return ::fstat(file.get(), &mine) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

}  // namespace

bool lock_now(const Fd& file) {
  return uninterrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) == 0;
}

FileLock::State FileLock::try_at(const fs::path& path) {
  while (true) {
    file_ = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK);
    if (!file_) {
      return State::no_file;
    }
    if (!lock_now(file_)) {
      return errno == EWOULDBLOCK ? State::busy : State::unsupported;
    }
    if (is_at(file_, path)) {
      return State::held;
    }
  }
}

FileLock::State FileLock::wait_at(const fs::path& path,
                                  const std::function<void(double waited)>& on_wait) {
  constexpr auto kBetween = std::chrono::milliseconds(100);
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  State state = try_at(path);
  for (std::chrono::duration<double> waited{}; state == State::busy; waited += kBetween) {
    on_wait(waited.count());
    std::this_thread::sleep_for(kBetween);
    state = try_at(path);
  }
  return state;
}

FileTurn::FileTurn(const Fd& file) : file_(file) {
  uninterrupted([&] { return ::flock(file.get(), LOCK_EX); });
}

FileTurn::~FileTurn() { ::flock(file_.get(), LOCK_UN); }

FolderLock::FolderLock(const fs::path& folder, const std::string& owner)
    : path_(folder / ".sft.lock") {
  const FileLock::State state = lock_.try_at(path_);
  if (state == FileLock::State::no_file) {
    errno == ELOOP ? fail_taken(path_, "a link") : fail_write(path_);
  }
  const int file = lock_.file().get();
  struct stat info{};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink > 1) {
    fail_taken(path_, S_ISREG(info.st_mode) ? "a link" : name_of_mode(info.st_mode));
  }
  if (state == FileLock::State::busy) {
    std::array<char, 256> text{};
    const ssize_t n = ::pread(file, text.data(), text.size() - 1, 0);
    throw Error("S040", fmt::format("another run writes to {}{}", folder.string(),
                                    n > 0 ? fmt::format(": {}", text.data()) : ""))
        .hint("wait for it, stop it, or choose another --output_dir");
  }
  held_ = state == FileLock::State::held;
  if (held_ && ::ftruncate(file, 0) == 0) {
    write_all_at(file, owner, 0);  // only words for the other run
  }
}

FolderLock::~FolderLock() {
  if (held_) {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
}

}  // namespace sft
