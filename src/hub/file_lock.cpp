#include "hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>

namespace sft {

namespace {

// Whoever held the lock may have removed the file; then this lock guards nothing.
bool still_there(int fd, const std::filesystem::path& path) {
  struct stat mine{}, named{};
  return ::fstat(fd, &mine) == 0 && ::stat(path.c_str(), &named) == 0 &&
         mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path,
                   const std::function<void(double waited)>& on_wait) {
  std::error_code ignored;
  std::filesystem::create_directories(path.parent_path(), ignored);
  double waited = 0;
  while (true) {
    if (fd_ < 0) {
      fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    }
    if (fd_ < 0) {
      return;
    }
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
      if (still_there(fd_, path)) {
        return;
      }
      ::close(fd_);
      fd_ = -1;
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return;
    }
    try {
      on_wait(waited);
    } catch (...) {
      ::close(fd_);
      throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    waited += 0.1;
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) {
    ::close(fd_);  // gives the lock back
  }
}

}  // namespace sft
