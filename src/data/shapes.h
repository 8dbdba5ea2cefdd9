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
  Json tools{};            // null or a list, for the template
  Json template_kwargs{};  // null or an object of further template variables
  std::vector<int32_t> input_ids{}, labels{};
  std::vector<uint8_t> completion_mask{},
      assistant_mask{};  // of pre-tokenised rows; empty when absent
};

struct ShapeEntry;

class Shape {
 public:
  // Decides by `rows`, the first of the data set, never empty. D030 when nothing fits: it lists the
  // columns and shows the first row, which stands at `place`.
  Shape(std::span<const Json> rows, const std::string& place, const std::string& text_field);

  // Thread-safe. Errors (D031 column missing or of another type, D032 role, D033 message) stand at
  // `place` and show the row.
  ShapedRow read(const Json& row, const std::string& place) const;

  RowKind kind() const;
  // The columns of the first rows that are read; no other column of those rows matters.
  const std::vector<std::string>& used_columns() const { return used_; }
  bool conversational() const;
  // "conversations from `conversations` (human → user, gpt → assistant); ignored columns: id,
  // label".
  std::string report() const;

 private:
  const ShapeEntry* entry_;
  std::string text_field_;
  std::string column_;  // the one that decided, for shapes with a choice of names
  std::vector<std::string> used_, ignored_;
  std::map<std::string, std::string> mapped_;  // roles renamed within the first rows
};

// A row cut to what fits a terminal's few lines, for errors.
std::string preview(const Json& row);

}  // namespace sft
