#include "core/file_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstring>
#include <random>
#include <span>

#include "core/error.h"
#include "core/file.h"
#include "core/file_lock.h"

namespace sft {

namespace {

// A temporary name is free again: what a killed run left there goes, and a link goes unfollowed.
void make_way(const fs::path& temporary) {
  struct stat info{};
  if (::lstat(temporary.c_str(), &info) != 0) {
    return;
  }
  if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
    fail_taken(temporary, name_of_mode(info.st_mode));
  }
  ::unlink(temporary.c_str());
}

}  // namespace

fs::path own_temporary_name(const fs::path& path) {
  return fmt::format("{}.{}.{:08x}{}", path.string(), ::getpid(), std::random_device()(),
                     FileWriter::kTemporary);
}

void fail_write(const fs::path& path) {
  const int reason = errno;
  Error error("S001", fmt::format("cannot write {}: {}", path.string(), std::strerror(reason)));
  if (reason == ENOSPC || reason == EDQUOT) {
    error.hint("free some space, or choose another --output_dir; what was saved before is intact");
  } else if (reason == EACCES || reason == EROFS || reason == EPERM) {
    error.hint("choose an --output_dir that you may write to");
  }
  throw error;
}

void fail_taken(const fs::path& path, const char* by) {
  throw Error("S001", fmt::format("cannot write {}: {} has that name, and a file is wanted",
                                  path.string(), by))
      .hint("remove it, or choose another --output_dir");
}

void check_place_for_file(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
    fail_taken(path, name_of_mode(info.st_mode));
  }
}

FileWriter::FileWriter(const fs::path& path, Writers writers)
    : path_(path),
      temporary_(writers == Writers::one ? fs::path(path.string() + kTemporary)
                                         : own_temporary_name(path)) {
  check_place_for_file(path_);
  if (writers == Writers::one) {
    make_way(temporary_);
  }
  file_ = open_file(temporary_, O_WRONLY | O_CREAT | O_EXCL);
  if (!file_) {
    fail_write(path_);
  }
  if (writers == Writers::many) {
    lock_now(file_);  // says that a living process writes it, where locks are supported
  }
}

FileWriter::~FileWriter() {
  if (file_) {
    ::unlink(temporary_.c_str());
  }
}

// The system would begin to write out when it likes, or in `commit`: begun here, the disk is busy
// meanwhile and `commit` has little left to wait for.
void FileWriter::write(const void* data, size_t bytes) {
  constexpr uint64_t kAtATime = uint64_t{32} << 20;
  if (write_all(file_.get(), {static_cast<const char*>(data), bytes}) < bytes) {
    fail_write(path_);
  }
  written_ += bytes;
  if (written_ - begun_ >= kAtATime) {  // whether it could is what `commit` finds out
    ::sync_file_range(file_.get(), static_cast<off64_t>(begun_),
                      static_cast<off64_t>(written_ - begun_), SYNC_FILE_RANGE_WRITE);
    begun_ = written_;
  }
}

// Renamed while it is open, and locked perhaps: nobody may take it for abandoned. What has been
// synced stays, whatever closing says.
void FileWriter::commit() {
  if (uninterrupted([&] { return ::fsync(file_.get()); }) != 0 ||
      ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_write(path_);
  }
  file_.reset();
}

void write_text(const fs::path& path, std::string_view text, Writers writers) {
  FileWriter writer(path, writers);
  writer.write(text);
  writer.commit();
}

void write_copy(const fs::path& to, const fs::path& from, Writers writers) {
  FileWriter copy(to, writers);
  read_pieces(from, ReadFrom::anywhere, 0, kToEnd,
              [&](std::span<const std::byte> piece) { copy.write(piece.data(), piece.size()); });
  copy.commit();
}

void remove_if_abandoned(const fs::path& temporary) {
  const Fd file = open_file(temporary, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file && lock_now(file)) {
    ::unlink(temporary.c_str());
  }
}

void sync_folder(const fs::path& folder) {
  const Fd file = open_file(folder, O_RDONLY | O_DIRECTORY);
  const int result = file ? uninterrupted([&] { return ::fsync(file.get()); }) : -1;
  if (result != 0 && errno != EINVAL) {  // some file systems cannot sync a folder
    fail_write(folder);
  }
}

}  // namespace sft
