#include <fmt/format.h>

#include "core/strings.h"
#include "hub/digest.h"
#include "hub/fake_hub.h"
#include "hub/upload.h"

namespace sft::testing {

namespace {

std::string from_base64(const std::string& text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int have = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) {
      break;
    }
    bits = (bits << 6) | static_cast<unsigned>(digit);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out += static_cast<char>((bits >> have) & 255);
    }
  }
  return out;
}

}  // namespace

Reply FakeHub::create(const Request& request) {
  if (!allowed(request)) {
    return refusal(401, "", "Invalid username or password.");
  }
  const Json wish = Json::parse(request.body);
  const std::string owner = wish.contains("organization") && wish["organization"].is_string()
                                ? wish["organization"]
                                : "me";
  if (owner == "strangers") {
    return refusal(403, "", "You don't have the rights to create a model under this namespace");
  }
  const std::string key = "models/" + owner + "/" + wish.at("name").get<std::string>();
  if (repositories_.contains(key)) {
    return refusal(409, "", "You already created this model repo");
  }
  add(key, {{".gitattributes", {"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}}});
  repositories_[key].is_private = wish.value("private", false);
  return json_reply({{"url", server->url() + "/" + key.substr(7)}, {"name", key.substr(7)}});
}

Reply FakeHub::preupload(const Request& request, const std::string& key,
                         const std::string& branch) {
  const std::string commit = commit_of(key, branch);
  if (!allowed(request) || commit.empty()) {
    return allowed(request) ? refusal(404, "RevisionNotFound", "Invalid rev id")
                            : refusal(401, "", "Invalid username or password.");
  }
  const FakeFiles& there = repositories_.at(key).commits.at(commit);
  Json answer{{"files", Json::array()}};
  const Json asked = Json::parse(request.body);
  for (const Json& file : asked.at("files")) {
    const std::string path = file.at("path");
    const bool lfs = path.ends_with(".safetensors") || file.at("size") > 200'000;
    Json about{{"path", path},
               {"uploadMode", lfs ? "lfs" : "regular"},
               {"shouldIgnore", path.ends_with(".ignored")}};
    if (const auto it = there.find(path); it != there.end()) {
      about["oid"] = it->second.lfs
                         ? lfs_pointer_blob(sha256_of(it->second.contents),
                                            static_cast<int64_t>(it->second.contents.size()))
                         : git_blob_of_text(it->second.contents);
    }
    answer["files"].push_back(about);
  }
  return json_reply(answer);
}

Reply FakeHub::lfs_batch(const Request& request, const std::string& key) {
  if (!allowed(request) || !repositories_.contains(key)) {
    return refusal(401, "", "Invalid username or password.");
  }
  Json answer{{"transfer", part_size > 0 ? "multipart" : "basic"}, {"objects", Json::array()}};
  const Json asked = Json::parse(request.body);
  for (const Json& object : asked.at("objects")) {
    const std::string oid = object.at("oid");
    const int64_t size = object.at("size");
    Json about{{"oid", oid}, {"size", size}};
    if (!blobs_.contains(oid)) {
      Json upload{{"href", storage->url("localhost") + "/upload/" + oid + "/1?Signature=s3cr"}};
      if (part_size > 0) {
        upload["href"] = server->url() + "/complete/" + oid;
        upload["header"] = {{"chunk_size", std::to_string(part_size)}};
        for (int64_t part = 1; (part - 1) * part_size < size; ++part) {
          upload["header"][fmt::format("{:05}", part)] =
              fmt::format("{}/upload/{}/{}?Signature=s3cr", storage->url("localhost"), oid, part);
        }
      }
      about["actions"] = {{"upload", upload},
                          {"verify", {{"href", server->url() + "/verify/" + oid}}}};
    }
    answer["objects"].push_back(about);
  }
  return json_reply(answer);
}

// PUT /upload/<sha>/<part>, POST /complete/<sha>, POST /verify/<sha>.
Reply FakeHub::take_upload(const Request& request) {
  const auto parts = split(request.path(), '/');
  const std::string sha = parts.at(2);
  if (parts[1] == "upload") {
    parts_[sha + "/" + parts.at(3)] = request.body;
    if (part_size == 0) {
      blobs_[sha] = request.body;
    }
    return {.headers = {{"ETag", "\"etag-" + parts[3] + "\""}}};
  }
  if (parts[1] == "complete") {
    std::string whole;
    const Json asked = Json::parse(request.body);
    for (const Json& part : asked.at("parts")) {
      const int number = part.at("partNumber");
      if (part.at("etag") != fmt::format("\"etag-{}\"", number)) {
        return {.status = 400};
      }
      whole += parts_[fmt::format("{}/{}", sha, number)];
    }
    blobs_[sha] = whole;
    return json_reply({{"success", true}});
  }
  const Json claim = Json::parse(request.body);
  const bool fine = blobs_.contains(sha) && sha256_of(blobs_[sha]) == sha &&
                    static_cast<int64_t>(blobs_[sha].size()) == claim.at("size");
  return fine ? json_reply(Json::object())
              : refusal(422, "", "the object is not what it should be");
}

Reply FakeHub::commit(const Request& request, const std::string& key, const std::string& branch) {
  if (!allowed(request)) {
    return refusal(401, "", "Invalid username or password.");
  }
  FakeRepository& repository = repositories_.at(key);
  if (!repository.branches.contains(branch)) {
    return refusal(404, "RevisionNotFound", "Invalid rev id");
  }
  FakeFiles files = repository.commits.at(repository.branches.at(branch));
  for (const std::string& line : split(request.body, '\n')) {
    if (line.empty()) {
      continue;
    }
    const Json item = Json::parse(line);
    const Json& value = item.at("value");
    if (item.at("key") == "file") {
      files[value.at("path")] = {from_base64(value.at("content")), false};
    } else if (item.at("key") == "lfsFile") {
      const std::string oid = value.at("oid");
      if (!blobs_.contains(oid)) {
        return refusal(400, "", "LFS pointer pointed to a file that does not exist");
      }
      files[value.at("path")] = {blobs_[oid], true};
    } else if (item.at("key") == "deletedFile") {
      files.erase(value.at("path"));
    } else if (item.at("key") == "deletedFolder") {
      const std::string folder = value.at("path").get<std::string>() + "/";
      std::erase_if(files, [&](const auto& f) { return f.first.starts_with(folder); });
    }
  }
  const std::string oid = add(key, std::move(files), branch);
  return json_reply({{"success", true},
                     {"commitOid", oid},
                     {"commitUrl", server->url() + "/" + key.substr(7) + "/commit/" + oid},
                     {"pullRequestUrl", nullptr}});
}

}  // namespace sft::testing
