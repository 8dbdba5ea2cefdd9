// The folder of tokenised data sets: which file a preparation would have made, waiting for another
// process that is making it, and how much is kept. Used by prepare_dataset.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/file_lock.h"
#include "data/dataset.h"
#include "data/tokens/token_file.h"

namespace sft {

// What the tokens depend on: the files (path, size, time, inode), which of their rows and columns,
// tokenizer, template, the options that matter, and the program.
std::string token_cache_key(const RowSource& source, const DataOptions& options, Part part,
                            bool packing, const DataContext& context);

class TokenCache {
 public:
  // Locks the entry against other processes until it is destroyed, waiting for one that has it.
  TokenCache(std::filesystem::path folder, const std::string& key, const Logger& log);

  // The entry, if it is there and as it was written; it then counts as used now. One that is
  // damaged is said and removed, to be made again.
  std::shared_ptr<const TokenFile> find(ThreadPool* pool = nullptr) const;
  std::unique_ptr<TokenFileWriter> writer() const;
  // Removes the entries used longest ago until what stays is at most `bytes`, and what writers that
  // have died left behind.
  void prune(int64_t bytes) const;

 private:
  std::filesystem::path folder_, path_;
  const Logger& log_;
  FileLock lock_;
};

}  // namespace sft
