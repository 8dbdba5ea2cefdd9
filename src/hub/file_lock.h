// A lock between processes on a file, of the kind (flock) that the Python tools take on the same
// files. Used around everything that puts a blob into the cache.
#pragma once

#include <filesystem>
#include <functional>

namespace sft {

class FileLock {
 public:
  // Waits for the lock; `on_wait` is called every 0.1 s meanwhile (and may throw). Where the file
  // system knows no locks, or the file cannot be made, it goes on without one: what is downloaded
  // is checked by its hash in any case.
  FileLock(const std::filesystem::path& path, const std::function<void(double waited)>& on_wait);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace sft
