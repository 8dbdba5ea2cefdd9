// One row of a prepared data set, and the data set as the loader sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sft {

class ContentHash;

inline constexpr int32_t kIgnored = -100;  // the label of a token that is not trained

// What happened to rows on their way, where they are made while training runs.
struct RowNotes {
  int64_t rows = 0, empty = 0, truncated = 0, tokens_truncated = 0;
  int64_t prefix_mismatch = 0, second_bos = 0, lost_reasoning = 0, mask_ignored = 0;
  int64_t conversations = 0;

  RowNotes& operator+=(const RowNotes& other) {
    rows += other.rows;
    empty += other.empty;
    truncated += other.truncated;
    tokens_truncated += other.tokens_truncated;
    prefix_mismatch += other.prefix_mismatch;
    second_bos += other.second_bos;
    lost_reasoning += other.lost_reasoning;
    mask_ignored += other.mask_ignored;
    conversations += other.conversations;
    return *this;
  }
};

struct Example {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;  // as long as input_ids, not shifted; kIgnored where not trained
  std::vector<int32_t>
      documents;     // lengths of the packed documents; empty: the row is one document
  RowNotes notes{};  // zero where the rows were counted before training
};

inline constexpr int64_t kEndless = INT64_MAX;  // the size of rows that cannot be counted

// Rows that come in windows, one after another without end. Used where an order over all rows would
// need all of them to be read first.
class RowWindows {
 public:
  virtual ~RowWindows() = default;
  // Window w from 0 on, in the order in which its rows are trained; the same whoever asks, and
  // possibly empty. Thread-safe; asking in increasing order is fast.
  virtual std::vector<Example> window(int64_t w) const = 0;
};

// Rows that are ready for training. Implementations may hold them or make them when asked.
class PreparedDataset {
 public:
  virtual ~PreparedDataset() = default;
  virtual int64_t size() const = 0;
  // Row i in [0, size()). Thread-safe.
  virtual Example example(int64_t i) const = 0;
  // The number of tokens of row i, without making the row; where that cannot be, `bound`.
  virtual int64_t length(int64_t i) const = 0;
  // Where lengths are not known before rows are made: the most tokens a row can have.
  virtual std::optional<int64_t> bound() const { return std::nullopt; }
  // Where row i stands in its files, "train.jsonl:17"; "" where that is not known. For messages.
  virtual std::string place(int64_t /*i*/) const { return ""; }
  // Where rows come in windows only; size() is then the number of rows that counts as an epoch, and
  // example(i) belongs to the first windows.
  virtual const RowWindows* windows() const { return nullptr; }
  // Adds the tokens and labels of all rows, in their order. False, and nothing is added, where rows
  // are made when they are asked for: their files tell as much, and cost less to go through.
  virtual bool add_to(ContentHash& hash) const;
};

}  // namespace sft
