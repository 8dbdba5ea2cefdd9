// Locks between processes, of the kind (flock) that the Python tools take on the same files. The
// system drops them when a process ends, however it ends.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/fd.h"

namespace sft {

// A lock on a file, held while it lives.
class FileLock {
 public:
  enum class State {
    held,
    busy,         // another process holds it
    unsupported,  // the file system knows no locks
    no_file,      // it cannot be opened or made, for what errno says; ELOOP: a link has its name
  };

  // One try. The file is made where there is none, and no link at its name is followed.
  State try_at(const std::filesystem::path& path);
  // Makes its folder and tries until it is not busy; `on_wait` is called every 0.1 s meanwhile (and
  // may throw).
  State wait_at(const std::filesystem::path& path,
                const std::function<void(double waited)>& on_wait);

  // The file, as it was opened at the last try.
  const Fd& file() const { return file_; }

 private:
  Fd file_;
};

// Locks an open file, held until it is closed. False when another process holds it (errno is
// EWOULDBLOCK) or where that cannot be.
bool lock_now(const Fd& file);

// Holds an open file while it lives, after whoever holds it; where the file system has no locks it
// does not.
class FileTurn {
 public:
  explicit FileTurn(const Fd& file);
  ~FileTurn();
  FileTurn(const FileTurn&) = delete;
  FileTurn& operator=(const FileTurn&) = delete;

 private:
  const Fd& file_;
};

// Holds a folder against other processes while it lives: a lock on `.sft.lock`, which holds
// `owner` (who it is, for the other one's error). S040 when another process holds it, S001 when
// something else than a file has that name. Where locks are not supported it does nothing.
class FolderLock {
 public:
  FolderLock(const std::filesystem::path& folder, const std::string& owner);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  std::filesystem::path path_;
  FileLock lock_;
  bool held_ = false;
};

}  // namespace sft
