// What the columns of a data set mean. One table lists every shape that is known; the first one in
// it that the first rows fit is used for the whole data set. Used by prepare_dataset and `sft
// inspect`.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/options.h"
#include "data/roles.h"

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
  std::vector<uint8_t> completion_mask{},
      assistant_mask{};  // of pre-tokenised rows; empty when absent
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

class RowShape {
 public:
  // Decides by `rows`, the first of the data set, never empty. D030 when nothing fits: it lists the
  // columns and shows the first row, which stands at `place`.
  RowShape(std::span<const Json> rows, const std::string& place, ShapeOptions options);

  // Thread-safe. Errors (D031 column missing or of another type, D032 role, D033 message, D035,
  // D036) stand at `place` and show the row.
  ShapedRow read(const Json& row, const std::string& place) const;

  RowKind kind() const;
  // The columns of the first rows that are read; no other column of those rows matters.
  const std::vector<std::string>& used_columns() const { return read_; }
  bool conversational() const;
  // Whether messages among the first rows say themselves if they are trained; then only the
  // assistant's turns are.
  bool has_switches() const { return has_switches_; }
  // "conversations from `conversations` (human → user, gpt → assistant); ignored columns: id,
  // label".
  std::string report() const;

 private:
  const ShapeEntry* entry_;
  ShapeOptions options_;
  bool has_switches_ = false;
  std::string column_;  // the one that decided, for shapes with a choice of names
  std::vector<std::string> used_, ignored_;
  std::vector<std::string> read_;              // those used, as the files name them
  std::map<std::string, std::string> mapped_;  // roles renamed within the first rows
};

// A row cut to what fits a terminal's few lines, for errors.
std::string preview(const Json& row);

}  // namespace sft
