// Folders that hold more than a text model: Gemma 3, Gemma 4, Mistral 3 and Qwen3.5, whose text
// part is trained while the towers that see and hear, and what projects from them, are carried to
// the saved folder as they are. The program sees a text model; only the names in files and
// config.json differ.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/json.h"
#include "io/json_edit.h"

namespace sft {

// The config of the text part, with what stands beside it and speaks of it (dtype, ids, whether the
// head is tied); none where config.json is that of a text model. M031 for a larger model of another
// kind, naming those that are known.
std::optional<Json> text_part(const Json& config);

// How the files of such a folder name the text part's tensors.
class TextNames {
 public:
  // By the name of one of them: transformers 4 saved "language_model.model.", 5 has
  // "model.language_model." in memory.
  explicit TextNames(bool outside = false) : outside_(outside) {}
  static bool is_outside(std::string_view stored) { return stored.starts_with("language_model."); }

  // "language_model.model.norm.weight" -> "model.norm.weight"; "" for what is not of the text part.
  static std::string text(std::string_view stored);
  std::string stored(std::string_view text) const;

 private:
  bool outside_;
};

// A tensor's name in an adapter of the larger model, as PEFT names modules in memory, and back.
std::string adapter_name_in_whole(const std::string& name);
std::string adapter_name_in_part(const std::string& name);
// What stands behind "model." in names of a whole's text part.
inline constexpr std::string_view kTextModule = "language_model.";

// Sets a key where config.json has the text model's: at the top, or in "text_config".
void set_in_text_part(JsonEditor& config, const std::string& key, const Json& value);

}  // namespace sft
