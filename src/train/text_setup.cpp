#include "train/text_setup.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/content_hash.h"
#include "core/error.h"
#include "core/file.h"

namespace sft {

namespace {

// A .jinja file, or the folder of a model whose template is taken.
std::string template_from(const std::string& path_text) {
  const fs::path path(path_text);
  if (!fs::exists(path)) {
    throw Error("D070", fmt::format("--chat_template_path: {} does not exist", path_text))
        .hint("give a .jinja file, or a model's folder whose template is to be used");
  }
  if (fs::is_regular_file(path)) {
    return read_text(path);
  }
  if (fs::exists(path / "chat_template.jinja")) {
    return read_text(path / "chat_template.jinja");
  }
  if (fs::exists(path / "tokenizer_config.json")) {
    const Json config = read_json(path / "tokenizer_config.json");
    if (config.contains("chat_template") && config["chat_template"].is_string()) {
      return config["chat_template"];
    }
  }
  throw Error("D070", fmt::format("--chat_template_path: {} holds no chat template", path_text))
      .hint("give a .jinja file, or a model's folder whose template is to be used");
}

// Renders a short chat and takes the special token that follows the answer.
std::optional<TokenRef> find_turn_end(const Tokenizer& tokenizer, const ChatTemplate& chat) {
  const std::string probe = "0f4a1";
  std::string text;
  try {
    text = chat.render(Json::array({{{"role", "user"}, {"content", "hello"}},
                                    {{"role", "assistant"}, {"content", probe}}}),
                       {})
               .text;
  } catch (const Error&) {
    return std::nullopt;  // a template with needs of its own; then nothing is known about its end
  }
  const size_t at = text.rfind(probe);
  if (at == std::string::npos) {
    return std::nullopt;
  }
  for (const int32_t id : tokenizer.encode(text.substr(at + probe.size()), false)) {
    if (tokenizer.is_special(id)) {
      return TokenRef{std::string(tokenizer.token(id)), id};
    }
  }
  return std::nullopt;
}

}  // namespace

TextSetup load_text(const ModelSource& source, const DataOptions& options) {
  const auto tokenizer_json = source.file_text("tokenizer.json");
  if (!tokenizer_json) {
    throw Error("M250", fmt::format("{} has no tokenizer.json", source.path().string()))
        .hint("use a model folder that has one; transformers writes it with save_pretrained");
  }
  const auto config_text = source.file_text("tokenizer_config.json");
  const Json config =
      config_text ? parse_json(*config_text, "tokenizer_config.json") : Json::object();
  TextSetup setup{Tokenizer::from_text(*tokenizer_json, config, source.name()), {}, {}, {}};
  setup.key = ContentHash().add(*tokenizer_json).add(config_text.value_or("")).hex();
  std::optional<std::string> chat = source.chat_template();
  if (options.chat_template_path) {
    chat = setup.replaced_template = template_from(*options.chat_template_path);
  }
  if (chat) {
    Json special = Json::object();
    const auto add = [&](const char* name, const std::string& token) {
      if (!token.empty()) {
        special[name] = token;
      }
    };
    add("bos_token", setup.tokenizer.bos_token());
    add("eos_token", options.eos_token.value_or(setup.tokenizer.eos_token()));
    add("pad_token", setup.tokenizer.pad_token());
    add("unk_token", setup.tokenizer.unk_token());
    setup.chat.emplace(*chat, special,
                       options.chat_template_path.value_or(source.name() + "'s chat template"));
    setup.turn_end = find_turn_end(setup.tokenizer, *setup.chat);
  }
  return setup;
}

std::vector<int32_t> end_tokens(const ModelSource& source, const TextSetup& text) {
  std::vector<int32_t> ids;
  const auto add = [&](int64_t id) {
    if (std::ranges::find(ids, id) == ids.end()) {
      ids.push_back(static_cast<int32_t>(id));
    }
  };
  if (text.tokenizer.eos_id()) {
    add(*text.tokenizer.eos_id());
  }
  if (text.turn_end) {
    add(text.turn_end->id);
  }
  for (const auto& config : {source.generation_config(), std::optional(source.config())}) {
    if (config && config->contains("eos_token_id")) {
      const Json& eos = (*config)["eos_token_id"];
      for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
        if (id.is_number_integer()) {
          add(id.get<int64_t>());
        }
      }
    }
  }
  return ids;
}

}  // namespace sft
