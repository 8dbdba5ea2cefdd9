// --push_to_hub: checkpoints go to the hub while training runs, the model when it is done. Used by
// run.cpp.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/log.h"
#include "hub/upload.h"
#include "settings/train_options.h"

namespace sft {

class OpenFiles;

class HubPush {
 public:
  // What the constructor refuses for the name or the token; nothing is made.
  static void check(const TrainOptions& options, const HubEnvironment& environment);
  // Makes the repository and the branch, so that what cannot work fails before anything is
  // computed: C114-C116 without a token, network or usable name, else HubUploader's errors.
  HubPush(const TrainOptions& options, const HubEnvironment& environment, const Logger& logger);
  ~HubPush();  // gives up what is not under way, waits for what is
  HubPush(const HubPush&) = delete;
  HubPush& operator=(const HubPush&) = delete;

  const std::string& repository() const { return repository_; }

  // A checkpoint is complete: sends what hub_strategy says, on a thread of its own. While the one
  // before is still under way this one is left out, unless hub_always_push. A failure is a warning.
  void checkpoint(const std::filesystem::path& folder, int64_t step);
  // The end: waits for the thread, then sends the folder's files. Throws when that fails.
  void finish(const std::filesystem::path& folder);
  // Sends a folder's files as one commit. Large ones that the hub has got already, of a push that
  // broke off, are not sent again. Nothing when all of them are there.
  std::optional<HubCommit> commit_folder(const std::filesystem::path& folder,
                                         const std::string& message);

 private:
  // Says what is left out.
  std::function<void(const std::string&)> warn() const {
    return [this](const std::string& sentence) { logger_.warn(sentence); };
  }
  struct Job {
    std::vector<HubUploadFile> files;
    std::string message;
    std::shared_ptr<const OpenFiles> open;  // what `files` are read through
  };
  void work();
  std::optional<HubCommit> push(const Job& job, const HubUploader& uploader);

  const TrainOptions& options_;
  const Logger& logger_;
  HubUploader uploader_, quiet_uploader_;
  std::string repository_, branch_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool busy_ = false, ending_ = false;
  std::thread worker_;
};

// The arguments without the values of tokens, as logs may show them.
std::vector<std::string> without_tokens(std::vector<std::string> arguments);

}  // namespace sft
