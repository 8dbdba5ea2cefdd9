// Tokenised rows on disk, mapped when they are read. Used by TokenStore and the token cache.
//
//   tokens   int32 each
//   labels   int32 each, or one bit each where a label is its token or is ignored; padded to 8
//   begins   rows + 1 offsets of 8 bytes
//   numbers  of the rows among those of the source, 8 bytes each
//   sums     8 bytes for each MiB of tokens and labels
//   about    JSON
//   footer   below; its checksum covers begins, numbers, sums, about and itself
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "core/thread_pool.h"

namespace sft {

class TokenFile {
 public:
  // Null when the file is not there or not as it was written: all of it is read, by all threads of
  // the pool where there is one, because training would not notice a token that has changed.
  static std::shared_ptr<const TokenFile> open(const std::filesystem::path& path,
                                               ThreadPool* pool = nullptr);

  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const uint64_t> trained() const { return trained_; }  // bits; empty with whole labels
  std::span<const int32_t> labels() const { return labels_; }     // empty without
  std::span<const int64_t> begins() const { return begins_; }
  std::span<const int64_t> numbers() const { return numbers_; }
  const Json& about() const { return about_; }

 private:
  explicit TokenFile(const std::filesystem::path& path) : file_(path) {}
  bool read(ThreadPool* pool);

  MappedFile file_;
  std::span<const int32_t> tokens_, labels_;
  std::span<const uint64_t> trained_;
  std::span<const int64_t> begins_, numbers_;
  Json about_;
};

// Writes the tokens as they come and the rest at the end, by way of a FileWriter: one of many, as
// runs share the cache.
class TokenFileWriter {
 public:
  explicit TokenFileWriter(const std::filesystem::path& path) : file_(path, Writers::many) {}

  void tokens(std::span<const int32_t> tokens);
  // One of `trained` and `labels` is empty.
  void commit(std::span<const uint64_t> trained, std::span<const int32_t> labels,
              std::span<const int64_t> begins, std::span<const int64_t> numbers, const Json& about);
  // The tokens written so far, when the rest finds no room.
  std::vector<int32_t> read_back() const;

 private:
  void write_summed(const void* data, size_t bytes);
  FileWriter file_;
  std::vector<int64_t> sums_;  // of whole blocks
  std::string block_;          // the bytes of the block that is not whole yet
  int64_t tokens_ = 0;
};

}  // namespace sft
