// What the columns of a data set mean. One table lists every shape that is known; a row is read as
// the first one in it that it fits. Used by prepare_dataset and `sft inspect`.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/options.h"
#include "data/rows/roles.h"

namespace sft {

enum class RowKind {
  text,                     // `text`
  prompt_completion,        // `prompt` and `completion`
  messages,                 // `messages`
  messages_and_completion,  // `messages`, the first `prompt_messages` of which are the prompt
  tokens,                   // `input_ids` and `labels`
};

// One row, understood. What a kind does not use stays empty.
struct ShapedRow {
  RowKind kind = RowKind::text;
  std::string text{}, prompt{}, completion{};
  Json messages = Json::array();
  size_t prompt_messages = 0;
  // Of each message, whether its own switch lets it be trained; empty where no message has one.
  std::vector<bool> trained_messages{};
  Json tools{};            // null or a list, for the template
  Json template_kwargs{};  // null or an object of further template variables
  std::vector<int32_t> input_ids{}, labels{};
  std::vector<int32_t> seq_lengths{};  // of the documents that a row was packed from
  std::vector<uint8_t> completion_mask{},
      assistant_mask{};           // of pre-tokenised rows; empty when absent
  bool names_completion = false;  // a pre-tokenised row that has a prompt and a completion beside
};

// What the user says about columns and messages.
struct ShapeOptions {
  ShapeOptions(std::string text) : text_field(std::move(text)) {}  // NOLINT: only a name is given
  ShapeOptions(const char* text) : text_field(text) {}             // NOLINT
  explicit ShapeOptions(const DataOptions& options);               // D037 a map that is not "a=b"

  std::string text_field = "text";
  std::string messages_field;                     // empty: the usual names
  std::map<std::string, std::string> column_map;  // the data's name -> ours
  MessageRules messages;
};

struct ShapeEntry;

// Reads rows. What a row means depends on the row and the options alone: it is read as the first
// shape in the table that it fits, with all of that shape's columns, whatever rows before it have.
// The rows given at first say what to expect of the data as a whole, for the report and for errors.
class RowShape {
 public:
  // `rows`: the first ones of each data set, never empty; `columns`: those that files with a schema
  // have beside them. D030 when nothing fits: it lists the columns and shows the first row, which
  // stands at `place`.
  RowShape(std::span<const Json> rows, const std::string& place, ShapeOptions options,
           std::span<const std::string> columns = {});

  // Thread-safe. Errors (D031 column missing or of another type, D032 role, D033 message, D035,
  // D036) stand at `place` and show the row.
  ShapedRow read(const Json& row, const std::string& place) const;

  // Whether the first rows have one of this kind.
  bool has(RowKind kind) const { return kinds_.contains(kind); }
  bool has_completions() const {
    return has(RowKind::prompt_completion) || has(RowKind::messages_and_completion);
  }
  bool has_conversations() const {
    return has(RowKind::messages) || has(RowKind::messages_and_completion);
  }
  // Whether messages among the first rows say themselves if they are trained.
  bool has_switches() const { return has_switches_; }
  // Every column that some shape reads, as the files name them.
  const std::vector<std::string>& used_columns() const { return read_; }
  // "conversations from `conversations` (human → user, gpt → assistant); ignored columns: id,
  // label".
  std::string report() const;

 private:
  struct Fit {
    const ShapeEntry* entry = nullptr;
    std::string column;  // the one that decided
  };
  Fit fit_of(const Json& row) const;
  Fit choose(const Json& row) const;
  void note_columns(std::span<const Json> rows, std::span<const std::string> more);

  ShapeOptions options_;
  std::vector<Fit> fits_;  // of the first rows, the first in the table first
  std::set<RowKind> kinds_;
  bool has_switches_ = false;
  std::vector<std::string> used_, ignored_;
  std::vector<std::string> read_;
  std::map<std::string, std::string> mapped_;  // roles renamed within the first rows
};

// A row cut to what fits a terminal's few lines, for errors.
std::string preview(const Json& row);

}  // namespace sft
