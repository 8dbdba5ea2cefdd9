// A blob that is being downloaded: a file written in any order, and a journal of the ranges that
// have arrived, so that a later process goes on where this one stopped. Used by download.cpp, under
// the blob's lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <vector>

#include "core/fd.h"

namespace sft {

struct ByteRange {
  int64_t begin = 0, end = 0;
};

class PartialFile {
 public:
  // Opens or makes `blob`.sft.incomplete; S030 or S031 when it cannot be written.
  PartialFile(std::filesystem::path blob, int64_t size);

  // What is still missing, in order, in pieces of at most `part` bytes.
  std::vector<ByteRange> missing(int64_t part) const;
  int64_t present() const;
  const std::filesystem::path& path() const { return data_path_; }

  // Several threads may write at once. `write` does not yet count; `arrived` says that a range is
  // in the file.
  void write(int64_t offset, std::span<const char> bytes);
  void arrived(ByteRange range);

  void clear();   // forgets all that has arrived
  void finish();  // syncs, gives the file its final name and takes the journal away

 private:
  void read_journal();

  std::filesystem::path blob_, data_path_, journal_path_;
  int64_t size_;
  Fd data_, journal_;
  mutable std::mutex mutex_;
  std::vector<ByteRange> ranges_;  // sorted, apart from one another
};

}  // namespace sft
