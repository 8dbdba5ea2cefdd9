// Writing files so that nothing half-written ever has its final name. Used by everything that
// writes, but for what is appended to (core/line_appender.h) and downloads that are gone on with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "core/fd.h"

namespace sft {

namespace fs = std::filesystem;

// Throws S001 unless a file can be put at `path`: there is none, a regular one, or a link, which is
// replaced and never followed.
void check_place_for_file(const fs::path& path);

// A name beside `path` that no other writer has, for what is renamed to it.
fs::path own_temporary_name(const fs::path& path);

// Who writes files of one name: a run into its own folder, or several processes at the same time
// into a cache that they share.
enum class Writers { one, many };

// A file written front to back under a temporary name in the same folder; `commit` syncs and
// renames it, and without commit it is removed. No link is followed at either name. Every failure
// is S001 with the system's reason (no space left, permission denied, ...).
class FileWriter {
 public:
  static constexpr const char* kTemporary = ".tmp";

  // The temporary name is `path` and this ending; what a killed run has left there is removed. With
  // many writers it is one that nobody else has, with the same ending, and the file is locked as
  // long as it has that name: see remove_if_abandoned.
  explicit FileWriter(const fs::path& path, Writers writers = Writers::one);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();
  const fs::path& temporary() const { return temporary_; }

 private:
  fs::path path_, temporary_;
  Fd file_;
  uint64_t written_ = 0, begun_ = 0;  // bytes given to the system, and on their way to the disk
};

// Writes `text` by way of a FileWriter. S001, and nothing is left behind.
void write_text(const fs::path& path, std::string_view text, Writers writers = Writers::one);
// Writes what a file holds; M001 where it cannot be read.
void write_copy(const fs::path& to, const fs::path& from, Writers writers = Writers::one);

// Removes the temporary file of one of many writers when the process that wrote it has died.
void remove_if_abandoned(const fs::path& temporary);

// Flushes a folder's entries to disk, so that a rename within it survives a power loss. S001.
void sync_folder(const fs::path& folder);

// S001 for what errno says, with a hint where the disk is full or may not be written to.
[[noreturn]] void fail_write(const fs::path& path);
// S001: something else than a file has that name. `by`: "a pipe".
[[noreturn]] void fail_taken(const fs::path& path, const char* by);

}  // namespace sft
