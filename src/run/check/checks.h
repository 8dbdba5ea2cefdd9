// What is looked for in a model's folder, one function for each kind of file. Each appends what it
// finds. Used by run/check/check.
#pragma once

#include <vector>

#include "run/check/finding.h"
#include "run/check/model_folder.h"

namespace sft {

using Findings = std::vector<Finding>;

// config.json by itself: readable, of a kind that readers know, both forms of what has two.
void check_config(const ModelFolder& folder, Findings& out);
// Files of weights, their index, and what config.json says of them. `look_inside`: at every value.
void check_weights(const ModelFolder& folder, bool look_inside, Findings& out);
// tokenizer.json, tokenizer_config.json, the chat template and the tokens that end a text.
void check_text(const ModelFolder& folder, Findings& out);
void check_adapter(const ModelFolder& folder, Findings& out);
void check_gguf(const std::filesystem::path& file, Findings& out);

}  // namespace sft
