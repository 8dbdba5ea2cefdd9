// Checkpoints: folders `output_dir/checkpoint-<step>` that are either whole or not there. Used by
// the trainer for saving, resuming and pruning.
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
#include "core/json.h"
#include "core/tensor.h"
#include "core/thread_pool.h"
#include "io/safetensors_writer.h"
#include "io/written_file.h"

namespace sft {

class CheckpointWriter {
 public:
  // Makes output_dir (if need be) and the temporary folder. S010 when that cannot be done.
  CheckpointWriter(const fs::path& output_dir, int64_t step);
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
  // replaced. Returns the final path. S001, S020, S021 when what is read is not what was written.
  fs::path commit();

 private:
  fs::path output_dir_, final_, temporary_;
  int64_t step_;
  bool committed_ = false;
  std::vector<WrittenFile> files_;
};

// Throws unless every file of the manifest is there with its size and checksum: M260 no manifest
// (or no folder), M261 not a sound one, M262 a file is missing or of another size, M263 a file's
// content has changed. Returns the step. Reads every byte, in parallel when there is a pool.
int64_t verify_checkpoint(const fs::path& checkpoint, ThreadPool* pool = nullptr,
                          ReadFrom from = ReadFrom::anywhere);

struct LatestCheckpoint {
  std::optional<fs::path> path;  // nothing when there is no whole one
  int64_t step = 0;
  std::vector<std::string> skipped;  // "checkpoint-20: manifest.json is missing", newest first
};
// The newest whole checkpoint of output_dir.
LatestCheckpoint find_latest_checkpoint(const fs::path& output_dir, ThreadPool* pool = nullptr);

// Removes the oldest checkpoints until `limit` are left (0: no limit), never the newest nor one of
// `keep` (the best). Returns what was removed. As in transformers, limit 1 and a best that is not
// the newest leave two.
std::vector<fs::path> rotate_checkpoints(const fs::path& output_dir, int64_t limit,
                                         std::span<const fs::path> keep = {});

// Removes the temporary folders that a killed run has left. Returns how many.
int remove_checkpoint_leftovers(const fs::path& output_dir);

}  // namespace sft
