// The files of a data set, whether they lie in a folder or on the hub: listed without being
// fetched, fetched when they are opened. Used by resolve.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hub/repository.h"

namespace sft {

class DatasetFolder {
 public:
  DatasetFolder() = default;
  // A folder (or a file in it) on this machine.
  DatasetFolder(std::filesystem::path path) : path_(std::move(path)) {}  // NOLINT: converts
  // A data set of the hub or of its cache.
  explicit DatasetFolder(std::shared_ptr<HubRepository> repository)
      : path_(repository->folder()), repository_(std::move(repository)) {}

  // Something below it, whether it exists or not.
  DatasetFolder operator/(const std::filesystem::path& below) const;

  // Where it lies, or will lie when it was fetched.
  const std::filesystem::path& path() const { return path_; }
  std::string string() const { return path_.string(); }
  std::string filename() const { return path_.filename().string(); }

  // Whether it is of the hub, and its contents somebody else's.
  bool is_remote() const { return repository_ != nullptr; }

  // As in glob.h.
  bool is_file() const;
  bool is_folder() const;
  std::vector<std::string> list_files() const;

  // Sees that these files below it are on this machine; errors of HubRepository::fetch.
  void fetch(const std::vector<std::string>& files) const;
  // The same for this one file; returns its path.
  const std::filesystem::path& fetched() const;

 private:
  // From the repository's root, "" for the root; "..": outside.
  std::string relative() const;

  std::filesystem::path path_;
  std::shared_ptr<HubRepository> repository_;
};

}  // namespace sft
