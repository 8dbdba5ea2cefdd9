// Puts files into a model repository of the hub as one commit: large ones by git-lfs's protocol,
// small ones inside the commit, what is there already not at all. Used by the trainer.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/json_fwd.h"
#include "hub/http.h"

namespace sft {

struct HubUploadFile {
  std::string name;  // within the repository
  std::filesystem::path path;
};

struct HubCommit {
  std::string commit, url;
  int files = 0;  // sent; those that were there already are not counted
};

class HubUploader {
 public:
  // `token`: the environment's when empty. C114 when there is none, C115 without a network.
  HubUploader(const HubEnvironment& environment, const std::string& token);

  // The user whom the token belongs to. M302 when it is not valid.
  std::string user() const;
  // Makes the model repository `id` unless there is one. M306 without the right to do so.
  void create(const std::string& id, std::optional<bool> is_private) const;
  // Makes the branch unless there is one.
  void create_branch(const std::string& id, const std::string& branch) const;
  // Commits the files. Nothing when all of them are there already. Errors: M311 for an answer that
  // is no answer, M312 when the storage refuses or garbles a file, fail_answer's and
  // HttpClient::send's.
  std::optional<HubCommit> commit(const std::string& id, const std::string& branch,
                                  const std::vector<HubUploadFile>& files,
                                  const std::string& message) const;

 private:
  struct Item;
  HttpRequest post(const std::string& path, const Json& body) const;
  void ask_modes(const std::string& id, const std::string& branch, std::vector<Item>& items) const;
  void send_large(const std::string& id, const std::string& branch,
                  const std::vector<Item>& items) const;
  HubCommit send_commit(const std::string& id, const std::string& branch,
                        const std::vector<Item>& items, const std::string& message) const;

  HttpClient client_;
  std::string endpoint_;
};

// The files of a folder that belong into a repository, sorted: not checkpoints, nor what begins
// with '_' or '.', nor half-written files. A link that leads out of the folder is not followed:
// what it leads to was never meant for others. `warn` is told of each.
std::vector<HubUploadFile> uploadable_files(const std::filesystem::path& folder,
                                            const std::function<void(const std::string&)>& warn);

// git's name of the pointer file that stands for an lfs file.
std::string lfs_pointer_blob(const std::string& sha256, int64_t size);

std::string base64(std::string_view bytes);

}  // namespace sft
