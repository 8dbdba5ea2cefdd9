// The manifest of a checkpoint: what is in it, and whether it still is. Used by checkpoint.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/written_file.h"

namespace sft {

inline constexpr const char* kManifestFile = "manifest.json";

// The text of manifest.json; its last key is the checksum of the rest.
std::string manifest_text(int64_t step, const std::string& run,
                          const std::vector<WrittenFile>& files);

struct CheckpointFolder {
  fs::path path;
  int64_t step = 0;
};
// The folders named checkpoint-<number>, by step; whole or not.
std::vector<CheckpointFolder> list_checkpoints(const fs::path& output_dir);
// The number in "checkpoint-<number>", or -1.
int64_t step_in_name(const std::string& name);

}  // namespace sft
