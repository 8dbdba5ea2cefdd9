#include "report/trackers/record_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace sft {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path) {
  throw Error("S001", fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)));
}

}  // namespace

RecordFile::RecordFile(const std::filesystem::path& path) : path_(path) {
  std::error_code failure;
  std::filesystem::create_directories(path.parent_path(), failure);
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    fail(path_);
  }
}

RecordFile::~RecordFile() { ::close(fd_); }

void RecordFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) {
      fail(path_);
    }
    bytes.remove_prefix(n > 0 ? static_cast<size_t>(n) : 0);
  }
}

}  // namespace sft
