// A model or data set of the hub, as a folder in the local cache that is filled as files are
// needed. Used by io (models) and data (data sets).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "hub/cache.h"

namespace sft {

class HttpClient;
class RemoteFile;

class HubRepository {
 public:
  // Asks the hub which commit `revision` ("" means main) names; where the hub cannot be asked and
  // the cache knows the revision, a warning says so and the cache is used. M310 for an id or
  // revision that can be none, M305 when there is no network to use and nothing in the cache, else
  // what fail_answer and HttpClient::send throw.
  HubRepository(HubKind kind, std::string id, const std::string& revision,
                const HubEnvironment& environment);
  ~HubRepository();
  HubRepository(const HubRepository&) = delete;
  HubRepository& operator=(const HubRepository&) = delete;

  const std::string& id() const { return id_; }
  const std::string& commit() const { return commit_; }
  // The snapshot; it need not exist before something was fetched.
  const std::filesystem::path& folder() const { return folder_; }

  // Every file of the commit. Without the network, those that were noted or are in the cache.
  const std::vector<HubFile>& files();
  bool has(const std::string& path) { return find(path) != nullptr; }
  // What `files` says of one, or null.
  const HubFile* find(const std::string& path);

  // Sees that the files are in `folder`, downloading what is missing, and returns `folder`. Names
  // that the commit has not are M304; without the network what is missing is M305. With
  // HubEnvironment::verify what is there is read, and what is damaged counts as missing (M314
  // without the network).
  const std::filesystem::path& fetch(const std::vector<std::string>& paths);
  // Which of the files `fetch` would download; its refusals, and nothing is downloaded.
  std::vector<HubFile> missing(const std::vector<std::string>& paths);
  // One of `files`, to be read in place; there must be a network.
  RemoteFile remote(const HubFile& file) const;
  // Notes files that programs look for and this commit has not, for the Python tools.
  void note_absent(const std::vector<std::string>& paths);

 private:
  // Whether the cached file is what its hash says; one without a known hash is taken as it is.
  bool is_sound(const std::string& path);

  HubKind kind_;
  std::string id_, revision_, commit_;
  HubEnvironment environment_;
  CacheRepository cache_;
  std::unique_ptr<HttpClient> client_;  // none: no network
  std::filesystem::path folder_;
  std::optional<std::vector<HubFile>> files_;
  std::unordered_map<std::string, size_t> places_;  // of the names in `files_`
  std::set<std::string> sound_;                     // those compared with their hashes
};

}  // namespace sft
