#include "io/text_part.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"

namespace sft {

namespace {

constexpr const char* kPart = "text_config";

constexpr std::string_view kFolders[] = {
    "Gemma3ForConditionalGeneration", "Gemma4ForConditionalGeneration",
    "Mistral3ForConditionalGeneration", "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration"};

constexpr std::string_view kOutside = "language_model.model.";
constexpr std::string_view kOutsideHead = "language_model.lm_head.";
constexpr std::string_view kInside = "model.language_model.";
constexpr std::string_view kHead = "lm_head.";
constexpr std::string_view kText = "model.";

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  return fmt::format("{}{}", to, text.substr(from.size()));
}

}  // namespace

std::optional<Json> text_part(const Json& config) {
  if (!config.is_object() || !config.contains(kPart) || !config[kPart].is_object()) {
    return std::nullopt;
  }
  const Json names = config.value("architectures", Json::array());
  const std::string name =
      names.is_array() && !names.empty() && names[0].is_string() ? names[0] : Json("");
  if (std::ranges::find(kFolders, name) == std::end(kFolders)) {
    throw Error("M031", fmt::format("the text part of {} (model_type \"{}\") is not supported",
                                    name.empty() ? "this model" : name.substr(0, 80),
                                    to_text(config.value("model_type", Json("")))))
        .hint(fmt::format("of models with pictures these are: {}", fmt::join(kFolders, ", ")));
  }
  Json text = config[kPart];
  for (const char* key : {"dtype", "torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id",
                          "tie_word_embeddings", "quantization_config"}) {
    if (!text.contains(key) && config.contains(key)) {
      text[key] = config[key];
    }
  }
  text.erase("architectures");  // its model_type says what it is
  return text;
}

std::string TextNames::text(std::string_view stored) {
  if (stored.starts_with(kOutside)) {
    return replaced(stored, kOutside, kText);
  }
  if (stored.starts_with(kOutsideHead)) {
    return replaced(stored, kOutsideHead, kHead);
  }
  if (stored.starts_with(kInside)) {
    return replaced(stored, kInside, kText);
  }
  return stored.starts_with(kHead) ? std::string(stored) : std::string();
}

std::string TextNames::stored(std::string_view text) const {
  if (text.starts_with(kHead)) {
    return outside_ ? replaced(text, kHead, kOutsideHead) : std::string(text);
  }
  return replaced(text, kText, outside_ ? kOutside : kInside);
}

std::string adapter_name_in_whole(const std::string& name) {
  constexpr std::string_view kPrefix = "base_model.model.model.";
  return name.starts_with(kPrefix)
             ? replaced(name, kPrefix, "base_model.model.model.language_model.")
             : name;
}

std::string adapter_name_in_part(const std::string& name) {
  constexpr std::string_view kPrefix = "base_model.model.model.language_model.";
  return name.starts_with(kPrefix) ? replaced(name, kPrefix, "base_model.model.model.") : name;
}

void set_in_text_part(JsonEditor& config, const std::string& key, const Json& value) {
  if (!config.has(kPart)) {
    config.set(key, value);
    return;
  }
  Json part = config.json()[kPart];
  part[key] = value;
  config.set(kPart, part);
}

}  // namespace sft
