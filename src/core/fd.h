// File descriptors: closed with their owner, opened, read and written whatever signals come.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <utility>

namespace sft {

// Closes its descriptor when it goes. Move-only. Closing leaves errno as it was, so that a function
// may return and still say why.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

  void reset() {
    if (fd_ >= 0) {
      const int kept = errno;
      ::close(std::exchange(fd_, -1));  // an interrupted close has closed
      errno = kept;
    }
  }

 private:
  int fd_ = -1;
};

// A call again and again until no signal cuts it short.
template <class Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) {
    result = call();
  }
  return result;
}

// open(2) with O_CLOEXEC; none, and errno, where it fails.
Fd open_file(const std::filesystem::path& path, int flags, unsigned mode = 0666);

// Writes all bytes, and waits where a pipe is full. Returns how many were written: where it is less
// than all, errno says why.
size_t write_all(int fd, std::string_view bytes);
// The same at `offset` of a file.
size_t write_all_at(int fd, std::string_view bytes, int64_t offset);

}  // namespace sft
