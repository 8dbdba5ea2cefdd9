#include "hub/fake_hub.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <random>

#include "core/file.h"
#include "core/strings.h"
#include "hub/answers.h"
#include "hub/digest.h"
#include "hub/upload.h"

namespace sft::testing {

namespace {

std::string decoded(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::string sha256_of(const std::string& text) {
  unsigned char raw[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), raw);
  std::string out;
  for (const unsigned char byte : raw) {
    out += fmt::format("{:02x}", byte);
  }
  return out;
}

std::string noise(size_t bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  std::string text;
  while (text.size() < bytes) {
    const uint64_t word = random();
    text.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  text.resize(bytes);
  return text;
}

Reply json_reply(const Json& json, int status) {
  return {.status = status, .headers = {{"Content-Type", "application/json"}}, .body = json.dump()};
}

Reply refusal(int status, const std::string& code, const std::string& message) {
  Reply reply = json_reply({{"error", message}}, status);
  reply.headers.emplace_back("X-Error-Message", message);
  if (!code.empty()) {
    reply.headers.emplace_back("X-Error-Code", code);
  }
  return reply;
}

FakeHub::FakeHub() {
  const auto guarded = [this](Reply (FakeHub::*to)(const Request&)) {
    return [this, to](const Request& request) {
      if (auto reply = intercept(request)) {
        return *reply;
      }
      const std::lock_guard lock(mutex_);
      return (this->*to)(request);
    };
  };
  storage = std::make_unique<HttpServer>(guarded(&FakeHub::cdn));
  server = std::make_unique<HttpServer>(guarded(&FakeHub::answer));
}

std::string FakeHub::add(const std::string& key, FakeFiles files, const std::string& branch) {
  const std::lock_guard lock(mutex_);
  const std::string commit = git_blob_of_text(fmt::format("{} {} {}", key, branch, ++commits_));
  for (const auto& [name, file] : files) {
    if (file.lfs) {
      blobs_[sha256_of(file.contents)] = file.contents;
    }
  }
  repositories_[key].commits[commit] = std::move(files);
  repositories_[key].branches[branch] = commit;
  return commit;
}

std::string FakeHub::add_folder(const std::string& key, const std::filesystem::path& folder,
                                size_t lfs_from) {
  FakeFiles files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      std::string text = read_text(entry.path());
      const bool lfs = text.size() >= lfs_from;
      files[entry.path().lexically_relative(folder).generic_string()] = {std::move(text), lfs};
    }
  }
  return add(key, std::move(files));
}

FakeFiles FakeHub::files(const std::string& key, const std::string& branch) const {
  const std::lock_guard lock(mutex_);
  const FakeRepository& repository = repositories_.at(key);
  return repository.commits.at(repository.branches.at(branch));
}

std::string FakeHub::newest(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  return repositories_.at(key).branches.at("main");
}

size_t FakeHub::commits(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  return repositories_.at(key).commits.size();
}

HubEnvironment FakeHub::environment(const std::filesystem::path& cache) const {
  HubEnvironment e;
  e.hf_hub_cache = cache.string();
  e.endpoint = server->url();
  e.backoff_seconds = 0.01;
  e.download_timeout = 2;
  e.etag_timeout = 2;
  e.longest_wait = 5;
  e.part_bytes = 256 << 10;
  return e;
}

std::string FakeHub::commit_of(const std::string& key, const std::string& revision) {
  const FakeRepository& repository = repositories_.at(key);
  if (repository.commits.contains(revision)) {
    return revision;
  }
  const auto it = repository.branches.find(revision);
  return it == repository.branches.end() ? "" : it->second;
}

bool FakeHub::allowed(const Request& request) const {
  return request.header("authorization") == "Bearer " + token;
}

Reply FakeHub::answer(const Request& request) {
  const std::string path = decoded(request.path());
  if (!request.header("authorization").empty() && !allowed(request)) {
    return refusal(401, "", "Invalid credentials in Authorization header");
  }
  if (path.starts_with("/api/")) {
    return answer_api(request);
  }
  if (path.starts_with("/complete/") || path.starts_with("/verify/")) {
    return take_upload(request);
  }
  // /[datasets/]owner/name/resolve/revision/file, /owner/name.git/info/lfs/objects/batch
  const bool dataset = path.starts_with("/datasets/");
  const std::string rest = path.substr(dataset ? 10 : 1);
  const std::string folder = dataset ? "datasets/" : "models/";
  if (const size_t git = rest.find(".git/info/lfs/objects/batch"); git != std::string::npos) {
    return lfs_batch(request, folder + rest.substr(0, git));
  }
  const size_t at = rest.find("/resolve/");
  if (at == std::string::npos) {
    return refusal(404, "", "Sorry, we can't find the page you are looking for.");
  }
  // A revision with slashes comes encoded, so the split is made before decoding.
  const std::string raw = request.path();
  const std::string tail = raw.substr(raw.find("/resolve/") + 9);
  return resolve(request, folder + rest.substr(0, at), decoded(tail.substr(0, tail.find('/'))),
                 decoded(tail.substr(tail.find('/') + 1)));
}

Reply FakeHub::answer_api(const Request& request) {
  const std::string path = request.path();
  if (path == "/api/whoami-v2") {
    return allowed(request) ? json_reply({{"name", "me"}, {"type", "user"}})
                            : refusal(401, "", "Invalid username or password.");
  }
  if (path == "/api/repos/create") {
    return create(request);
  }
  const auto parts = split(path.substr(5), '/');  // models owner name what revision
  if (parts.size() < 3) {
    return refusal(404, "RepoNotFound", "Repository not found");
  }
  const std::string key = parts[0] + "/" + parts[1] + "/" + parts[2];
  if (!repositories_.contains(key) || (repositories_[key].is_private && !allowed(request))) {
    return refusal(allowed(request) ? 404 : 401, "RepoNotFound", "Repository not found");
  }
  std::string rest;
  for (size_t i = 3; i < parts.size(); ++i) {
    rest += (i > 3 ? "/" : "") + parts[i];
  }
  return answer_repository(request, key, rest);
}

Reply FakeHub::answer_repository(const Request& request, const std::string& key,
                                 const std::string& rest) {
  const size_t slash = rest.find('/');
  const std::string what = rest.substr(0, slash);
  const std::string revision =
      slash == std::string::npos ? "main" : decoded(rest.substr(slash + 1));
  if (what == "preupload") {
    return preupload(request, key, revision);
  }
  if (what == "commit") {
    return commit(request, key, revision);
  }
  if (what == "branch") {
    FakeRepository& repository = repositories_.at(key);
    if (repository.branches.contains(revision)) {
      return refusal(409, "", "Reference already exists");
    }
    repository.branches[revision] = repository.branches["main"];
    return json_reply(Json::object());
  }
  const std::string commit = commit_of(key, revision);
  if (commit.empty()) {
    return refusal(404, "RevisionNotFound", "Invalid rev id: " + revision);
  }
  if (what == "tree") {
    return list(request, key, commit);
  }
  Json siblings = Json::array();
  for (const auto& [name, file] : repositories_.at(key).commits.at(commit)) {
    siblings.push_back({{"rfilename", name}});
  }
  const std::string id = key.substr(key.find('/') + 1);
  return json_reply({{"_id", "1"},
                     {"id", id},
                     {"sha", commit},
                     {"private", false},
                     {"gated", false},
                     {"disabled", false},
                     {"downloads", 1},
                     {"likes", 0},
                     {"tags", Json::array()},
                     {"siblings", siblings}});
}

Reply FakeHub::list(const Request& request, const std::string& key, const std::string& commit) {
  if (repositories_.at(key).gated && !allowed(request)) {
    return refusal(401, "GatedRepo", "Access to model is restricted. You must be authenticated.");
  }
  const size_t cursor = request.query().find("cursor=");
  const size_t from =
      cursor == std::string::npos ? 0 : std::stoul(request.query().substr(cursor + 7));
  Json entries = Json::array({{{"type", "directory"}, {"oid", "x"}, {"size", 0}, {"path", "d"}}});
  const FakeFiles& files = repositories_.at(key).commits.at(commit);
  size_t index = 0;
  for (const auto& [name, file] : files) {
    if (index >= from && index < from + page) {
      Json entry{{"type", "file"},
                 {"oid", git_blob_of_text(file.contents)},
                 {"size", file.contents.size()},
                 {"path", name}};
      if (file.lfs) {
        entry["oid"] =
            lfs_pointer_blob(sha256_of(file.contents), static_cast<int64_t>(file.contents.size()));
        entry["lfs"] = {{"oid", sha256_of(file.contents)},
                        {"size", file.contents.size()},
                        {"pointerSize", 134}};
      }
      entries.push_back(std::move(entry));
    }
    ++index;
  }
  Reply reply = json_reply(entries);
  if (from + page < files.size()) {
    reply.headers.emplace_back("Link", fmt::format("<{}{}?recursive=true&cursor={}>; rel=\"next\"",
                                                   server->url(), request.path(), from + page));
  }
  return reply;
}

Reply FakeHub::resolve(const Request& request, const std::string& key, const std::string& revision,
                       const std::string& name) {
  if (!repositories_.contains(key) || (repositories_[key].is_private && !allowed(request))) {
    return refusal(allowed(request) ? 404 : 401, "RepoNotFound", "Repository not found");
  }
  if (repositories_[key].gated && !allowed(request)) {
    return refusal(401, "GatedRepo", "Access to model is restricted. You must be authenticated.");
  }
  const std::string commit = commit_of(key, revision);
  if (commit.empty()) {
    return refusal(404, "RevisionNotFound", "Invalid rev id: " + revision);
  }
  const FakeFiles& files = repositories_.at(key).commits.at(commit);
  const auto it = files.find(name);
  if (it == files.end()) {
    Reply reply = refusal(404, "EntryNotFound", "Entry not found");
    reply.headers.emplace_back("X-Repo-Commit", commit);
    return reply;
  }
  const FakeFile& file = it->second;
  if (file.lfs) {
    const std::string sha = sha256_of(file.contents);
    return {
        .status = 302,
        .headers = {{"X-Repo-Commit", commit},
                    {"X-Linked-Etag", fmt::format("\"{}\"", sha)},
                    {"X-Linked-Size", std::to_string(file.contents.size())},
                    {"Location", storage->url("localhost") + "/lfs/" + sha + "?Signature=s3cr"}}};
  }
  Reply reply = contents(request, file.contents);
  reply.headers.emplace_back("X-Repo-Commit", commit);
  reply.headers.emplace_back("ETag", fmt::format("\"{}\"", git_blob_of_text(file.contents)));
  return reply;
}

Reply FakeHub::cdn(const Request& request) {
  if (request.method == "PUT") {
    return take_upload(request);
  }
  const auto it = blobs_.find(request.path().substr(std::min<size_t>(5, request.path().size())));
  return it == blobs_.end() ? Reply{.status = 404} : contents(request, it->second);
}

Reply FakeHub::contents(const Request& request, const std::string& text) const {
  const std::string range = request.header("range");
  if (!ranges || range.empty()) {
    return {.body = text};
  }
  const size_t begin = std::stoull(range.substr(6)), dash = range.find('-');
  const size_t last =
      dash + 1 < range.size() ? std::stoull(range.substr(dash + 1)) : text.size() - 1;
  const size_t end = std::min(last + 1, text.size());
  if (begin >= text.size()) {
    return {.status = 416};
  }
  return {
      .status = 206,
      .headers = {{"Content-Range", fmt::format("bytes {}-{}/{}", begin, end - 1, text.size())}},
      .body = text.substr(begin, end - begin)};
}

}  // namespace sft::testing
