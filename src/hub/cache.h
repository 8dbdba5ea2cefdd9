// The local cache of the hub, laid out as the Python tools do it:
//   models--org--name/refs/main                      the commit that a branch or tag names
//   models--org--name/snapshots/<commit>/config.json -> ../../blobs/<hash>
//   models--org--name/blobs/<hash>                   contents, named by git's or lfs's hash
//   models--org--name/trees/<commit>.json            what files the commit has
//   models--org--name/.no_exist/<commit>/<file>      that it has no such file
//   .locks/models--org--name/<hash>.lock             held while a blob is made
// Nothing is downloaded here; that is repository.h.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/environment.h"

namespace sft {

struct HubLookup {
  std::optional<std::filesystem::path> folder;  // the snapshot, when it is there
  std::string commit;                           // its commit
  std::vector<std::string> looked_at;           // every place looked at, for the error
};

// The snapshot of `id` at `revision` (a branch, tag, or commit; "" means "main"). Never throws for
// what is not there.
HubLookup find_in_hub_cache(HubKind kind, const std::string& id, const std::string& revision,
                            const HubEnvironment& environment);

// A file of a repository as the hub lists it.
struct HubFile {
  std::string path;
  int64_t size = 0;
  std::string blob_id{};  // git's hash of the file, or of the pointer to it
  std::string sha256{};   // of its contents where it is stored with lfs, else ""

  // The name of its blob in the cache.
  const std::string& hash() const { return sha256.empty() ? blob_id : sha256; }
};

// The folder of one repository in the cache. Writing fails with S030 (permission and the like) or
// S031 (disk full).
class CacheRepository {
 public:
  CacheRepository(HubKind kind, const std::string& id, const HubEnvironment& environment);

  std::filesystem::path snapshot(const std::string& commit) const;
  std::filesystem::path blob(const std::string& hash) const;
  std::filesystem::path lock(const std::string& hash) const;
  // Whether the snapshot has the file (a link to nothing does not count).
  bool has(const std::string& commit, const std::string& file) const;

  // The hash that names the blob behind a file of the snapshot; "" where it is no link.
  std::string linked_hash(const std::string& commit, const std::string& file) const;
  // Takes a damaged file out of the snapshot, and its blob out of the cache.
  void remove(const std::string& commit, const std::string& file, const std::string& hash) const;

  // Makes the folders that a download of `commit` needs.
  void prepare(const std::string& commit) const;
  // Puts the blob into the snapshot: a relative link, or a copy where links cannot be made.
  void link(const std::string& hash, const std::string& commit, const std::string& file) const;
  // Notes what `revision` names; nothing where it is the commit itself or cannot be written.
  void write_ref(const std::string& revision, const std::string& commit) const;
  // Notes that the commit has no such file, as the Python tools do; failures are ignored.
  void write_no_exist(const std::string& commit, const std::string& file) const;

  // The files of a commit, when they were noted; names that are not safe make it unusable.
  std::optional<std::vector<HubFile>> read_tree(const std::string& commit) const;
  void write_tree(const std::string& commit, const std::vector<HubFile>& files) const;

 private:
  std::filesystem::path folder_, locks_;
  bool symlinks_;
};

// Throws S031 where `number` says that the disk or the quota is full, else S030.
[[noreturn]] void fail_writing_cache(const std::filesystem::path& path, int number);

}  // namespace sft
