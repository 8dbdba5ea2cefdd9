// Everything between the options and the loader: finds the data, understands its rows, tokenises,
// truncates, packs and orders them. Used by the trainer and `sft inspect`.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "chat/chat_template.h"
#include "core/log.h"
#include "core/thread_pool.h"
#include "data/options.h"
#include "data/rows/example.h"
#include "data/rows/row_source.h"
#include "data/statistics.h"
#include "hub/cache.h"
#include "text/tokenizer.h"

namespace sft {

struct DataContext {
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template;  // null: the model has none
  ThreadPool& pool;
  const Logger& log;
  HubEnvironment hub;
  uint64_t seed = 42;      // --seed: of shuffle_dataset and test_split_size
  int64_t vocab = 0;       // of the model, which may be larger than the tokenizer's; 0: not known
  std::string text_key{};  // tells tokenizers apart, by their contents
  std::filesystem::path cache_folder{};  // of tokenised data; empty: none is kept
};

struct Prepared {
  std::shared_ptr<const void> sources{};  // what `rows` stands on
  std::unique_ptr<PreparedDataset> rows;
  DataStatistics statistics;
  bool chat = false;  // some rows were rendered with the chat template; see RowNotes for the others
  std::vector<std::filesystem::path> files{};  // what was read, in order
  std::string report;  // one line: what was read, as which shape, what is trained and ignored
};

// TRL's preparation; the result does not depend on the number of threads. Where TRL's order needs
// only the number of rows, and there are more than a few, rows are made when they are asked for and
// carry notes; otherwise all are tokenised first. Options and context outlive the result. Says the
// report, and what was dropped or cut as far as it is known, through `log`. Beside the errors of
// the parts: D048 no rows, D049 nothing would be trained (the first row is shown), D052
// truncation_mode, D053 padding_free with max_length.
Prepared prepare_dataset(const DataOptions& options, Part part, const DataContext& context);

// Finds the files of a part and looks at its first rows: the refusals that need no more than that,
// for a part that is prepared after another that may take long.
void check_dataset(const DataOptions& options, Part part, const DataContext& context);

// Whether TRL would lay batches out without padding, which decides how it counts num_tokens.
bool is_padding_free(const DataOptions& options);

// One row as text, tokens and labels, for `sft inspect`: without packing, shuffling or dropping.
struct InspectedRow {
  std::string place;
  std::string text;
  Example example;                  // truncated
  bool dropped = false;             // training would leave it out
  std::vector<std::string> lost{};  // what the chat template leaves out of it, in words
  std::string stops{};              // the error with which training would end here
};
// The first `limit` rows; with `only_kept`, of those that training keeps or stops at.
std::vector<InspectedRow> inspect_rows(const DataOptions& options, Part part,
                                       const DataContext& context, int64_t limit,
                                       bool only_kept = false);

}  // namespace sft
