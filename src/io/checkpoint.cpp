#include "io/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "core/file_writer.h"
#include "core/json.h"
#include "io/checkpoint_manifest.h"
#include "io/safetensors_writer.h"

namespace sft {

namespace {

[[noreturn]] void fail_folder(const fs::path& folder, const std::string& reason) {
  throw Error("S010", fmt::format("cannot make the folder {}: {}", folder.string(), reason))
      .hint("choose an --output_dir that you may write to; what was saved before is intact");
}

void make_folder(const fs::path& folder) {
  std::error_code reason;
  fs::create_directories(folder, reason);
  if (reason || !fs::is_directory(folder, reason)) {
    fail_folder(folder, reason ? reason.message() : "a file of that name is there");
  }
}

// Puts `from` at `to`. An older folder there is swapped out in one step where the system can do
// that, so that there is no moment without a checkpoint.
void replace_folder(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) {
    return;
  }
  std::error_code ignored;
  const bool occupied = errno == ENOTEMPTY || errno == EEXIST;
  if (occupied && ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(from, ignored);  // now the old one
    return;
  }
  const fs::path old = from.string() + ".old";
  if (occupied && ::rename(to.c_str(), old.c_str()) == 0 &&
      ::rename(from.c_str(), to.c_str()) == 0) {
    fs::remove_all(old, ignored);
    return;
  }
  const int reason = errno;
  throw Error("S020", fmt::format("cannot rename {} to {}: {}", from.string(), to.string(),
                                  std::strerror(reason)))
      .hint("what was saved before is intact; check the folder's permissions");
}

// "checkpoint-12.tmp-345", also with ".old" behind.
bool is_leftover(const std::string& name) {
  constexpr std::string_view kMark = ".tmp-", kDigits = "0123456789";
  const size_t mark = name.find(kMark);
  const size_t rest =
      mark == std::string::npos ? mark : name.find_first_not_of(kDigits, mark + kMark.size());
  return mark != std::string::npos && step_in_name(name.substr(0, mark)) >= 0 &&
         (rest == std::string::npos || name.substr(rest) == ".old");
}

// A free name beside a checkpoint of another run that stands where one of this run is to be.
fs::path name_aside(const fs::path& path, const CheckpointOrigin& origin) {
  const std::string base =
      path.string() + (origin.kind == CheckpointOrigin::Kind::ours      ? ".of-" + origin.run
                       : origin.kind == CheckpointOrigin::Kind::damaged ? ".damaged"
                                                                        : ".of-another-program");
  fs::path name = base;
  for (int i = 2; is_there(name); ++i) {
    name = fmt::format("{}-{}", base, i);
  }
  return name;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const fs::path& output_dir, int64_t step, std::string run)
    : output_dir_(output_dir),
      final_(output_dir / fmt::format("checkpoint-{}", step)),
      temporary_(fmt::format("{}.tmp-{}", final_.string(), ::getpid())),
      step_(step),
      run_(std::move(run)) {
  make_folder(output_dir_);
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  make_folder(temporary_);
}

CheckpointWriter::~CheckpointWriter() {
  if (!committed_) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
}

void CheckpointWriter::add(std::span<const WrittenFile> files) {
  files_.insert(files_.end(), files.begin(), files.end());
}

void CheckpointWriter::write_text(const std::string& file, std::string_view text) {
  files_.push_back(write_counted(temporary_ / file, text));
}

void CheckpointWriter::write_json(const std::string& file, const Json& json) {
  write_text(file, to_text(json, 2) + "\n");
}

void CheckpointWriter::write_tensors(const std::string& file,
                                     std::span<const StreamedTensor> tensors) {
  files_.push_back(write_safetensors(temporary_ / file, tensors, DType::f32));
}

fs::path CheckpointWriter::commit() {
  write_counted(temporary_ / kManifestFile, manifest_text(step_, run_, files_));
  sync_folder(temporary_);
  try {
    verify_checkpoint(temporary_, nullptr, ReadFrom::disk);
  } catch (const Error& e) {
    throw Error("S021", fmt::format("the checkpoint of step {} reads back otherwise than it was "
                                    "written: {}",
                                    step_, e.message()))
        .hint("the disk or its driver fails; what was saved before is intact");
  }
  const CheckpointOrigin there = origin_of(final_);
  const bool own = there.kind == CheckpointOrigin::Kind::ours && there.run == run_;
  if (fs::is_symlink(fs::symlink_status(final_)) || (is_folder(final_) && !own)) {
    moved_ = name_aside(final_, there);
    replace_folder(final_, moved_);
  }
  replace_folder(temporary_, final_);
  committed_ = true;
  sync_folder(output_dir_);
  return final_;
}

LatestCheckpoint find_latest_checkpoint(const fs::path& output_dir, ThreadPool* pool,
                                        const std::optional<std::string>& run) {
  LatestCheckpoint result;
  auto all = list_checkpoints(output_dir);
  for (auto it = all.rbegin(); it != all.rend() && !result.path; ++it) {
    const CheckpointOrigin origin = origin_of(it->path);
    if (origin.kind == CheckpointOrigin::Kind::hf_trainer ||
        (run && origin.kind == CheckpointOrigin::Kind::ours && origin.run != *run)) {
      continue;
    }
    try {
      verify_checkpoint(it->path, pool);
      result.path = it->path;
      result.step = it->step;
    } catch (const Error& e) {
      result.skipped.push_back(fmt::format("{}: {}", it->path.filename().string(), e.message()));
    }
  }
  return result;
}

std::vector<fs::path> rotate_checkpoints(const fs::path& output_dir, const std::string& run,
                                         int64_t newest, int64_t limit,
                                         std::span<const fs::path> keep) {
  std::vector<fs::path> removed;
  auto all = list_checkpoints(output_dir);
  std::erase_if(all, [&](const CheckpointFolder& checkpoint) {
    const CheckpointOrigin origin = origin_of(checkpoint.path);
    return checkpoint.step > newest || origin.kind != CheckpointOrigin::Kind::ours ||
           origin.run != run;
  });
  if (limit <= 0 || all.empty()) {
    return removed;
  }
  const auto is_kept = [&](const fs::path& path) {
    return std::any_of(keep.begin(), keep.end(),
                       [&](const fs::path& k) { return k.filename() == path.filename(); });
  };
  auto left = static_cast<int64_t>(all.size());
  for (size_t i = 0; i + 1 < all.size() && left > limit; ++i) {
    if (is_kept(all[i].path)) {
      continue;
    }
    // Renamed first, so that a kill half-way leaves something that is plainly not a checkpoint.
    const fs::path doomed = fmt::format("{}.tmp-{}", all[i].path.string(), ::getpid());
    std::error_code failed;
    fs::rename(all[i].path, doomed, failed);
    if (!failed) {
      fs::remove_all(doomed, failed);
      removed.push_back(all[i].path);
      --left;
    }
  }
  return removed;
}

int remove_checkpoint_leftovers(const fs::path& output_dir) {
  int found = 0;
  std::error_code ignored;
  for (const fs::path& path : paths_in(output_dir)) {
    if (is_leftover(path.filename().string()) && is_folder(path)) {
      fs::remove_all(path, ignored);
      ++found;
    }
  }
  return found;
}

}  // namespace sft
