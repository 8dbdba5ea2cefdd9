#include "core/line_appender.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <string>

#include "core/file.h"
#include "core/file_lock.h"
#include "core/file_writer.h"

namespace sft {

LineAppender::LineAppender(const fs::path& path) : path_(path) { open(); }

void LineAppender::open() {
  std::error_code ignored;
  fs::create_directories(path_.parent_path(), ignored);
  const auto open_it = [&] {
    file_ = open_file(path_, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
    if (!file_) {
      errno == ELOOP ? fail_taken(path_, "a link") : fail_write(path_);
    }
  };
  open_it();
  struct stat info{};
  ::fstat(file_.get(), &info);
  if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) {
    fail_taken(path_, name_of_mode(info.st_mode));
  }
  if (S_ISREG(info.st_mode) && info.st_nlink > 1) {
    write_copy(path_, path_);
    open_it();
  }
  drop_half_line();
}

// Readers drop it, and so must whoever appends after it; but not a line that another has begun.
void LineAppender::drop_half_line() const {
  const FileTurn turn(file_);
  constexpr off_t kPiece = 4096;
  struct stat info{};
  if (::fstat(file_.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return;
  }
  std::array<char, kPiece> piece{};
  off_t end = info.st_size;
  while (end > 0) {
    const off_t begin = (end - 1) / kPiece * kPiece;
    const ssize_t n = ::pread(file_.get(), piece.data(), static_cast<size_t>(end - begin), begin);
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
  if (end != info.st_size && ::ftruncate(file_.get(), end) != 0) {
    fail_write(path_);
  }
}

void LineAppender::append(std::string_view line) {
  struct stat info{};
  if (::fstat(file_.get(), &info) == 0 && info.st_nlink == 0) {  // it was removed: begin it anew
    open();
  }
  std::string whole(line);
  whole += '\n';
  const FileTurn turn(file_);
  if (write_all(file_.get(), whole) < whole.size()) {
    fail_write(path_);
  }
}

}  // namespace sft
