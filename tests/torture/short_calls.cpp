// A library that the torture's runs are started with (LD_PRELOAD): the k-th read or write of a file
// moves less than it was asked to, as the kernel may; strace can only pretend so. SHORT_CALL is
// "write:7" or, from then on, "write:7+"; SHORT_CALL_COUNTS names a file that is told how many
// there were.
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

struct Plan {
  std::string call;
  long at = 0;
  bool on = false;
  std::atomic<long> reads{0}, writes{0};
  Plan() {
    const char* text = std::getenv("SHORT_CALL");
    if (const char* colon = text == nullptr ? nullptr : std::strchr(text, ':')) {
      call.assign(text, colon);
      at = std::atol(colon + 1);
      on = text[std::strlen(text) - 1] == '+';
    }
  }
  ~Plan() {
    if (const char* file = std::getenv("SHORT_CALL_COUNTS")) {
      if (FILE* out = std::fopen(file, "w")) {
        std::fprintf(out, "read %ld\nwrite %ld\n", reads.load(), writes.load());
        std::fclose(out);
      }
    }
  }
};

// How many of `count` bytes this call is to move.
size_t shortened(const char* call, int fd, size_t count) {
  static Plan plan;
  struct stat about{};
  if (count < 2 || ::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
    return count;
  }
  const long now = ++(*call == 'r' ? plan.reads : plan.writes);
  if (plan.call != call) {
    return count;
  }
  return now == plan.at || (plan.on && now > plan.at) ? count / 2 : count;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t count) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  return real(fd, data, shortened("write", fd, count));
}

ssize_t read(int fd, void* data, size_t count) {
  static const auto real = next<ssize_t (*)(int, void*, size_t)>("read");
  return real(fd, data, shortened("read", fd, count));
}

ssize_t pread64(int fd, void* data, size_t count, off64_t at) {
  static const auto real = next<ssize_t (*)(int, void*, size_t, off64_t)>("pread64");
  return real(fd, data, shortened("read", fd, count), at);
}

ssize_t pread(int fd, void* data, size_t count, off_t at) { return pread64(fd, data, count, at); }

ssize_t pwrite64(int fd, const void* data, size_t count, off64_t at) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64");
  return real(fd, data, shortened("write", fd, count), at);
}

ssize_t pwrite(int fd, const void* data, size_t count, off_t at) {
  return pwrite64(fd, data, count, at);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  static const auto real = next<ssize_t (*)(int, const iovec*, int)>("writev");
  size_t all = 0;
  for (int i = 0; i < count; ++i) {
    all += parts[i].iov_len;
  }
  if (shortened("write", fd, all) == all) {
    return real(fd, parts, count);
  }
  return real(fd, parts, 1);  // the first piece alone
}

}  // extern "C"
