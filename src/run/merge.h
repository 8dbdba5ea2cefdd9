// An adapter merged into its base: W + s B A, and what was trained whole. Used by `sft merge`.
#pragma once

#include <string>

#include "core/file.h"
#include "core/log.h"
#include "core/thread_pool.h"
#include "hub/cache.h"

namespace sft {

struct MergeOptions {
  std::string adapter;                // its folder
  std::string base;                   // "": the one that the adapter names
  std::string output_dir;             // gets the merged model's folder
  std::string dtype = "auto";         // of the merged weights; auto: the base's
  std::string quantization = "none";  // of them: run/save_packed.h
  uint64_t max_shard_bytes = 5'000'000'000;
};

// Row by row: memory does not grow with the model. Where training has parted a head from the
// embeddings that it was, the merged model has two tables. S001, S010 when it cannot be written;
// C196 where the output is the base's or the adapter's own folder; errors of opening both.
void merge_adapter(const MergeOptions& options, const HubEnvironment& hub, ThreadPool& pool,
                   const Logger& log);

}  // namespace sft
