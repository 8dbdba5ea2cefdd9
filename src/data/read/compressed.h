// Data files that may be compressed (gzip, zstd, bzip2, xz): their plain bytes, as a stream or as a
// mapping. What a file is, its first bytes say, as in `datasets`. Used by the readers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/fd.h"
#include "core/file.h"

namespace sft {

enum class Compression { none, gzip, zstd, bzip2, xz, other };

// By the first bytes of the file; `other` is lz4 or zip. M001 when it cannot be read.
Compression compression_of(const std::filesystem::path& path);

// "x/train.jsonl.gz" -> "x/train.jsonl"; a path without such an ending as it is.
std::filesystem::path without_compression(const std::filesystem::path& path);
// Whether the extension is one of a compression, known or not.
bool has_compressed_name(const std::filesystem::path& path);

// Unpacks front to back with a few hundred kilobytes of memory (xz and zstd: what the file asks
// for, at most 256 MB).
class Decompressor {
 public:
  // D002 for a compression that is not known, M001 when the file cannot be read.
  explicit Decompressor(const std::filesystem::path& path);
  ~Decompressor();
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // Fills `out` as far as the file goes and returns how much; 0 at its end. D022 when the file is
  // damaged or cut short.
  size_t read(std::span<char> out);

  class Codec;

 private:
  std::unique_ptr<Codec> codec_;
};

// The plain bytes of a data file, mapped. A compressed file is first unpacked into a nameless file
// in $TMPDIR or /var/tmp, which is gone when this object is. Move-only.
class DataFile {
 public:
  // Errors: those of MappedFile and Decompressor; S001 when there is no room to unpack.
  explicit DataFile(const std::filesystem::path& path);

  std::string_view text() const { return mapped_->text(); }
  size_t size() const { return mapped_->size(); }
  // As given, for messages and for telling the format: "x/train.jsonl.gz".
  const std::filesystem::path& path() const { return path_; }
  // A path under which the plain bytes can be opened while this object lives.
  const std::filesystem::path& plain_path() const { return mapped_->path(); }

 private:
  std::filesystem::path path_;
  Fd unpacked_;  // the nameless file
  std::optional<MappedFile> mapped_;
};

}  // namespace sft
