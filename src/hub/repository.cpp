#include "hub/repository.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "core/file.h"
#include "core/strings.h"
#include "hub/digest.h"
#include "hub/download.h"
#include "hub/errors.h"
#include "hub/http.h"
#include "hub/questions.h"
#include "hub/remote_file.h"
#include "hub/retry.h"

namespace sft {

namespace {

std::string checked_id(std::string id) {
  if (!is_hub_id(id)) {
    throw Error("M310", fmt::format("\"{}\" is no name of the hub", id))
        .hint("write owner/name, such as Qwen/Qwen2.5-0.5B");
  }
  return id;
}

std::string checked_revision(const std::string& revision) {
  if (!revision.empty() && !is_safe_revision(revision)) {
    throw Error("M310", fmt::format("\"{}\" is no revision", revision))
        .hint("give a branch, a tag or a commit");
  }
  return revision.empty() ? "main" : revision;
}

std::vector<HubFile> files_in(const fs::path& folder) {
  std::vector<HubFile> files;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    if (entry.is_regular_file(ignored)) {
      files.push_back({entry.path().lexically_relative(folder).generic_string(),
                       static_cast<int64_t>(entry.file_size(ignored))});
    }
  }
  std::ranges::sort(files, {}, &HubFile::path);
  return files;
}

std::string why_no_network(const HubEnvironment& environment) {
  return environment.offline ? "HF_HUB_OFFLINE is set" : "the hub cannot be reached";
}

}  // namespace

HubRepository::HubRepository(HubKind kind, std::string id, const std::string& revision,
                             const HubEnvironment& environment)
    : kind_(kind),
      id_(checked_id(std::move(id))),
      revision_(checked_revision(revision)),
      environment_(environment),
      cache_(kind, id_, environment) {
  const HubPlace place{kind_, id_, revision_};
  const HubLookup cached = find_in_hub_cache(kind_, id_, revision_, environment_);
  if (environment_.online()) {
    client_ = std::make_unique<HttpClient>(environment_);
    try {
      commit_ = is_commit(revision_)
                    ? revision_
                    : ask_commit(*client_, place, cached.folder ? 1 : environment_.attempts);
    } catch (Error& e) {
      if (!cached.folder && is_transient(e)) {
        e.context(fmt::format("{} is not on this machine and cannot be fetched", place.text()));
      }
      if (!cached.folder || e.code() == kNoRevision || e.code() == kStoppedAtHub) {
        throw;
      }
      if (environment_.report.warn) {
        environment_.report.warn(fmt::format("{}; using {} from the cache ({})", e.message(),
                                             place.text(), cached.commit.substr(0, 8)));
      }
      client_.reset();
    }
  }
  if (!client_) {
    if (!cached.folder) {
      throw Error("M305", fmt::format("{} at {} is not in the hub cache, and {}", place.text(),
                                      revision_, why_no_network(environment_)))
          .at(fmt::format("{}", fmt::join(cached.looked_at, ", ")))
          .hint("run once with the network and without HF_HUB_OFFLINE, or give a folder");
    }
    commit_ = cached.commit;
  }
  folder_ = cache_.snapshot(commit_);
}

HubRepository::~HubRepository() = default;

const std::vector<HubFile>& HubRepository::files() {
  if (files_) {
    return *files_;
  }
  files_ = cache_.read_tree(commit_);
  if (!files_ && client_) {
    files_ = ask_files(*client_, {kind_, id_, revision_}, commit_);
    cache_.write_tree(commit_, *files_);
  }
  if (!files_) {
    files_ = files_in(folder_);
  }
  for (size_t i = 0; i < files_->size(); ++i) {
    places_.emplace((*files_)[i].path, i);
  }
  return *files_;
}

const HubFile* HubRepository::find(const std::string& path) {
  const auto& all = files();
  const auto it = places_.find(path);
  return it == places_.end() ? nullptr : &all[it->second];
}

bool HubRepository::is_sound(const std::string& path) {
  if (sound_.contains(path)) {
    return true;
  }
  const HubFile* const file = find(path);
  std::string hash = file == nullptr ? "" : file->hash();
  if (hash.empty()) {
    hash = cache_.linked_hash(commit_, path);
  }
  const fs::path cached = folder_ / path;
  const bool by_sha256 = hash.size() == 64;
  if (hash.empty() || (by_sha256 ? sha256_of_file(cached) : git_blob_of_file(cached)) == hash) {
    sound_.insert(path);
    return true;
  }
  const std::string what =
      fmt::format("{} of {} in the cache is not what its hash says", path, id_);
  if (!client_) {
    throw Error("M314", fmt::format("{}, and {}", what, why_no_network(environment_)))
        .at(cached.string())
        .hint("run once with the network and without HF_HUB_OFFLINE, to fetch it again");
  }
  if (environment_.report.warn) {
    environment_.report.warn(what + ": it is fetched again");
  }
  cache_.remove(commit_, path, hash);
  return false;
}

std::vector<HubFile> HubRepository::missing(const std::vector<std::string>& paths) {
  const HubPlace place{kind_, id_, revision_};
  std::vector<HubFile> missing;
  std::set<std::string> listed;
  for (const std::string& path : paths) {
    if (!is_safe_name(path)) {
      throw Error("M309", fmt::format("\"{}\" cannot be the name of a file", path));
    }
    if (cache_.has(commit_, path) && (!environment_.verify || is_sound(path))) {
      continue;
    }
    const HubFile* file = find(path);
    if (file == nullptr && client_) {
      throw Error("M304", fmt::format("{} has no file {}", place.text(), path))
          .at(fmt::format("commit {}", commit_));
    }
    if (!client_) {
      throw Error("M305", fmt::format("{} of {} is not in the hub cache, and {}", path,
                                      place.text(), why_no_network(environment_)))
          .at((folder_ / path).string())
          .hint("run once with the network and without HF_HUB_OFFLINE");
    }
    if (listed.insert(path).second) {
      missing.push_back(*file);
    }
  }
  return missing;
}

const fs::path& HubRepository::fetch(const std::vector<std::string>& paths) {
  const HubPlace place{kind_, id_, revision_};
  const std::vector<HubFile> missing = this->missing(paths);
  if (!missing.empty()) {
    int64_t bytes = 0;
    for (const HubFile& file : missing) {
      bytes += file.size;
    }
    const auto& note = environment_.report.note;
    const auto began = std::chrono::steady_clock::now();
    const std::string what =
        missing.size() == 1 ? missing[0].path : fmt::format("{} files", missing.size());
    if (note) {
      note(fmt::format("fetching {} of {}: {}", what, place.text(),
                       human_bytes(static_cast<double>(bytes))));
    }
    download_files(*client_, cache_, place, commit_, missing);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    if (note && took.count() >= 2) {
      note(fmt::format("fetched {} in {} ({}/s)", what, human_seconds(took.count()),
                       human_bytes(static_cast<double>(bytes) / took.count())));
    }
  }
  if (client_) {
    cache_.write_ref(revision_, commit_);
  }
  return folder_;
}

RemoteFile HubRepository::remote(const HubFile& file) const {
  return {environment_, {kind_, id_, revision_}, commit_, file};
}

void HubRepository::note_absent(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (client_ && is_safe_name(path) && !has(path)) {
      cache_.write_no_exist(commit_, path);
    }
  }
}

}  // namespace sft
