// Behaves like the hub, from memory: questions, files (large ones through a second host), gates,
// uploads. For tests; what goes wrong is put in by `intercept`.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "core/json.h"
#include "hub/environment.h"
#include "hub/http_server.h"

namespace sft::testing {

struct FakeFile {
  std::string contents;
  bool lfs = false;
};
using FakeFiles = std::map<std::string, FakeFile>;

struct FakeRepository {
  std::map<std::string, FakeFiles> commits;     // by commit
  std::map<std::string, std::string> branches;  // name -> commit
  std::atomic<bool> is_private = false, gated = false;
};

// What is asked before the hub itself, by every connection's thread; replaced at any time.
class Interception {
 public:
  using Function = std::function<std::optional<Reply>(const Request&)>;

  Interception& operator=(Function function) {
    const std::lock_guard lock(mutex_);
    function_ = std::make_shared<Function>(std::move(function));
    return *this;
  }
  std::optional<Reply> operator()(const Request& request) const {
    std::shared_ptr<Function> function;
    {
      const std::lock_guard lock(mutex_);
      function = function_;
    }
    return *function ? (*function)(request) : std::nullopt;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<Function> function_ = std::make_shared<Function>();
};

std::string sha256_of(const std::string& text);
// Text that does not repeat and is the same every time.
std::string noise(size_t bytes, unsigned seed = 1);

class FakeHub {
 public:
  FakeHub();

  // Adds a commit on a branch; returns it. `key` is "models/org/name" or "datasets/org/name".
  std::string add(const std::string& key, FakeFiles files, const std::string& branch = "main");
  // A commit of all the files below a folder; those of more than `lfs_from` bytes are lfs.
  std::string add_folder(const std::string& key, const std::filesystem::path& folder,
                         size_t lfs_from = 100'000);
  // For its switches.
  FakeRepository& repository(const std::string& key) { return repositories_.at(key); }
  bool has(const std::string& key) const { return repositories_.contains(key); }
  // Copies: connections' threads may change what is there at any time.
  FakeFiles files(const std::string& key, const std::string& branch = "main") const;
  std::string newest(const std::string& key) const;  // commit of main
  size_t commits(const std::string& key) const;

  // An environment whose cache is `cache` and whose server is this one, with short waits.
  HubEnvironment environment(const std::filesystem::path& cache) const;

  std::string token = "hf_secretOfTheTests";  // belongs to the user "me"
  std::atomic<size_t> page = 1000;            // files a page of a listing
  std::atomic<bool> ranges = true;            // whether files are served in parts
  std::atomic<int64_t> part_size = 0;         // uploads in parts of so many bytes; 0: in one
  Interception intercept;                     // of both servers

 private:
  Reply answer(const Request& request);
  Reply answer_api(const Request& request);
  Reply answer_repository(const Request& request, const std::string& key, const std::string& rest);
  Reply list(const Request& request, const std::string& key, const std::string& commit);
  Reply resolve(const Request& request, const std::string& key, const std::string& revision,
                const std::string& file);
  Reply cdn(const Request& request);
  Reply contents(const Request& request, const std::string& text) const;
  std::string commit_of(const std::string& key, const std::string& revision);
  bool allowed(const Request& request) const;
  // Uploads, in fake_hub_uploads.cpp.
  Reply create(const Request& request);
  Reply preupload(const Request& request, const std::string& key, const std::string& branch);
  Reply lfs_batch(const Request& request, const std::string& key);
  Reply commit(const Request& request, const std::string& key, const std::string& branch);
  Reply take_upload(const Request& request);

  mutable std::recursive_mutex mutex_;
  std::map<std::string, FakeRepository> repositories_;
  std::map<std::string, std::string> blobs_;  // lfs contents by sha256
  std::map<std::string, std::string> parts_;  // uploaded pieces by "sha256/number"
  int commits_ = 0;

 public:
  // Declared last: they stop before what they use goes.
  std::unique_ptr<HttpServer> storage;  // the second host
  std::unique_ptr<HttpServer> server;
};

Reply json_reply(const Json& json, int status = 200);
Reply refusal(int status, const std::string& code, const std::string& message);

}  // namespace sft::testing
