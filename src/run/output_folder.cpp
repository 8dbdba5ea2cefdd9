#include "run/output_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <system_error>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "core/strings.h"
#include "io/checkpoint.h"
#include "io/checkpoint_manifest.h"
#include "io/model_files.h"

namespace sft {

namespace {

constexpr const char* kRecord = ".sft.run";

// What a run writes into output_dir itself, beside the model's texts and shards of its weights.
constexpr const char* kLog = "metrics.jsonl";
constexpr const char* kFiles[] = {kLog,        kRecord,  "trainer_state.json", "training_args.json",
                                  "README.md", kWeights, kWeightsIndex};

// A link is replaced by a file, and metrics.jsonl, which is appended to, may not be one.
void check_names(const fs::path& folder) {
  for (const char* name : kFiles) {
    check_place_for_file(folder / name);
  }
  for (const char* name : kModelTexts) {
    check_place_for_file(folder / name);
  }
  struct stat info{};
  const fs::path appended = folder / kLog;
  if (::lstat(appended.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
    throw Error("S001", fmt::format("cannot write {}: a link has that name, and a file is wanted",
                                    appended.string()))
        .hint("remove it, or choose another --output_dir");
  }
  for (const fs::path& path : paths_in(folder)) {
    const bool checkpoint = step_in_name(path.filename().string()) >= 0;
    if (checkpoint && ::lstat(path.c_str(), &info) == 0 && !is_folder(path)) {
      throw Error("S001", fmt::format("cannot write {}: {} has the name of a checkpoint",
                                      path.string(), name_of_mode(info.st_mode)))
          .hint("remove it, or choose another --output_dir");
    }
  }
}

bool wants_latest(const TrainOptions& o) {
  const std::string lower = to_lower(o.resume_from_checkpoint.value_or("false"));
  return lower == "true" || lower == "latest" || lower == "yes";
}

bool wants_none(const TrainOptions& o) {
  const std::string lower = to_lower(o.resume_from_checkpoint.value_or("false"));
  return lower == "false" || lower == "no";
}

std::vector<std::string> names_of(const std::vector<CheckpointFolder>& checkpoints) {
  std::vector<std::string> names;
  for (const CheckpointFolder& checkpoint : checkpoints) {
    names.push_back(checkpoint.path.filename().string());
  }
  return names;
}

// The names, the last ones where they are many.
std::string few(const std::vector<std::string>& names) {
  constexpr size_t kMost = 4;
  const size_t left_out = names.size() > kMost ? names.size() - kMost : 0;
  const std::vector<std::string> shown(names.begin() + static_cast<long>(left_out), names.end());
  return fmt::format("{}{}", left_out > 0 ? fmt::format("{} others, ", left_out) : "",
                     fmt::join(shown, ", "));
}

fs::path checked_checkpoint(const fs::path& path) {
  if (!is_folder(path)) {
    throw Error("M265", fmt::format("the checkpoint {} does not exist", path.string()))
        .hint("--resume_from_checkpoint latest  takes the newest of output_dir, if there is one");
  }
  if (is_there(path / "manifest.json")) {
    return path;
  }
  const auto inside = list_checkpoints(path);
  if (!inside.empty()) {
    throw Error("M267", fmt::format("{} is no checkpoint but a folder of them: {}", path.string(),
                                    few(names_of(inside))))
        .hint(fmt::format("--resume_from_checkpoint {}", shell_word(inside.back().path.string())));
  }
  if (is_there(path / kRecord)) {
    throw Error("M267",
                fmt::format("{} is the output_dir of a run and holds no checkpoint", path.string()))
        .hint(fmt::format("train the model in it further with  --model_name_or_path {}",
                          path.string()));
  }
  return path;
}

bool holds_model(const fs::path& folder) {
  return is_there(folder / kWeights) || is_there(folder / kWeightsIndex);
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  std::error_code ignored;
  return fs::equivalent(path.parent_path().empty() ? "." : path.parent_path(), folder, ignored);
}

std::optional<RunRecord> read_record(const fs::path& folder) {
  try {
    if (is_file(folder / kRecord)) {
      RunRecord record;
      read_state(record, read_json(folder / kRecord), {(folder / kRecord).string()});
      return record;
    }
  } catch (const Error&) {  // not to know is as if another run had been here
  }
  return std::nullopt;
}

// Of the run that was here last, or, where nobody has noted which, of all.
std::optional<Resume> newest(const fs::path& folder, const std::optional<RunRecord>& record,
                             ThreadPool& pool, const Logger& log) {
  const LatestCheckpoint latest =
      find_latest_checkpoint(folder, &pool, record ? std::optional(record->run) : std::nullopt);
  for (const std::string& reason : latest.skipped) {
    log.warn(fmt::format("skipped {}", reason));
  }
  std::vector<std::string> others;
  std::optional<fs::path> trainers;
  for (const CheckpointFolder& checkpoint : list_checkpoints(folder)) {
    const CheckpointOrigin origin = origin_of(checkpoint.path);
    if (origin.kind == CheckpointOrigin::Kind::hf_trainer) {
      trainers = checkpoint.path;
    }
    if (record && !(origin.kind == CheckpointOrigin::Kind::ours && origin.run == record->run)) {
      others.push_back(checkpoint.path.filename().string());
    }
  }
  if (!record && trainers && (!latest.path || step_in_name(trainers->filename()) > latest.step)) {
    return Resume{*trainers, false};  // for the trainer to refuse, or to take with changes
  }
  if (latest.path) {
    return Resume{*latest.path, true};
  }
  if (record && !record->from.empty() && is_folder(record->from)) {
    return Resume{record->from, false};
  }
  if (!others.empty()) {
    log.warn(
        fmt::format("the run that was last in {} has saved no checkpoint; those of others are "
                    "not taken ({}): starting from the beginning. To go on from one, name it:  "
                    "--resume_from_checkpoint {}",
                    folder.string(), few(others), (folder / others.back()).string()));
  } else {
    log.note(fmt::format("no checkpoint in {} yet: starting from the beginning", folder.string()));
  }
  return std::nullopt;
}

// Whether files can be made in `folder`, or in the nearest folder above it that is there; "" when
// they can, else why not.
std::string why_not_writable(fs::path folder) {
  folder = fs::absolute(folder).lexically_normal();
  while (kind_of(folder) == PathKind::none && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  if (!is_folder(folder)) {
    return fmt::format("{} is not a folder", folder.string());
  }
  return ::access(folder.c_str(), W_OK | X_OK) == 0
             ? ""
             : fmt::format("{}: {}", folder.string(), std::strerror(errno));
}

}  // namespace

void check_profile(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!is_folder(folder)) {
    throw Error("S010", fmt::format("--profile: the folder of {} does not exist", file.string()))
        .hint(fmt::format("mkdir -p {}", folder.string()));
  }
  const std::string why =
      is_folder(file) ? "a folder of that name is there" : why_not_writable(folder);
  if (!why.empty()) {
    throw Error("S010", fmt::format("--profile: cannot write {}: {}", file.string(), why))
        .hint("name a file in a folder that you may write to");
  }
}

void check_outputs(const TrainOptions& o) {
  if (const std::string why = why_not_writable(o.output_dir); !why.empty()) {
    throw Error("S010", fmt::format("cannot write to the output_dir {}: {}", o.output_dir, why))
        .hint("choose another --output_dir");
  }
  if (is_folder(o.output_dir)) {
    check_names(o.output_dir);
  }
  if (o.profile) {
    check_profile(*o.profile);
  }
}

std::string new_run_id() {
  std::random_device random;
  const auto half = [&] { return static_cast<uint32_t>(random()); };
  const uint32_t first = half();
  return fmt::format("{:08x}{:08x}", first, half());
}

std::optional<Resume> checkpoint_to_resume(const TrainOptions& options, const std::string& launch,
                                           int attempt, ThreadPool& pool, const Logger& log) {
  const fs::path folder = options.output_dir;
  const std::optional<RunRecord> record = read_record(folder);
  const bool restart = attempt > 0 && !launch.empty() && record && record->launch == launch;
  if (restart || wants_latest(options)) {
    return newest(folder, record, pool, log);
  }
  if (wants_none(options)) {
    return std::nullopt;
  }
  return Resume{checked_checkpoint(*options.resume_from_checkpoint), false};
}

OutputFolder::OutputFolder(const TrainOptions& options, const std::string& owner)
    : folder_(options.output_dir) {
  std::error_code failure;
  fs::create_directories(folder_, failure);
  if (failure || ::access(folder_.c_str(), W_OK) != 0) {
    throw Error("S010", fmt::format("cannot write to the output_dir {}: {}", folder_.string(),
                                    failure ? failure.message() : "permission denied"))
        .hint("choose another --output_dir");
  }
  lock_.emplace(folder_, owner);
  remove_checkpoint_leftovers(folder_);
  check_names(folder_);
  record_ = read_record(folder_);
}

void RunRecord::visit(StateTable& v) {
  v("run", &run);
  v("launch", &launch);
  v("from", &from);
  v("model", &model);
}

void OutputFolder::write_record() const {
  write_text(folder_ / kRecord, to_text(write_state(*record_), 2) + "\n");
}

void OutputFolder::begin(const std::string& run, const std::string& launch, const std::string& from,
                         const Logger& log) {
  RunRecord record{run, launch, "", record_ ? record_->model : ""};
  if (!from.empty() && !(is_inside(from, folder_) && origin_of(from).run == run)) {
    record.from = fs::absolute(from).string();
  } else if (!from.empty() && record_ && record_->run == run) {
    record.from = record_->from;
  }
  record_ = record;
  write_record();
  std::vector<CheckpointFolder> others = list_checkpoints(folder_);
  std::erase_if(others, [&](const CheckpointFolder& checkpoint) {
    const CheckpointOrigin origin = origin_of(checkpoint.path);
    return origin.kind == CheckpointOrigin::Kind::ours && origin.run == run;
  });
  if (!others.empty()) {
    log.warn(
        fmt::format("{} holds checkpoints that are not of this run ({}): they are left as "
                    "they are, and one whose step this run saves too is renamed",
                    folder_.string(), few(names_of(others))));
  }
  if (record.model != run && holds_model(folder_)) {
    log.warn(
        fmt::format("{} holds a model that is not of this run: it is replaced when this run "
                    "ends",
                    folder_.string()));
  }
}

void OutputFolder::model_saved() {
  record_->model = record_->run;
  write_record();
}

}  // namespace sft
