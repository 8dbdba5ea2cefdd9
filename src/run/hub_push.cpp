#include "run/hub_push.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/nameless_file.h"
#include "core/threads.h"

namespace sft {

namespace {

std::string token_of(const HubOptions& o) {
  return o.hub_token ? *o.hub_token : o.push_to_hub_token.value_or("");
}

// The name as given, or the output folder's; without its owner, who stands before it.
std::string wanted_name(const TrainOptions& o) {
  std::string name = o.hub.hub_model_id.value_or(o.hub.push_to_hub_model_id.value_or(""));
  if (name.empty()) {
    fs::path folder = fs::absolute(o.output_dir).lexically_normal();
    folder = folder.has_filename() ? folder : folder.parent_path();
    name = folder.filename().string();
  }
  if (name.find('/') == std::string::npos && o.hub.push_to_hub_organization) {
    name = *o.hub.push_to_hub_organization + "/" + name;
  }
  return name;
}

std::string checked_name(const TrainOptions& o) {
  std::string name = wanted_name(o);
  if (!is_hub_id(name)) {
    throw Error("C116", fmt::format("\"{}\" cannot be the name of a repository", name))
        .hint("name it with --hub_model_id owner/name");
  }
  return name;
}

// Uploads run beside the training, whose progress line they leave alone.
HubEnvironment without_progress(HubEnvironment environment) {
  environment.report.progress = nullptr;
  return environment;
}

// What of a checkpoint is the model, not the state of the training.
bool is_model_file(const std::string& name) {
  return name != "optimizer.safetensors" && name != "sft_state.json" &&
         name != "trainer_state.json" && name != "manifest.json";
}

}  // namespace

// Files that stay readable when their checkpoint is rotated away, and of which nothing is left when
// this process is killed.
class OpenFiles {
 public:
  // The same file, through a name that stays; the name it has where there is no descriptor left.
  fs::path hold(const fs::path& path) {
    Fd file = open_file(path, O_RDONLY);
    if (!file) {
      return path;
    }
    open_.push_back(std::move(file));
    return path_of(open_.back());
  }

 private:
  std::vector<Fd> open_;
};

void HubPush::check(const TrainOptions& options, const HubEnvironment& environment) {
  checked_name(options);
  const HubUploader uploader(environment, token_of(options.hub));
  uploader.user();
}

HubPush::HubPush(const TrainOptions& options, const HubEnvironment& environment,
                 const Logger& logger)
    : options_(options),
      logger_(logger),
      uploader_(environment, token_of(options.hub)),
      quiet_uploader_(without_progress(environment), token_of(options.hub)),
      branch_(options.hub.hub_revision.value_or("main")) {
  repository_ = checked_name(options);
  if (repository_.find('/') == std::string::npos) {
    repository_ = uploader_.user() + "/" + repository_;
  }
  uploader_.create(repository_, options.hub.hub_private_repo);
  if (branch_ != "main") {
    uploader_.create_branch(repository_, branch_);
  }
  logger_.note(
      fmt::format("pushing to {} ({}, {})", repository_, branch_, options.hub.hub_strategy));
}

HubPush::~HubPush() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    jobs_.clear();
  }
  changed_.notify_all();
  if (worker_.joinable()) {
    worker_.join();
  }
}

void HubPush::checkpoint(const fs::path& folder, int64_t step) {
  const std::string& strategy = options_.hub.hub_strategy;
  if (strategy == "end") {
    return;
  }
  const std::unique_lock lock(mutex_);
  if (!options_.hub.hub_always_push && (busy_ || !jobs_.empty())) {
    logger_.detail(fmt::format("step {} is not pushed: the push before is still under way", step));
    return;
  }
  Job job{{}, fmt::format("Training in progress, step {}", step), {}};
  try {
    const auto open = std::make_shared<OpenFiles>();
    job.open = open;
    const std::string below = strategy == "checkpoint"        ? "last-checkpoint/"
                              : strategy == "all_checkpoints" ? folder.filename().string() + "/"
                                                              : "";
    for (HubUploadFile& file : uploadable_files(folder, warn())) {
      file.path = open->hold(file.path);
      if (is_model_file(file.name)) {
        job.files.push_back(file);
      }
      if (!below.empty()) {
        job.files.push_back({below + file.name, file.path});
      }
    }
  } catch (const fs::filesystem_error& e) {
    logger_.warn(fmt::format("step {} is not pushed: {}", step, e.what()));
    return;
  }
  jobs_.push_back(std::move(job));
  if (!worker_.joinable()) {
    try {
      worker_ = start_thread("uploads", [this] { work(); });
    } catch (const Error& e) {  // training goes on, and the end is pushed without a thread
      logger_.warn(fmt::format("step {} is not pushed: {}", step, e.message()));
      jobs_.pop_back();
    }
  }
  changed_.notify_all();
}

void HubPush::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) {
      return;
    }
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    lock.unlock();
    try {
      push(job, quiet_uploader_);
    } catch (const Error& e) {
      logger_.warn(fmt::format("\"{}\" was not pushed: {}", job.message, e.message()));
    } catch (const std::exception& e) {
      logger_.warn(fmt::format("\"{}\" was not pushed: {}", job.message, e.what()));
    }
    job = {};  // what it holds open is room on the disk
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

std::optional<HubCommit> HubPush::push(const Job& job, const HubUploader& uploader) {
  auto commit = uploader.commit(repository_, branch_, job.files, job.message);
  if (commit) {
    logger_.note(fmt::format("pushed {} files to {} ({})", commit->files, repository_,
                             commit->commit.substr(0, 8)));
  } else {
    logger_.note(fmt::format("{} has all files already", repository_));
  }
  return commit;
}

std::optional<HubCommit> HubPush::commit_folder(const fs::path& folder,
                                                const std::string& message) {
  return push({uploadable_files(folder, warn()), message, {}}, uploader_);
}

void HubPush::finish(const fs::path& folder) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !busy_ && jobs_.empty(); });
  }
  try {
    commit_folder(folder, "End of training");
  } catch (Error& e) {
    throw e.context(fmt::format("the model is saved in {}, but not pushed", folder.string()));
  }
}

std::vector<std::string> without_tokens(std::vector<std::string> arguments) {
  const auto names_token = [](std::string name) {
    std::ranges::replace(name, '-', '_');
    return name == "__hub_token" || name == "__push_to_hub_token";
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const size_t equals = arguments[i].find('=');
    if (!names_token(arguments[i].substr(0, equals))) {
      continue;
    }
    if (equals != std::string::npos) {
      arguments[i].replace(equals + 1, std::string::npos, "***");
    } else if (i + 1 < arguments.size()) {
      arguments[++i] = "***";
    }
  }
  return arguments;
}

}  // namespace sft
