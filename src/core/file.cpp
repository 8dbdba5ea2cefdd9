#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "core/error.h"

namespace sft {

namespace {

[[noreturn]] void fail_read(const fs::path& path) {
  const int reason = errno;
  throw Error("M001", fmt::format("cannot read {}: {}", path.string(), std::strerror(reason)));
}

[[noreturn]] void close_and_fail(int fd, const fs::path& path) {
  const int reason = errno;
  ::close(fd);
  errno = reason;
  fail_read(path);
}

// A call again and again until no signal cuts it short.
template <class Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) {
    result = call();
  }
  return result;
}

// Without waiting for somebody who writes into a pipe.
int open_for_reading(const fs::path& path) {
  const int fd =
      uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
  if (fd < 0) {
    fail_read(path);
  }
  return fd;
}

[[noreturn]] void fail_write(const fs::path& path) {
  const int reason = errno;
  Error error("S001", fmt::format("cannot write {}: {}", path.string(), std::strerror(reason)));
  if (reason == ENOSPC || reason == EDQUOT) {
    error.hint("free some space, or choose another --output_dir; what was saved before is intact");
  } else if (reason == EACCES || reason == EROFS || reason == EPERM) {
    error.hint("choose an --output_dir that you may write to");
  }
  throw error;
}

[[noreturn]] void fail_taken(const fs::path& path, const char* by) {
  throw Error("S001", fmt::format("cannot write {}: {} has that name, and a file is wanted",
                                  path.string(), by))
      .hint("remove it, or choose another --output_dir");
}

// A temporary name is free again: what a killed run left there goes, and a link goes unfollowed.
void make_way(const fs::path& temporary) {
  struct stat info{};
  if (::lstat(temporary.c_str(), &info) != 0) {
    return;
  }
  if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
    fail_taken(temporary, name_of_mode(info.st_mode));
  }
  ::unlink(temporary.c_str());
}

void write_all(int fd, const void* data, size_t bytes, const fs::path& path) {
  const auto* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd, p, std::min<size_t>(bytes, size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      fail_write(path);
    }
    p += n;
    bytes -= static_cast<size_t>(n);
  }
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
  const int fd = open_for_reading(path);
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    close_and_fail(fd, path);
  }
  if (S_ISDIR(info.st_mode)) {
    errno = EISDIR;
    close_and_fail(fd, path);
  }
  struct Closing {
    int fd;
    ~Closing() { ::close(fd); }
  } const closing{fd};
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
    throw Error("M001", fmt::format("cannot read {}: it is {}, not a file", path.string(),
                                    name_of_mode(info.st_mode)))
        .hint("give a file");
  }
  return read_to_end(fd, path, S_ISFIFO(info.st_mode));
}

std::string read_standard_input() { return read_to_end(STDIN_FILENO, "standard input", false); }

void write_text(const fs::path& path, std::string_view text) {
  FileWriter writer(path);
  writer.write(text);
  writer.commit();
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int fd = open_for_reading(path);
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    close_and_fail(fd, path);
  }
  if (S_ISDIR(info.st_mode)) {
    errno = EISDIR;
    close_and_fail(fd, path);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    throw Error("M001", fmt::format("cannot read {}: it is not a regular file but {}",
                                    path.string(), name_of_mode(info.st_mode)))
        .hint("a pipe or a device cannot be mapped: write its contents to a file first");
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      close_and_fail(fd, path);
    }
    data_ = static_cast<const std::byte*>(p);
  }
  ::close(fd);
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

void check_place_for_file(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
    fail_taken(path, name_of_mode(info.st_mode));
  }
}

FileWriter::FileWriter(const fs::path& path) : path_(path), temporary_(path.string() + ".tmp") {
  check_place_for_file(path_);
  make_way(temporary_);
  fd_ = uninterrupted(
      [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (fd_ < 0) {
    fail_write(path_);
  }
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

// The system would begin to write out when it likes, or in `commit`: begun here, the disk is busy
// meanwhile and `commit` has little left to wait for.
void FileWriter::write(const void* data, size_t bytes) {
  constexpr uint64_t kAtATime = uint64_t{32} << 20;
  write_all(fd_, data, bytes, path_);
  written_ += bytes;
  if (written_ - begun_ >= kAtATime) {  // whether it could is what `commit` finds out
    ::sync_file_range(fd_, static_cast<off64_t>(begun_), static_cast<off64_t>(written_ - begun_),
                      SYNC_FILE_RANGE_WRITE);
    begun_ = written_;
  }
}

void FileWriter::commit() {
  if (uninterrupted([&] { return ::fsync(fd_); }) != 0) {
    fail_write(path_);
  }
  const int fd = fd_;
  fd_ = -1;
  // An interrupted close has closed.
  if ((::close(fd) != 0 && errno != EINTR) || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    errno = reason;
    fail_write(path_);
  }
}

LineAppender::LineAppender(const fs::path& path) : path_(path) { open(); }

void LineAppender::open() {
  std::error_code ignored;
  fs::create_directories(path_.parent_path(), ignored);
  const auto open_it = [&] {
    fd_ = uninterrupted([&] {
      return ::open(path_.c_str(),
                    O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    });
    if (fd_ < 0) {
      errno == ELOOP ? fail_taken(path_, "a link") : fail_write(path_);
    }
  };
  open_it();
  struct stat info{};
  ::fstat(fd_, &info);
  if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) {
    ::close(fd_);
    fail_taken(path_, name_of_mode(info.st_mode));
  }
  if (S_ISREG(info.st_mode) && info.st_nlink > 1) {
    ::close(fd_);
    FileWriter copy(path_);
    read_pieces(path_, ReadFrom::anywhere, 0, static_cast<uint64_t>(info.st_size),
                [&](std::span<const std::byte> piece) { copy.write(piece.data(), piece.size()); });
    copy.commit();
    open_it();
  }
  drop_half_line();
}

// Readers drop it, and so must whoever appends after it.
void LineAppender::drop_half_line() const {
  constexpr off_t kPiece = 4096;
  struct stat info{};
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    return;
  }
  std::array<char, kPiece> piece{};
  off_t end = info.st_size;
  while (end > 0) {
    const off_t begin = (end - 1) / kPiece * kPiece;
    const ssize_t n = ::pread(fd_, piece.data(), static_cast<size_t>(end - begin), begin);
    if (n != end - begin) {
      fail_read(path_);
    }
    const size_t newline = std::string_view(piece.data(), static_cast<size_t>(n)).rfind('\n');
    if (newline != std::string_view::npos) {
      end = begin + static_cast<off_t>(newline) + 1;
      break;
    }
    end = begin;
  }
  if (end != info.st_size && ::ftruncate(fd_, end) != 0) {
    fail_write(path_);
  }
}

LineAppender::~LineAppender() { ::close(fd_); }

void LineAppender::append(std::string_view line) {
  struct stat info{};
  if (::fstat(fd_, &info) == 0 && info.st_nlink == 0) {  // the file was removed: begin it anew
    ::close(fd_);
    open();
  }
  std::string whole(line);
  whole += '\n';
  write_all(fd_, whole.data(), whole.size(), path_);
}

void sync_folder(const fs::path& folder) {
  const int fd =
      uninterrupted([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  const int result = fd < 0 ? fd : uninterrupted([&] { return ::fsync(fd); });
  const int reason = errno;
  if (fd >= 0) {
    ::close(fd);
  }
  if (result != 0 && reason != EINVAL) {  // some file systems cannot sync a folder
    errno = reason;
    fail_write(folder);
  }
}

void read_pieces(const fs::path& path, ReadFrom from, uint64_t begin, uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& take) {
  constexpr size_t kPiece = size_t{8} << 20;
  constexpr size_t kBlock = 4096;  // what reads past the cache must be multiples of
  int fd = -1;
  bool direct = from == ReadFrom::disk && begin % kBlock == 0;
  if (direct) {
    fd = uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT); });
    direct = fd >= 0;  // not every file system can
  }
  if (fd < 0) {
    fd = open_for_reading(path);
  }
  const auto through_the_cache = [&] {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_DIRECT);
    if (from == ReadFrom::disk) {
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);  // drops what is clean in it
    }
    direct = false;
  };
  if (!direct) {
    through_the_cache();
  }
  const std::unique_ptr<std::byte, void (*)(void*)> piece(
      static_cast<std::byte*>(std::aligned_alloc(kBlock, kPiece)), std::free);
  if (piece == nullptr) {
    ::close(fd);
    throw std::bad_alloc();
  }
  while (begin < end) {
    const size_t wanted = direct ? kPiece : std::min<uint64_t>(kPiece, end - begin);
    const ssize_t n = uninterrupted(
        [&] { return ::pread(fd, piece.get(), wanted, static_cast<off64_t>(begin)); });
    if (n < 0 && direct && errno == EINVAL) {
      through_the_cache();
      continue;
    }
    if (n < 0) {
      close_and_fail(fd, path);
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
  ::close(fd);
}

FolderLock::FolderLock(const fs::path& folder, const std::string& owner)
    : path_(folder / ".sft.lock") {
  struct stat mine{}, there{};
  do {  // again when the run that held it has removed it meanwhile
    if (fd_ >= 0) {
      ::close(fd_);
    }
    fd_ = uninterrupted([&] {
      return ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    });
    if (fd_ < 0) {
      errno == ELOOP ? fail_taken(path_, "a link") : fail_write(path_);
    }
    if (::fstat(fd_, &mine) != 0 || !S_ISREG(mine.st_mode) || mine.st_nlink > 1) {
      ::close(fd_);
      fail_taken(path_, S_ISREG(mine.st_mode) ? "a link" : name_of_mode(mine.st_mode));
    }
    if (uninterrupted([&] { return ::flock(fd_, LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK) {
        return;  // a file system without locks
      }
      std::array<char, 256> text{};
      const ssize_t n = ::pread(fd_, text.data(), text.size() - 1, 0);
      ::close(fd_);
      throw Error("S040", fmt::format("another run writes to {}{}", folder.string(),
                                      n > 0 ? fmt::format(": {}", text.data()) : ""))
          .hint("wait for it, stop it, or choose another --output_dir");
    }
  } while (::fstat(fd_, &mine) == 0 &&
           (::lstat(path_.c_str(), &there) != 0 || mine.st_ino != there.st_ino));
  held_ = true;
  if (::ftruncate(fd_, 0) != 0 ||
      ::pwrite(fd_, owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size())) {
    errno = 0;  // only words for the other run
  }
}

FolderLock::~FolderLock() {
  if (held_) {
    ::unlink(path_.c_str());
  }
  ::close(fd_);
}

}  // namespace sft
