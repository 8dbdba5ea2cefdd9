#include "data/rows/other_kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/json.h"

namespace sft {

namespace {

const Json* find(const Json& row, const char* column) {
  const auto found = row.find(column);
  return found == row.end() || found->is_null() ? nullptr : &*found;
}

bool is_text(const Json* value) { return value != nullptr && value->is_string(); }
bool is_list(const Json* value) { return value != nullptr && value->is_array(); }

// How the preferred answers alone can be trained.
std::string hint_for_chosen(const Json& row) {
  const Json *prompt = find(row, "prompt"), *chosen = find(row, "chosen");
  const char* option = is_list(chosen) && !is_list(prompt) ? "--messages_field chosen"
                       : prompt != nullptr                 ? "--column_map chosen=completion"
                                                           : "--dataset_text_field chosen";
  return fmt::format(
      "supervised fine-tuning has no use for rejected answers; to train on the "
      "chosen ones:  {}",
      option);
}

// What questions and answers are often called.
constexpr std::array<std::pair<const char*, const char*>, 18> kPairs = {{
    {"question", "answer"},
    {"question", "response"},
    {"question", "solution"},
    {"instruction", "response"},
    {"instruction", "completion"},
    {"instruction", "answer"},
    {"input", "output"},
    {"query", "response"},
    {"query", "answer"},
    {"problem", "solution"},
    {"problem", "answer"},
    {"prompt", "response"},
    {"prompt", "answer"},
    {"prompt", "output"},
    {"source", "target"},
    {"user", "assistant"},
    {"human", "assistant"},
    {"question", "output"},
}};

OtherKind other_kind(const Json& row) {
  if (find(row, "chosen") != nullptr && find(row, "rejected") != nullptr) {
    return {"preference data (chosen and rejected answers), as DPO and reward models take them",
            hint_for_chosen(row)};
  }
  if (is_list(find(row, "completions")) && is_list(find(row, "labels"))) {
    return {"stepwise supervision (completions and labels), as process reward models take it",
            "supervised fine-tuning needs one completion a row"};
  }
  for (const auto& [prompt, completion] : kPairs) {
    if (is_text(find(row, prompt)) && is_text(find(row, completion))) {
      const std::string first =
          std::string_view(prompt) == "prompt" ? "" : fmt::format(" {}=prompt", prompt);
      return {"questions and answers under other names",
              fmt::format("--column_map{} {}=completion", first, completion)};
    }
  }
  if (find(row, "prompt") != nullptr) {
    return {"prompts without answers, as GRPO and other online methods take them",
            "supervised fine-tuning needs the answers: a column \"completion\", or another renamed "
            "by  --column_map answer=completion"};
  }
  return {};
}

}  // namespace

OtherKind other_kind(std::span<const Json> rows) {
  for (const Json& row : rows) {
    if (OtherKind kind = other_kind(row); !kind.name.empty()) {
      return kind;
    }
  }
  return {};
}

std::string unwanted_completions(std::span<const Json> rows) {
  const auto unwanted = std::ranges::count_if(rows, [](const Json& row) {
    const Json* label = find(row, "label");
    return find(row, "completion") != nullptr && label != nullptr && label->is_boolean() &&
           !label->get<bool>();
  });
  return unwanted == 0
             ? ""
             : fmt::format(
                   "these are preference data (prompt, completion, label), as KTO takes "
                   "them: {} of the first {} rows have the label false, answers that were "
                   "not wanted, and supervised fine-tuning trains them like the others",
                   unwanted, rows.size());
}

}  // namespace sft
