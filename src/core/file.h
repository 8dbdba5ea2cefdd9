// Files: what is at a path, reading whole or in pieces, and mapping. Writing: core/file_writer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
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

enum class ReadFrom { anywhere, disk };
constexpr uint64_t kToEnd = std::numeric_limits<uint64_t>::max();
// Gives the bytes of a file from `begin` on, up to its end or `end`, front to back and a piece at a
// time, read rather than mapped: a disk that fails is an error (M001) and not a signal. From the
// disk: past the system's cache, where the file system can do that.
void read_pieces(const fs::path& path, ReadFrom from, uint64_t begin, uint64_t end,
                 const std::function<void(std::span<const std::byte>)>& take);

// M001 for what errno says.
[[noreturn]] void fail_read(const fs::path& path);

}  // namespace sft
