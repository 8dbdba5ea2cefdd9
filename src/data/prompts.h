// Rows as questions to a model: the prompt that it goes on from, and the answer that the data have.
// Used by `sft generate`, `sft eval` and for looking at a model in training.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/first_rows.h"

namespace sft {

struct Prompt {
  std::string place;                       // "prompts.jsonl:3"
  std::string shown;                       // what is asked, for people
  std::vector<int32_t> ids;                // never none
  std::optional<std::string> reference{};  // the data's answer
};

// How a prompt that is text is put.
struct PromptStyle {
  bool chat = false;                    // it is what a user says: rendered with the template
  std::optional<std::string> system{};  // and what is said before it
};

// Of the first `limit` rows of a part, in the order of the data. A conversation is asked up to its
// last answer, prompt and completion up to the completion, tokens up to the first one that is
// trained. D069 for a row that asks nothing: plain text, say.
std::vector<Prompt> first_prompts(const DataOptions& options, Part part, const DataContext& context,
                                  int64_t limit);

// Of all rows of one file, of any format and shape that data may have; also rows that are no more
// than a prompt, with a `reference` or without one, and lines of text. D069 as above.
std::vector<Prompt> prompts_of_file(const std::filesystem::path& file, const PromptStyle& style,
                                    const DataOptions& options, const DataContext& context);

// The same for one text; without tokens where there are none.
Prompt prompt_of_text(const std::string& text, const PromptStyle& style,
                      const DataContext& context);

}  // namespace sft
