// The text files of a model's folder, which is somebody else's: config.json, the tokenizer's files,
// chat templates. Used by the sources of models and by --chat_template_path.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/file.h"

namespace sft {

// The text of `file` in the folder; nothing where it is not there. M213 for a git-LFS pointer, M259
// for a link to a file of another name outside of the folder: what it holds would be trained with,
// saved and published.
std::optional<std::string> model_text(const fs::path& folder, const std::string& file);

// additional_chat_templates/NAME.jinja, by name.
std::map<std::string, std::string> templates_beside(const fs::path& folder);

}  // namespace sft
