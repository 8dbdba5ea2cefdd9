// What a preparation of rows has counted, and how it is said. Used by prepare_dataset and by
// whoever reports rows that were made while training ran.
#pragma once

#include <cstdint>

#include "core/json_fwd.h"
#include "core/log.h"
#include "data/options.h"
#include "data/rows/example.h"
#include "text/tokenizer.h"

namespace sft {

struct DataStatistics {
  int64_t rows_read = 0;
  int64_t rows = 0;                    // examples, before packing
  int64_t rows_empty = 0;              // dropped: no tokens, or a conversation without messages
  int64_t rows_without_assistant = 0;  // dropped: assistant_only_loss, and no assistant turn
  int64_t rows_fully_masked = 0;       // dropped: nothing left to train (after truncation)
  int64_t rows_truncated = 0;
  int64_t tokens_truncated = 0;           // lost with them
  int64_t rows_with_prefix_mismatch = 0;  // see RenderedRow
  int64_t rows_with_second_bos = 0;
  int64_t rows_with_lost_reasoning = 0;
  int64_t rows_with_mask_ignored = 0;
  int64_t conversations = 0;   // rows that were rendered with the chat template
  int64_t tokens = 0;          // of the examples kept, after truncation
  int64_t tokens_trained = 0;  // of those, labels that are not kIgnored
  int64_t packed_rows = 0;     // 0: not packed

  DataStatistics& operator+=(const DataStatistics& other);
};

// What a token pass has counted, for the file of its tokens.
Json about_statistics(const DataStatistics& stats);
DataStatistics statistics_of(const Json& about);

// What was done to rows that were kept.
void say_changes(const DataStatistics& stats, const DataOptions& options,
                 const Tokenizer& tokenizer, const Logger& log);
// Which rows were left out.
void say_dropped(const DataStatistics& stats, const Logger& log);
// What the notes of rows that were made during training add up to.
void say_notes(const RowNotes& notes, const DataOptions& options, const Tokenizer& tokenizer,
               const Logger& log);

}  // namespace sft
