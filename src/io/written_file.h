// A file being written, with its size and checksum counted on the way; what a checkpoint's manifest
// lists. Used by everything in this folder that writes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/file_writer.h"
#include "io/checksum.h"

namespace sft {

struct WrittenFile {
  std::string name;  // within its folder
  uint64_t bytes = 0;
  uint32_t crc32c = 0;
};

// FileWriter (temporary name, sync, rename on commit, S001) that counts.
class CountingWriter {
 public:
  explicit CountingWriter(const fs::path& path) : writer_(path) {
    file_.name = path.filename().string();
  }

  void write(const void* data, size_t bytes) {
    writer_.write(data, bytes);
    file_.bytes += bytes;
    file_.crc32c = crc32c(file_.crc32c, data, bytes);
  }
  void write(std::string_view text) { write(text.data(), text.size()); }

  const WrittenFile& commit() {
    writer_.commit();
    return file_;
  }

 private:
  FileWriter writer_;
  WrittenFile file_;
};

inline WrittenFile write_counted(const fs::path& path, std::string_view text) {
  CountingWriter writer(path);
  writer.write(text);
  return writer.commit();
}

}  // namespace sft
