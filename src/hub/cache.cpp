#include "hub/cache.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "core/strings.h"
#include "hub/answers.h"

namespace sft {

namespace {

std::string folder_name(HubKind kind, const std::string& id) {
  std::string folder(kind_folder(kind));
  for (const std::string& part : split(id, '/')) {
    folder += "--" + part;
  }
  return folder;
}

// The commit a ref names, or "" when the ref is not in the cache.
std::string read_ref(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    return "";
  }
  try {
    const std::string commit(trim(read_text(path)));
    return is_safe_revision(commit) && commit.find('/') == std::string::npos ? commit : "";
  } catch (const Error&) {
    return "";  // unreadable counts as not there; the place is in `looked_at`
  }
}

void make_folders(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) {
    fail_writing_cache(path, failure.value());
  }
}

}  // namespace

void fail_writing_cache(const fs::path& path, int number) {
  if (number == ENOSPC || number == EDQUOT) {
    throw Error("S031", fmt::format("the disk of the hub cache is full ({})",
                                    std::generic_category().message(number)))
        .at(path.string())
        .hint("make room, or move the cache with HF_HOME=/a/larger/disk");
  }
  throw Error("S030", fmt::format("the hub cache cannot be written: {}",
                                  std::generic_category().message(number)))
      .at(path.string())
      .hint("give yourself the right to write there, or set HF_HOME to a folder of your own");
}

HubLookup find_in_hub_cache(HubKind kind, const std::string& id, const std::string& revision,
                            const HubEnvironment& environment) {
  HubLookup result;
  const fs::path hub = environment.hub_folder();
  const std::string wanted = revision.empty() ? "main" : revision;
  if (hub.empty() || !is_hub_id(id) || !is_safe_revision(wanted)) {
    return result;
  }
  const fs::path repository = hub / folder_name(kind, id);
  const fs::path ref = repository / "refs" / wanted;
  result.looked_at.push_back(ref.string());
  result.commit = read_ref(ref);
  if (result.commit.empty() && wanted.find('/') == std::string::npos) {
    result.commit = wanted;  // perhaps the revision is a commit itself
  }
  if (!result.commit.empty()) {
    const fs::path snapshot = repository / "snapshots" / result.commit;
    result.looked_at.push_back(snapshot.string());
    if (is_folder(snapshot)) {
      result.folder = snapshot;
    } else {
      result.commit.clear();
    }
  }
  return result;
}

CacheRepository::CacheRepository(HubKind kind, const std::string& id,
                                 const HubEnvironment& environment)
    : symlinks_(environment.symlinks) {
  const fs::path hub = environment.hub_folder();
  if (hub.empty()) {
    throw Error("C113", "there is no place for the hub cache: neither HF_HOME nor HOME is set")
        .hint("set HF_HOME to a folder with room for models");
  }
  folder_ = fs::absolute(hub) / folder_name(kind, id);
  locks_ = fs::absolute(hub) / ".locks" / folder_name(kind, id);
}

fs::path CacheRepository::snapshot(const std::string& commit) const {
  return folder_ / "snapshots" / commit;
}

fs::path CacheRepository::blob(const std::string& hash) const { return folder_ / "blobs" / hash; }

fs::path CacheRepository::lock(const std::string& hash) const { return locks_ / (hash + ".lock"); }

bool CacheRepository::has(const std::string& commit, const std::string& file) const {
  std::error_code ignored;
  return fs::exists(snapshot(commit) / file, ignored);
}

std::string CacheRepository::linked_hash(const std::string& commit, const std::string& file) const {
  std::error_code failure;
  const std::string name = fs::read_symlink(snapshot(commit) / file, failure).filename().string();
  return is_commit(name) || is_hex(name, 64) ? name : "";
}

void CacheRepository::remove(const std::string& commit, const std::string& file,
                             const std::string& hash) const {
  for (const fs::path& path : {snapshot(commit) / file, blob(hash)}) {
    std::error_code failure;
    fs::remove(path, failure);
    if (failure) {
      fail_writing_cache(path, failure.value());
    }
  }
}

void CacheRepository::prepare(const std::string& commit) const {
  make_folders(folder_ / "blobs");
  make_folders(snapshot(commit));
}

void CacheRepository::link(const std::string& hash, const std::string& commit,
                           const std::string& file) const {
  const fs::path pointer = snapshot(commit) / file;
  make_folders(pointer.parent_path());
  const fs::path temporary = own_temporary_name(pointer);
  std::error_code failure;
  if (symlinks_) {
    fs::create_symlink(blob(hash).lexically_relative(pointer.parent_path()), temporary, failure);
  }
  if (!symlinks_ || failure) {
    fs::copy_file(blob(hash), temporary, failure);
    if (!failure && ::fsync(open_file(temporary, O_RDONLY).get()) != 0) {
      failure.assign(errno, std::generic_category());
    }
  }
  if (!failure) {
    fs::rename(temporary, pointer, failure);
  }
  if (failure) {
    const int number = failure.value();
    fs::remove(temporary, failure);
    fail_writing_cache(pointer, number);
  }
}

void CacheRepository::write_ref(const std::string& revision, const std::string& commit) const {
  const fs::path path = folder_ / "refs" / revision;
  if (revision == commit || read_ref(path) == commit) {
    return;
  }
  std::error_code failure;
  fs::create_directories(path.parent_path(), failure);
  try {
    if (!failure) {
      write_text(path, commit, Writers::many);
    }
  } catch (const Error&) {  // a cache that can only be read serves as well
  }
}

void CacheRepository::write_no_exist(const std::string& commit, const std::string& file) const {
  const fs::path path = folder_ / ".no_exist" / commit / file;
  std::error_code failure;
  if (fs::exists(path, failure)) {
    return;
  }
  fs::create_directories(path.parent_path(), failure);
  try {
    if (!failure) {
      write_text(path, "", Writers::many);
    }
  } catch (const Error&) {
  }
}

std::optional<std::vector<HubFile>> CacheRepository::read_tree(const std::string& commit) const {
  const fs::path path = folder_ / "trees" / (commit + ".json");
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) {
    return std::nullopt;
  }
  try {
    const Json json = read_json(path);
    if (json.at("format_version") != 1) {
      return std::nullopt;
    }
    std::vector<HubFile> files;
    for (const auto& [name, about] : json.at("files").items()) {
      HubFile file{name, about.at("size"), about.at("blob_id"), about.value("lfs_sha256", "")};
      file.size = about.value("lfs_size", file.size);
      const bool named = file.sha256.empty() ? is_commit(file.blob_id) : is_hex(file.sha256, 64);
      if (!is_safe_name(name) || !named || file.size < 0) {
        return std::nullopt;
      }
      files.push_back(std::move(file));
    }
    return files;
  } catch (const Error&) {
  } catch (const Json::exception&) {
  }
  return std::nullopt;  // of another version, damaged or unreadable: asked for again
}

void CacheRepository::write_tree(const std::string& commit,
                                 const std::vector<HubFile>& files) const {
  Json list = Json::object();
  for (const HubFile& file : files) {
    Json about{{"size", file.size}, {"blob_id", file.blob_id}};
    if (!file.sha256.empty()) {
      about["lfs_sha256"] = file.sha256;
      about["lfs_size"] = file.size;
    }
    list.push_back(Json::object_t::value_type(file.path, std::move(about)));
  }
  const fs::path path = folder_ / "trees" / (commit + ".json");
  std::error_code failure;
  fs::create_directories(path.parent_path(), failure);
  try {
    write_text(path, to_text(Json({{"format_version", 1}, {"files", std::move(list)}}), 2) + "\n",
               Writers::many);
  } catch (const Error&) {  // it saves a question next time, no more
  }
}

}  // namespace sft
