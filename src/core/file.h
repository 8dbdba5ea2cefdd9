// Files: reading whole, mapping, and writing so that nothing half-written ever has its final name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

namespace fs = std::filesystem;

// What is at a path, links followed. M001 where the system cannot say (a disk that fails, a folder
// that may not be entered): not to know is not "no".
enum class PathKind { none, file, folder, other };
PathKind kind_of(const fs::path& path);
inline bool is_there(const fs::path& path) { return kind_of(path) != PathKind::none; }
inline bool is_file(const fs::path& path) { return kind_of(path) == PathKind::file; }
inline bool is_folder(const fs::path& path) { return kind_of(path) == PathKind::folder; }

// What a folder holds, sorted; nothing where there is no such folder. M001 as above.
std::vector<fs::path> paths_in(const fs::path& folder);

// "a pipe", "a device", "a socket", "a folder", "a file", of what stat gave.
const char* name_of_mode(unsigned mode);

// The whole file as text, or what comes through a pipe that somebody writes into (shells give
// <(command) as one). M001 when it cannot be read; folders, devices and silent pipes are not.
std::string read_text(const fs::path& path);
// All of the standard input, whatever it is.
std::string read_standard_input();

// Throws S001 unless a file can be put at `path`: there is none, a regular one, or a link, which is
// replaced and never followed.
void check_place_for_file(const fs::path& path);

// Writes `text` under a temporary name in the same folder, syncs, renames. S001 with the system's
// reason (no space left, permission denied, ...) and nothing left behind.
void write_text(const fs::path& path, std::string_view text);

// A read-only mapping of a file, unmapped when it goes out of scope. Move-only.
class MappedFile {
 public:
  explicit MappedFile(const fs::path& path);  // M001, also for what is not a regular file
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  MappedFile(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A file written front to back under `path + ".tmp"`; `commit` syncs and renames it, and without
// commit it is removed. No link is followed at either name. Every failure is S001 with the system's
// reason.
class FileWriter {
 public:
  explicit FileWriter(const fs::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  fs::path path_, temporary_;
  int fd_ = -1;
  uint64_t written_ = 0, begun_ = 0;  // bytes given to the system, and on their way to the disk
};

// Appends whole lines with one `write` each, so a reader never sees half a line (S001 on failure).
// Half a line that a crash has left is dropped. A file that was removed meanwhile, with its folder
// perhaps, is begun anew. Links are not followed: S001 for a symbolic one, and a file that has a
// second name is copied first.
class LineAppender {
 public:
  explicit LineAppender(const fs::path& path);
  ~LineAppender();
  LineAppender(const LineAppender&) = delete;
  LineAppender& operator=(const LineAppender&) = delete;
  void append(std::string_view line);  // the newline is added here

 private:
  void open();
  void drop_half_line() const;

  fs::path path_;
  int fd_ = -1;
};

// Flushes a folder's entries to disk, so that a rename within it survives a power loss. S001.
void sync_folder(const fs::path& folder);

enum class ReadFrom { anywhere, disk };
// Gives the bytes of a file from `begin` on, up to its end or `end`, front to back and a piece at a
// time, read rather than mapped: a disk that fails is an error (M001) and not a signal. From the
// disk: past the system's cache, where the file system can do that.
void read_pieces(const fs::path& path, ReadFrom from, uint64_t begin, uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& take);

// Holds a folder against other processes while it lives: a lock on `.sft.lock`, which holds
// `owner` (who it is, for the other one's error) and which the system drops when this process ends,
// however it ends. S040 when another process holds it, S001 when something else than a file has
// that name. Where locks are not supported it does nothing.
class FolderLock {
 public:
  FolderLock(const fs::path& folder, const std::string& owner);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  fs::path path_;
  int fd_ = -1;
  bool held_ = false;
};

}  // namespace sft
