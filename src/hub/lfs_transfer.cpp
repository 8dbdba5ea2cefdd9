#include "hub/lfs_transfer.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "core/json.h"
#include "core/json_text.h"
#include "core/numbers.h"
#include "core/threads.h"
#include "hub/questions.h"
#include "hub/retry.h"
#include "hub/url.h"

namespace sft {

namespace {

constexpr size_t kObjectsAtOnce = 256;
const char* const kLfsAccept = "Accept: application/vnd.git-lfs+json";
const char* const kLfsContent = "Content-Type: application/vnd.git-lfs+json";

// One request to the storage: a whole object, or a part of it.
struct Piece {
  size_t object = 0;
  std::string url;
  HttpFileBody body;
  std::vector<std::string> headers{};
  std::string etag{};  // the storage's answer
};

// An object that is not there yet.
struct Upload {
  const LfsObject* object = nullptr;
  std::string complete_url{}, verify_url{};
};

Error refused(const LfsObject& object, const std::string& why) {
  return Error("M312", fmt::format("the hub's storage does not take {}: {}",
                                   object.path.filename().string(), why))
      .hint("what was saved is complete on this machine; run  hf upload  with its folder");
}

class LfsUpload {
 public:
  LfsUpload(const HttpClient& client, const HubPlace& place) : client_(client), place_(place) {}

  void run(const std::vector<LfsObject>& objects) {
    for (size_t begin = 0; begin < objects.size(); begin += kObjectsAtOnce) {
      ask(std::vector<LfsObject>(objects.begin() + static_cast<std::ptrdiff_t>(begin),
                                 objects.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                       objects.size(), begin + kObjectsAtOnce))));
    }
  }

 private:
  // One batch: what is to be sent where, the sending, and the word that it is complete.
  void ask(const std::vector<LfsObject>& objects) {
    Json list = Json::array();
    std::map<std::string, const LfsObject*> by_name;
    for (const LfsObject& object : objects) {
      if (by_name.emplace(object.sha256, &object).second) {
        list.push_back({{"oid", object.sha256}, {"size", object.size}});
      }
    }
    const Json answer = post(
        fmt::format("{}/{}.git/info/lfs/objects/batch", client_.environment().endpoint, place_.id),
        {{"operation", "upload"},
         {"transfers", {"basic", "multipart"}},
         {"objects", list},
         {"hash_algo", "sha256"},
         {"ref", {{"name", place_.revision}}}});
    std::vector<Upload> uploads;
    std::vector<Piece> pieces;
    for (const Json& about : answer.at("objects")) {
      const auto it = by_name.find(about.at("oid"));
      if (it == by_name.end()) {
        continue;
      }
      if (about.contains("error")) {
        throw refused(*it->second, about["error"].value("message", "no reason given"));
      }
      if (about.contains("actions") && about["actions"].contains("upload")) {
        plan(*it->second, about["actions"], uploads, pieces);
      }
    }
    send(pieces, uploads);
    for (size_t i = 0; i < uploads.size(); ++i) {
      finish(uploads[i], i, pieces);
    }
  }

  void plan(const LfsObject& object, const Json& actions, std::vector<Upload>& uploads,
            std::vector<Piece>& pieces) const {
    Upload upload{&object};
    const Json& action = actions.at("upload");
    const Json header = action.contains("header") && action["header"].is_object() ? action["header"]
                                                                                  : Json::object();
    if (actions.contains("verify")) {
      upload.verify_url = here(actions["verify"].at("href"));
    }
    if (!header.contains("chunk_size")) {
      Piece piece{uploads.size(), action.at("href"), {object.path, 0, object.size}};
      for (const auto& [name, value] : header.items()) {
        const std::string line = name + ": " + (value.is_string() ? value.get<std::string>() : "");
        if (line.find_first_of("\r\n") == std::string::npos && value.is_string()) {
          piece.headers.push_back(line);
        }
      }
      pieces.push_back(std::move(piece));
    } else {
      upload.complete_url = here(action.at("href"));
      plan_parts(object, header, uploads.size(), pieces);
    }
    uploads.push_back(std::move(upload));
  }

  // The keys that are numbers are the parts' addresses, in the order of the numbers.
  static void plan_parts(const LfsObject& object, const Json& header, size_t index,
                         std::vector<Piece>& pieces) {
    const Json& said = header.at("chunk_size");
    const std::string text = said.is_string() ? said.get<std::string>() : to_text(said);
    constexpr int64_t kMostChunk = int64_t{1} << 50;
    const int64_t chunk = whole_number(text, 1, kMostChunk).value_or(0);
    std::map<int64_t, std::string> urls;
    for (const auto& [name, value] : header.items()) {
      if (!name.empty() && name.size() < 10 &&
          name.find_first_not_of("0123456789") == std::string::npos) {
        urls[*whole_number(name)] = value;
      }
    }
    if (chunk <= 0 || static_cast<int64_t>(urls.size()) != (object.size + chunk - 1) / chunk) {
      throw refused(object, fmt::format("it asks for {} parts of {} bytes for {} bytes",
                                        urls.size(), text, object.size));
    }
    int64_t offset = 0;
    for (const auto& [number, url] : urls) {
      pieces.push_back({index, url, {object.path, offset, std::min(chunk, object.size - offset)}});
      offset += chunk;
    }
  }

  // A mirror passes on addresses of the hub that it mirrors; the questions go to the endpoint.
  std::string here(const std::string& url) const {
    constexpr std::string_view kHub = "https://huggingface.co";
    return url_origin(url) == kHub ? client_.environment().endpoint + url.substr(kHub.size()) : url;
  }

  void send(std::vector<Piece>& pieces, const std::vector<Upload>& uploads) {
    total_ = 0, done_ = 0;
    for (const Piece& piece : pieces) {
      total_ += piece.body.bytes;
    }
    std::atomic<size_t> next{0};
    std::exception_ptr failure;
    const auto work = [&] {
      for (size_t i = next++; i < pieces.size(); i = next++) {
        try {
          send_piece(pieces[i], *uploads[pieces[i].object].object);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          failure = failure ? failure : std::current_exception();
          next = pieces.size();
        }
      }
    };
    Helpers helpers;
    const auto threads =
        static_cast<size_t>(std::clamp(client_.environment().connections / 2, 1, 8));
    for (size_t i = 1; i < std::min(threads, pieces.size()) && helpers.add(work); ++i) {
    }
    work();
    helpers.join();
    if (failure) {
      std::rethrow_exception(failure);
    }
    if (total_ > 0 && client_.environment().report.progress) {
      client_.environment().report.progress(total_, total_);
    }
  }

  void send_piece(Piece& piece, const LfsObject& object) {
    HttpRequest request;
    request.method = "PUT";
    request.url = piece.url;
    request.headers = piece.headers;
    request.file = piece.body;
    request.with_token = false;
    request.silence_seconds = std::max(60, client_.environment().download_timeout);
    int64_t counted = 0;
    request.on_sent = [&](int64_t bytes) {
      count(bytes - counted);
      counted = bytes;
    };
    const HttpResponse answer = send_patiently(client_, request, client_.environment().attempts);
    if (!answer.ok()) {
      throw refused(object, fmt::format("it answers {}", answer.status))
          .at(url_for_people(piece.url));
    }
    piece.etag = answer.header("etag");
  }

  void finish(const Upload& upload, size_t index, const std::vector<Piece>& pieces) {
    if (!upload.complete_url.empty()) {
      Json parts = Json::array();
      for (const Piece& piece : pieces) {
        if (piece.object == index) {
          if (piece.etag.empty()) {
            throw refused(*upload.object, "a part was taken without an ETag");
          }
          parts.push_back({{"partNumber", parts.size() + 1}, {"etag", piece.etag}});
        }
      }
      post(upload.complete_url, {{"oid", upload.object->sha256}, {"parts", parts}});
    }
    if (!upload.verify_url.empty()) {
      post(upload.verify_url, {{"oid", upload.object->sha256}, {"size", upload.object->size}});
    }
  }

  Json post(const std::string& url, const Json& body) const {
    HttpRequest request;
    request.method = "POST";
    request.url = url;
    request.headers = {kLfsAccept, kLfsContent};
    request.body = to_text(body);
    request.silence_seconds = std::max(60, client_.environment().etag_timeout);
    const HttpResponse answer = send_patiently(client_, request, client_.environment().attempts);
    if (!answer.ok()) {
      fail_answer(answer, place_, true);
    }
    Json json = json_of(answer.body);
    return json.is_discarded() ? Json() : json;
  }

  void count(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    done_ += bytes;
    if (client_.environment().report.progress && total_ > 0) {
      client_.environment().report.progress(std::min(done_, total_ - 1), total_);
    }
  }

  const HttpClient& client_;
  const HubPlace& place_;
  std::mutex mutex_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

void upload_lfs(const HttpClient& client, const HubPlace& place,
                const std::vector<LfsObject>& objects) {
  LfsUpload(client, place).run(objects);
}

}  // namespace sft
