// A prepared data set in numbers: lengths, what was cut or left out, what is trained, how well it
// is packed. Used by `sft inspect` and --dry_run.
#pragma once

#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "data/dataset.h"

namespace sft {

struct LengthBucket {
  int64_t from, to;  // tokens, both included
  int64_t documents;
};

struct Survey {
  int64_t rows_read = 0;     // of the files
  int64_t rows_dropped = 0;  // left out: nothing to train, or empty
  int64_t documents = 0;     // rows trained, before packing
  int64_t tokens = 0;        // of them, after truncation
  int64_t tokens_trained = 0;
  int64_t rows_truncated = 0, tokens_truncated = 0;
  int64_t longest = 0;                // tokens of the longest document
  int64_t median = 0;                 // and of the middle one
  std::vector<LengthBucket> lengths;  // powers of two, without empty ones at either end
  int64_t packed_rows = 0;            // 0: not packed
  double packing_efficiency = 0;      // tokens over packed rows x max_length
  int64_t longest_batch_row = 0;      // tokens of the longest row, packed where it is packed

  double truncated_share() const;  // of the rows that were read
  double lost_share() const;       // of the tokens before truncation
  double trained_share() const;    // of the tokens kept
};

// Goes through all rows.
Survey survey(const Prepared& prepared, const DataOptions& options, ThreadPool& pool);

Json to_json(const Survey& survey);
// For a terminal of `width` columns; `bars` draws the histogram with block characters.
std::vector<std::string> describe(const Survey& survey, const DataOptions& options, int width,
                                  bool bars);

}  // namespace sft
