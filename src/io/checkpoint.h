// Checkpoints: folders `output_dir/checkpoint-<step>` that are either whole or not there. Used by
// the trainer for saving, resuming and pruning.
//
// Each carries the id of the run that saved it (a run that is resumed keeps its id). What carries
// another, or none because another program wrote it, is neither removed nor replaced here.
//
// A checkpoint is written as `checkpoint-<step>.tmp-<pid>`, every file synced, manifest.json (size
// and CRC-32C of each file) last, read back and compared, and then renamed; what was saved before
// is not touched until then.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/file_writer.h"
#include "core/json_fwd.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "io/safetensors_writer.h"
#include "io/written_file.h"

namespace sft {

class CheckpointWriter {
 public:
  // Makes output_dir (if need be) and the temporary folder. S010 when that cannot be done.
  CheckpointWriter(const fs::path& output_dir, int64_t step, std::string run);
  // Removes the temporary folder unless `commit` has succeeded.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Where the files go until `commit`; save_model may write here, if its files are then added.
  const fs::path& folder() const { return temporary_; }
  void add(std::span<const WrittenFile> files);

  // All throw S001 when the disk is full or the folder not writable.
  void write_text(const std::string& file, std::string_view text);
  void write_json(const std::string& file, const Json& json);
  // A safetensors file of the tensors as they are (optimizer state under global names).
  void write_tensors(const std::string& file, std::span<const StreamedTensor> tensors);
  // Writes the manifest, reads everything back and renames; an older checkpoint of the same step is
  // replaced when it is of the same run, and renamed otherwise. Returns the final path. S001, S020,
  // S021 when what is read is not what was written.
  fs::path commit();
  // What was renamed to make room, under its new name; empty when there was nothing.
  const fs::path& moved() const { return moved_; }

 private:
  fs::path output_dir_, final_, temporary_, moved_;
  int64_t step_;
  std::string run_;
  bool committed_ = false;
  std::vector<WrittenFile> files_;
};

// Throws unless every file of the manifest is there with its size and checksum: M260 no manifest
// (or no folder), M261 not a sound one, M262 a file is missing or of another size, M263 a file's
// content has changed. Returns the step. Reads every byte, in parallel when there is a pool.
int64_t verify_checkpoint(const fs::path& checkpoint, ThreadPool* pool = nullptr,
                          ReadFrom from = ReadFrom::anywhere);

// Who saved a checkpoint, by its manifest or, without one, by the files of other programs.
struct CheckpointOrigin {
  enum class Kind { ours, hf_trainer, damaged, unknown } kind = Kind::unknown;
  std::string run;    // the run's id; of ours only
  int64_t step = -1;  // as the manifest says; of ours only
};
CheckpointOrigin origin_of(const fs::path& checkpoint);

struct LatestCheckpoint {
  std::optional<fs::path> path;  // nothing when there is no whole one
  int64_t step = 0;
  std::vector<std::string> skipped;  // "checkpoint-20: manifest.json is missing", newest first
};
// The newest whole checkpoint of output_dir; with a `run`, of those that carry it. Those of the
// Hugging Face Trainer are passed over.
LatestCheckpoint find_latest_checkpoint(const fs::path& output_dir, ThreadPool* pool = nullptr,
                                        const std::optional<std::string>& run = std::nullopt);

// Removes the run's oldest checkpoints until `limit` are left (0: no limit), never that of step
// `newest`, which was just saved, nor one of `keep` (the best). Those of later steps, which a run
// that went on from an earlier one has yet to reach, do not count. Returns what was removed. As in
// transformers, limit 1 and a best that is not the newest leave two.
std::vector<fs::path> rotate_checkpoints(const fs::path& output_dir, const std::string& run,
                                         int64_t newest, int64_t limit,
                                         std::span<const fs::path> keep = {});

// Removes the temporary folders that a killed run has left. Returns how many.
int remove_checkpoint_leftovers(const fs::path& output_dir);

}  // namespace sft
