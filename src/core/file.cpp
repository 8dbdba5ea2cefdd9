#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "core/error.h"
#include "core/fd.h"

namespace sft {

namespace {

// A file, and what it is.
struct Opened {
  Fd file;
  struct stat info;
};

// Without waiting for somebody who writes into a pipe. Folders are refused.
Opened open_for_reading(const fs::path& path) {
  Opened opened{open_file(path, O_RDONLY | O_NONBLOCK), {}};
  if (!opened.file || ::fstat(opened.file.get(), &opened.info) != 0) {
    fail_read(path);
  }
  if (S_ISDIR(opened.info.st_mode)) {
    errno = EISDIR;
    fail_read(path);
  }
  return opened;
}

[[noreturn]] void fail_look(const fs::path& path, const std::error_code& reason) {
  throw Error("M001", fmt::format("cannot read {}: {}", path.string(), reason.message()));
}

bool means_none(const std::error_code& reason) {
  return reason == std::errc::no_such_file_or_directory || reason == std::errc::not_a_directory ||
         reason == std::errc::filename_too_long ||
         reason == std::errc::too_many_symbolic_link_levels;
}

}  // namespace

void fail_read(const fs::path& path) {
  const int reason = errno;
  throw Error("M001", fmt::format("cannot read {}: {}", path.string(), std::strerror(reason)));
}

PathKind kind_of(const fs::path& path) {
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  if (failed && !means_none(failed) && !fs::status_known(status)) {
    fail_look(path, failed);
  }
  switch (status.type()) {
    case fs::file_type::none:
    case fs::file_type::not_found:
      return PathKind::none;
    case fs::file_type::regular:
      return PathKind::file;
    case fs::file_type::directory:
      return PathKind::folder;
    default:
      return PathKind::other;
  }
}

std::vector<fs::path> paths_in(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failed;
  fs::directory_iterator entry(folder, failed);
  for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    paths.push_back(entry->path());
  }
  if (failed && !means_none(failed)) {
    fail_look(folder, failed);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

const char* name_of_mode(unsigned mode) {
  return S_ISFIFO(mode)                   ? "a pipe"
         : S_ISSOCK(mode)                 ? "a socket"
         : S_ISDIR(mode)                  ? "a folder"
         : S_ISLNK(mode)                  ? "a link"
         : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                                          : "a file";
}

namespace {

// Waits until there is something to read from a pipe. Returns whether there is, or its end.
bool pipe_speaks(int fd, int milliseconds) {
  pollfd watched{fd, POLLIN, 0};
  return uninterrupted([&] { return ::poll(&watched, 1, milliseconds); }) > 0;
}

// All that comes, to the end. Files are read rather than mapped: those of /proc have no size.
std::string read_to_end(int fd, const fs::path& path, bool pipe) {
  constexpr int kForWriter = 1000, kForMore = 10'000;  // milliseconds
  std::string text;
  bool spoke = false;
  for (size_t used = 0;;) {
    text.resize(std::max<size_t>(used * 2, 4096));
    const ssize_t n = ::read(fd, text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    const bool nobody_yet = n == 0 && pipe && !spoke;
    if (nobody_yet || (n < 0 && pipe && errno == EAGAIN)) {
      spoke = pipe_speaks(fd, nobody_yet ? kForWriter : kForMore);
      if (spoke) {
        continue;
      }
      throw Error("M001", fmt::format("cannot read {}: it is a pipe, and nobody writes into it",
                                      path.string()))
          .hint("give a file");
    }
    if (n < 0) {
      fail_read(path);
    }
    used += static_cast<size_t>(n);
    if (n == 0) {
      text.resize(used);
      return text;
    }
  }
}

}  // namespace

std::string read_text(const fs::path& path) {
  const auto [file, info] = open_for_reading(path);
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
    throw Error("M001", fmt::format("cannot read {}: it is {}, not a file", path.string(),
                                    name_of_mode(info.st_mode)))
        .hint("give a file");
  }
  return read_to_end(file.get(), path, S_ISFIFO(info.st_mode));
}

std::string read_standard_input() { return read_to_end(STDIN_FILENO, "standard input", false); }

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const auto [file, info] = open_for_reading(path);
  if (!S_ISREG(info.st_mode)) {
    throw Error("M001", fmt::format("cannot read {}: it is not a regular file but {}",
                                    path.string(), name_of_mode(info.st_mode)))
        .hint("a pipe or a device cannot be mapped: write its contents to a file first");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (p == MAP_FAILED) {
      fail_read(path);
    }
    data_ = static_cast<const std::byte*>(p);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(other.data_), size_(other.size_) {
  other.data_ = nullptr;
  other.size_ = 0;
}

void read_pieces(const fs::path& path, ReadFrom from, uint64_t begin, uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& take) {
  constexpr size_t kPiece = size_t{8} << 20;
  constexpr size_t kBlock = 4096;  // what reads past the cache must be multiples of
  Fd file;
  bool direct = from == ReadFrom::disk && begin % kBlock == 0;
  if (direct) {
    file = open_file(path, O_RDONLY | O_DIRECT);
    direct = static_cast<bool>(file);  // not every file system can
  }
  if (!file) {
    file = open_for_reading(path).file;
  }
  const auto through_the_cache = [&] {
    ::fcntl(file.get(), F_SETFL, ::fcntl(file.get(), F_GETFL) & ~O_DIRECT);
    if (from == ReadFrom::disk) {
      ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);  // drops what is clean in it
    }
    direct = false;
  };
  if (!direct) {
    through_the_cache();
  }
  const std::unique_ptr<std::byte, void (*)(void*)> piece(
      static_cast<std::byte*>(std::aligned_alloc(kBlock, kPiece)), std::free);
  if (piece == nullptr) {
    throw std::bad_alloc();
  }
  while (begin < end) {
    const size_t wanted = direct ? kPiece : std::min<uint64_t>(kPiece, end - begin);
    const ssize_t n = uninterrupted(
        [&] { return ::pread(file.get(), piece.get(), wanted, static_cast<off64_t>(begin)); });
    if (n < 0 && direct && errno == EINVAL) {
      through_the_cache();
      continue;
    }
    if (n < 0) {
      fail_read(path);
    }
    if (n == 0) {
      break;
    }
    const auto got = std::min<uint64_t>(static_cast<uint64_t>(n), end - begin);
    take({piece.get(), static_cast<size_t>(got)});
    begin += got;
    if (direct && got % kBlock != 0) {  // the end of the file, or of what can be read so
      through_the_cache();
    }
  }
}

}  // namespace sft
