#include "core/fd.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>

namespace sft {

namespace {

constexpr size_t kAtATime = size_t{1} << 30;  // Linux takes no more than 2 GiB in one call

template <class Write>
size_t repeat(int fd, size_t bytes, const Write& write) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = uninterrupted([&] { return write(done, std::min(bytes - done, kAtATime)); });
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      pollfd room{fd, POLLOUT, 0};
      ::poll(&room, 1, -1);
    } else {
      break;
    }
  }
  return done;
}

}  // namespace

Fd open_file(const std::filesystem::path& path, int flags, unsigned mode) {
  return Fd(uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }));
}

size_t write_all(int fd, std::string_view bytes) {
  return repeat(fd, bytes.size(),
                [&](size_t at, size_t n) { return ::write(fd, bytes.data() + at, n); });
}

size_t write_all_at(int fd, std::string_view bytes, int64_t offset) {
  return repeat(fd, bytes.size(), [&](size_t at, size_t n) {
    return ::pwrite(fd, bytes.data() + at, n, offset + static_cast<int64_t>(at));
  });
}

}  // namespace sft
