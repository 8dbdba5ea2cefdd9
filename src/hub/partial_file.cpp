#include "hub/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "hub/cache.h"

namespace sft {

namespace {

// Adds a range to a sorted list, joining what touches.
void join(std::vector<ByteRange>& ranges, ByteRange added) {
  std::vector<ByteRange> out;
  for (const ByteRange& r : ranges) {
    if (r.end < added.begin || r.begin > added.end) {
      out.push_back(r);
    } else {
      added = {std::min(r.begin, added.begin), std::max(r.end, added.end)};
    }
  }
  out.push_back(added);
  std::ranges::sort(out, {}, &ByteRange::begin);
  ranges = std::move(out);
}

}  // namespace

PartialFile::PartialFile(fs::path blob, int64_t size) : blob_(std::move(blob)), size_(size) {
  data_path_ = blob_.string() + ".sft.incomplete";
  journal_path_ = blob_.string() + ".sft.ranges";
  const auto open = [](const fs::path& path, int flags) {
    Fd file = open_file(path, flags | O_CREAT | O_NOFOLLOW);
    if (!file) {
      fail_writing_cache(path, errno);
    }
    return file;
  };
  data_ = open(data_path_, O_RDWR);
  read_journal();
  journal_ = open(journal_path_, O_WRONLY | O_APPEND);
}

void PartialFile::read_journal() {
  struct stat about{};
  ::fstat(data_.get(), &about);
  std::ifstream in(journal_path_);
  std::string line;
  while (std::getline(in, line)) {
    ByteRange r;
    char rest = 0;
    // A line cut off by a crash lacks its final dot.
    if (std::sscanf(line.c_str(), "%ld %ld%c", &r.begin, &r.end, &rest) == 3 && rest == '.' &&
        r.begin >= 0 && r.begin < r.end && r.end <= std::min<int64_t>(size_, about.st_size)) {
      join(ranges_, r);
    }
  }
}

std::vector<ByteRange> PartialFile::missing(int64_t part) const {
  const std::lock_guard lock(mutex_);
  std::vector<ByteRange> gaps;
  int64_t at = 0;
  const auto add = [&](int64_t end) {
    for (; at < end; at = gaps.back().end) {
      gaps.push_back({at, std::min(end, at + part)});
    }
  };
  for (const ByteRange& r : ranges_) {
    add(r.begin);
    at = r.end;
  }
  add(size_);
  return gaps;
}

int64_t PartialFile::present() const {
  const std::lock_guard lock(mutex_);
  int64_t bytes = 0;
  for (const ByteRange& r : ranges_) {
    bytes += r.end - r.begin;
  }
  return bytes;
}

void PartialFile::write(int64_t offset, std::span<const char> bytes) {
  if (write_all_at(data_.get(), {bytes.data(), bytes.size()}, offset) < bytes.size()) {
    fail_writing_cache(data_path_, errno);
  }
}

void PartialFile::arrived(ByteRange range) {
  if (range.begin >= range.end) {
    return;
  }
  const std::lock_guard lock(mutex_);
  join(ranges_, range);
  const std::string line = fmt::format("{} {}.\n", range.begin, range.end);
  if (write_all(journal_.get(), line) < line.size()) {
    fail_writing_cache(journal_path_, errno);
  }
}

void PartialFile::clear() {
  const std::lock_guard lock(mutex_);
  ranges_.clear();
  if (::ftruncate(journal_.get(), 0) != 0 || ::ftruncate(data_.get(), 0) != 0) {
    fail_writing_cache(data_path_, errno);
  }
}

void PartialFile::finish() {
  if (::ftruncate(data_.get(), size_) != 0 || ::fsync(data_.get()) != 0 ||
      ::rename(data_path_.c_str(), blob_.c_str()) != 0) {
    fail_writing_cache(blob_, errno);
  }
  ::unlink(journal_path_.c_str());
  sync_folder(blob_.parent_path());
}

}  // namespace sft
