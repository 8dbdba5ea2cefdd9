#include "hub/upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "core/contained.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/json_text.h"
#include "hub/answers.h"
#include "hub/digest.h"
#include "hub/lfs_transfer.h"
#include "hub/questions.h"
#include "hub/retry.h"
#include "hub/url.h"

namespace sft {

namespace {

constexpr size_t kSample = 512;       // bytes of a file that the hub looks at
constexpr size_t kFilesAtOnce = 256;  // in one question

HubPlace place_of(const std::string& id, const std::string& branch = "main") {
  return {HubKind::model, id, branch};
}

std::string first_bytes(const fs::path& path) {
  std::string bytes(kSample, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

Error no_answer(const std::string& to, const std::string& what) {
  return Error("M311", fmt::format("the hub's answer to {} cannot be used: {}", to, what))
      .hint("what was saved is complete on this machine; run  hf upload  with its folder");
}

}  // namespace

// A file on its way, and what the hub wants of it.
struct HubUploader::Item {
  HubUploadFile file;
  int64_t size = 0;
  bool large = false;
  std::string sha256{};  // of large ones
};

HubUploader::HubUploader(const HubEnvironment& environment, const std::string& token)
    : client_(environment), endpoint_(environment.endpoint) {
  if (!environment.online()) {
    throw Error("C115", "push_to_hub needs the network, and HF_HUB_OFFLINE is set")
        .hint("unset HF_HUB_OFFLINE, or train without --push_to_hub and run  hf upload  later");
  }
  const std::string used = token.empty() ? environment.token() : token;
  if (used.empty()) {
    throw Error("C114", "push_to_hub needs a token, and there is none")
        .hint("set HF_TOKEN to a token with the right to write, or log in with  hf auth login");
  }
  client_.set_token(used);
}

HttpRequest HubUploader::post(const std::string& path, const Json& body) const {
  HttpRequest request;
  request.method = "POST";
  request.url = endpoint_ + path;
  request.headers = {"Content-Type: application/json"};
  request.body = to_text(body);
  request.silence_seconds = std::max(60, client_.environment().etag_timeout);
  return request;
}

std::string HubUploader::user() const {
  HttpRequest request;
  request.url = endpoint_ + "/api/whoami-v2";
  request.silence_seconds = client_.environment().etag_timeout;
  const HttpResponse answer = send_patiently(client_, request, client_.environment().attempts);
  if (answer.status == 401) {
    throw Error("M302", fmt::format("{} does not accept the token", endpoint_))
        .hint("set HF_TOKEN to a token that is valid, or log in again with  hf auth login");
  }
  if (!answer.ok()) {
    fail_answer(answer, place_of("of this user"), true);
  }
  const Json json = json_of(answer.body);
  if (!json.is_object() || !json.contains("name") || !json["name"].is_string() ||
      !is_hub_id(json["name"])) {
    throw no_answer("whose token this is", "it has no name");
  }
  return json["name"];
}

void HubUploader::create(const std::string& id, std::optional<bool> is_private) const {
  const size_t slash = id.find('/');
  Json wish{{"type", "model"}, {"name", id.substr(slash + 1)}};
  if (slash != std::string::npos) {
    wish["organization"] = id.substr(0, slash);
  }
  if (is_private) {
    wish["private"] = *is_private;
    wish["visibility"] = *is_private ? "private" : "public";
  }
  const HttpResponse answer =
      send_patiently(client_, post("/api/repos/create", wish), client_.environment().attempts);
  if (answer.status == 409) {
    return;  // there is one
  }
  if (answer.status == 401 || answer.status == 403) {
    // Whoever may write to one repository only may not make any: fine where it exists.
    HttpRequest question;
    question.url = fmt::format("{}/api/models/{}", endpoint_, id);
    if (client_.send(question).ok()) {
      return;
    }
    throw Error("M306", fmt::format("the token may not make the model {}", id))
        .hint(
            "use a token with the right to write, or name a repository of your own in "
            "--hub_model_id");
  }
  if (!answer.ok()) {
    fail_answer(answer, place_of(id), true);
  }
}

void HubUploader::create_branch(const std::string& id, const std::string& branch) const {
  const std::string path = fmt::format("/api/models/{}/branch/{}", id, url_encode(branch));
  const HttpResponse answer =
      send_patiently(client_, post(path, Json::object()), client_.environment().attempts);
  if (!answer.ok() && answer.status != 409) {
    fail_answer(answer, place_of(id, branch), true);
  }
}

// Asks which files are large, and drops those that are to be left out or are there already.
void HubUploader::ask_modes(const std::string& id, const std::string& branch,
                            std::vector<Item>& items) const {
  std::vector<Item> wanted;
  for (size_t begin = 0; begin < items.size(); begin += kFilesAtOnce) {
    const size_t end = std::min(items.size(), begin + kFilesAtOnce);
    Json files = Json::array();
    for (size_t i = begin; i < end; ++i) {
      files.push_back({{"path", items[i].file.name},
                       {"sample", base64(first_bytes(items[i].file.path))},
                       {"size", items[i].size}});
    }
    const std::string path = fmt::format("/api/models/{}/preupload/{}", id, url_encode(branch));
    const Json answer = ask_json(client_, post(path, {{"files", files}}), place_of(id, branch),
                                 client_.environment().attempts);
    std::map<std::string, Json> by_name;
    if (answer.is_object() && answer.contains("files") && answer["files"].is_array()) {
      for (const Json& about : answer["files"]) {
        by_name[about.is_object() ? about.value("path", "") : ""] = about;
      }
    }
    for (size_t i = begin; i < end; ++i) {
      Item& item = items[i];
      const auto it = by_name.find(item.file.name);
      if (it == by_name.end()) {
        throw no_answer("how to send files", fmt::format("{} is not in it", item.file.name));
      }
      const Json& about = it->second;
      item.large = item.size > 0 && about.value("uploadMode", "") == "lfs";
      if (item.large) {
        item.sha256 = sha256_of_file(item.file.path);
      }
      const std::string blob =
          item.large ? lfs_pointer_blob(item.sha256, item.size) : git_blob_of_file(item.file.path);
      const auto there = about.find("oid");
      const bool same = there != about.end() && there->is_string() && *there == blob;
      if (!same && !about.value("shouldIgnore", false)) {
        wanted.push_back(std::move(item));
      }
    }
  }
  items = std::move(wanted);
}

void HubUploader::send_large(const std::string& id, const std::string& branch,
                             const std::vector<Item>& items) const {
  std::vector<LfsObject> objects;
  for (const Item& item : items) {
    if (item.large) {
      objects.push_back({item.file.path, item.sha256, item.size});
    }
  }
  if (!objects.empty()) {
    upload_lfs(client_, place_of(id, branch), objects);
  }
}

HubCommit HubUploader::send_commit(const std::string& id, const std::string& branch,
                                   const std::vector<Item>& items,
                                   const std::string& message) const {
  const auto line = [](const char* key, const Json& value) {
    return to_text(Json({{"key", key}, {"value", value}})) + "\n";
  };
  HttpRequest request =
      post(fmt::format("/api/models/{}/commit/{}", id, url_encode(branch)), Json());
  request.headers = {"Content-Type: application/x-ndjson"};
  request.body = line("header", {{"summary", message}, {"description", ""}});
  request.silence_seconds = std::max(300, request.silence_seconds);
  for (const Item& item : items) {
    request.body += item.large ? line("lfsFile", {{"path", item.file.name},
                                                  {"algo", "sha256"},
                                                  {"oid", item.sha256},
                                                  {"size", item.size}})
                               : line("file", {{"content", base64(read_text(item.file.path))},
                                               {"path", item.file.name},
                                               {"encoding", "base64"}});
  }
  // Sent again only when the hub said that it did nothing: two equal commits are one too many.
  Retries retries(client_.environment(), client_.environment().attempts);
  HttpResponse answer = client_.send(request);
  while ((answer.status == 429 || answer.status == 503) && retries.again(wanted_wait(answer))) {
    answer = client_.send(request);
  }
  if (!answer.ok()) {
    fail_answer(answer, place_of(id, branch), true);
  }
  const Json json = json_of(answer.body);
  if (!json.is_object() || !json.contains("commitOid") || !json["commitOid"].is_string()) {
    throw no_answer("a commit", "it names none");
  }
  return {json["commitOid"], json.value("commitUrl", ""), static_cast<int>(items.size())};
}

std::optional<HubCommit> HubUploader::commit(const std::string& id, const std::string& branch,
                                             const std::vector<HubUploadFile>& files,
                                             const std::string& message) const {
  std::vector<Item> items;
  for (const HubUploadFile& file : files) {
    std::error_code failure;
    const auto size = fs::file_size(file.path, failure);
    if (failure) {
      throw Error("M001", fmt::format("cannot read {}: {}", file.path.string(), failure.message()));
    }
    items.push_back({file, static_cast<int64_t>(size)});
  }
  try {
    ask_modes(id, branch, items);
    if (items.empty()) {
      return std::nullopt;
    }
    send_large(id, branch, items);
    return send_commit(id, branch, items, message);
  } catch (const Json::exception& e) {
    throw no_answer("an upload", e.what());
  }
}

std::vector<HubUploadFile> uploadable_files(const fs::path& folder,
                                            const std::function<void(const std::string&)>& warn) {
  std::vector<HubUploadFile> files;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator();
       ++it) {
    const std::string name = it->path().filename().string();
    const bool left_out = name.starts_with("_") || name.starts_with(".") ||
                          (it.depth() == 0 && name.starts_with("checkpoint-")) ||
                          name.ends_with(".tmp");
    if (left_out) {
      it.disable_recursion_pending();
      continue;
    }
    const std::string inside = it->path().lexically_relative(folder).generic_string();
    if (it->is_symlink()) {
      const std::string why =
          it->is_directory() ? "is a link to a folder" : why_outside(folder, inside);
      if (!why.empty()) {
        warn(fmt::format("{} is not uploaded: it {}", it->path().string(), why));
        continue;
      }
    }
    if (it->is_regular_file()) {
      files.push_back({inside, it->path()});
    }
  }
  std::ranges::sort(files, {}, &HubUploadFile::name);
  return files;
}

std::string lfs_pointer_blob(const std::string& sha256, int64_t size) {
  return git_blob_of_text(fmt::format(
      "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n", sha256, size));
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    unsigned bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = (bits << 8) | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= count ? kDigits[(bits >> (18 - 6 * j)) & 63] : '=';
    }
  }
  return out;
}

}  // namespace sft
