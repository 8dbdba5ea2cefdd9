#include "run/text_setup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <system_error>

#include "core/content_hash.h"
#include "core/error.h"
#include "core/file.h"
#include "core/lfs_pointer.h"
#include "core/numbers.h"
#include "hub/local_name.h"
#include "hub/repository.h"
#include "io/model_text.h"
#include "io/text_part.h"
#include "io/token_donor.h"
#include "run/named_model.h"
#include "text/special_tokens.h"

namespace sft {

namespace {

using Templates = std::map<std::string, std::string>;  // by name

// The templates that lie in a folder, as transformers saves them: files win over
// tokenizer_config.json, where there is one or a list with names.
Templates templates_of_folder(const fs::path& folder) {
  Templates found = templates_beside(folder);
  if (auto text = model_text(folder, "chat_template.jinja")) {
    found["default"] = std::move(*text);
    return found;
  }
  const auto settings = model_text(folder, "tokenizer_config.json");
  if (!settings) {
    return found;
  }
  const Json config = parse_json(*settings, (folder / "tokenizer_config.json").string());
  const Json given = config.is_object() ? config.value("chat_template", Json()) : Json();
  if (given.is_string()) {
    found["default"] = given;
  }
  for (const Json& item : given.is_array() ? given : Json::array()) {
    if (item.is_object() && item.contains("name") && item["name"].is_string() &&
        item.contains("template") && item["template"].is_string()) {
      found[item["name"]] = item["template"];
    }
  }
  return found;
}

// The folder of a model on the hub with the files that hold templates and tokens, no others.
std::optional<fs::path> text_files_of_hub(const std::string& id, const HubEnvironment& hub) {
  HubRepository repository(HubKind::model, id, "", hub);
  std::vector<std::string> wanted;
  for (const HubFile& file : repository.files()) {
    if (file.path == "chat_template.jinja" || file.path == "tokenizer_config.json" ||
        file.path == "tokenizer.json" || file.path.starts_with("additional_chat_templates/")) {
      wanted.push_back(file.path);
    }
  }
  return wanted.empty() ? std::nullopt : std::optional(repository.fetch(wanted));
}

// Whether a path that is not here is a model on the hub.
bool is_on_hub(const std::string& path_text, const HubEnvironment& hub) {
  return is_hub_id(path_text) && why_a_path(path_text).empty() &&
         (!parent_is_here(path_text) || hub_knows(HubKind::model, path_text, "", hub));
}

// The tokenizer of what --chat_template_path names; nothing where that is a template alone.
std::optional<TokenDonor> donor_from(const std::string& path_text, const HubEnvironment& hub) {
  const fs::path path(path_text);
  std::optional<std::string> json, config;
  std::optional<fs::path> folder;
  if (is_file(path) && path.extension() == ".gguf") {
    const auto source = ModelSource::open(path_text, "", hub);
    json = source->file_text("tokenizer.json");
    config = source->file_text("tokenizer_config.json");
  } else if (is_folder(path)) {
    folder = path;
  } else if (!is_file(path) && is_on_hub(path_text, hub)) {
    folder = text_files_of_hub(path_text, hub);
  }
  if (folder) {
    json = model_text(*folder, "tokenizer.json");
    config = model_text(*folder, "tokenizer_config.json");
  }
  if (!json) {
    return std::nullopt;
  }
  return TokenDonor{
      path_text, *json,
      config ? parse_json(*config, path_text + "/tokenizer_config.json") : Json::object()};
}

// A .jinja file, or the templates of a model: a folder, a GGUF file, or a name on the hub.
Templates templates_from(const std::string& path_text, const HubEnvironment& hub) {
  const fs::path path(path_text);
  Templates found;
  if (is_folder(path)) {
    found = templates_of_folder(path);
  } else if (is_there(path)) {
    found = path.extension() == ".gguf" ? ModelSource::open(path_text, "", hub)->chat_templates()
                                        : Templates{{"default", read_fetched_text(path)}};
  } else if (is_on_hub(path_text, hub)) {
    const auto folder = text_files_of_hub(path_text, hub);
    found = folder ? templates_of_folder(*folder) : Templates{};
  } else {
    throw Error("D070", fmt::format("--chat_template_path: {} does not exist", path_text))
        .hint(nearest_path_or(path_text,
                              "give a .jinja file, or a model whose template is to be used"));
  }
  if (found.empty()) {
    throw Error("D070", fmt::format("--chat_template_path: {} holds no chat template", path_text))
        .hint("give a .jinja file, or a model whose template is to be used");
  }
  return found;
}

// The one asked for, or the default with the one for tools beside it, as transformers chooses.
ChatTemplate choose_template(const Templates& all, const DataOptions& options, const Json& special,
                             const std::string& origin) {
  const auto make = [&](const std::string& name) {
    return ChatTemplate(all.at(name), special,
                        name == "default" ? origin : fmt::format("{} \"{}\"", origin, name));
  };
  std::vector<std::string> names;
  for (const auto& [name, text] : all) {
    names.push_back(name);
  }
  const std::string wanted = options.chat_template_name.value_or("default");
  if (!all.contains(wanted)) {
    throw Error("D072", options.chat_template_name
                            ? fmt::format("there is no chat template \"{}\"", wanted)
                            : "there are several chat templates, and none is called default")
        .hint(fmt::format("choose one with --chat_template_name: {}", fmt::join(names, ", ")));
  }
  const ChatTemplate chosen = make(wanted);
  return !options.chat_template_name && all.contains("tool_use")
             ? chosen.with_tool_use(make("tool_use"))
             : chosen;
}

// What config.json itself says; a source may have settled it otherwise.
bool says_tied(const ModelSource& source) {
  const auto text = source.file_text("config.json");
  const Json whole = text ? parse_json(*text, "config.json") : Json::object();
  const Json json = text_part(whole).value_or(whole);
  return json.is_object() && json.contains("tie_word_embeddings") &&
         json["tie_word_embeddings"] == true;
}

}  // namespace

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

std::unique_ptr<ModelSource> open_source(const ModelOptions& model, const DataOptions& data,
                                         const HubEnvironment& hub, const Logger& log) {
  auto source = named_model(model, hub);
  const auto donor = data.chat_template_path ? donor_from(*data.chat_template_path, hub)
                                             : std::optional<TokenDonor>();
  if (!donor) {
    return source;
  }
  DonatedModel out = with_tokens_of(std::move(source), *donor);
  log.note(fmt::format(
      "the chat template comes from the model {}, and with it, as in TRL, {} tokens{} and a "
      "vocabulary of {} in place of {}{}; a .jinja file as --chat_template_path brings the "
      "template "
      "alone",
      donor->name, out.tokens, out.eos.empty() ? "" : fmt::format(", the EOS {}", out.eos),
      out.vocab_after, out.vocab_before,
      out.vocab_after > out.vocab_before ? " (new embeddings are the mean of the others)" : ""));
  return std::move(out.source);
}

TextSetup load_text(const ModelSource& source, const DataOptions& options,
                    const HubEnvironment& hub) {
  const auto tokenizer_json = source.file_text("tokenizer.json");
  if (!tokenizer_json) {
    throw Error("M250", fmt::format("{} has no tokenizer.json", source.path().string()))
        .hint("use a model folder that has one; transformers writes it with save_pretrained");
  }
  const Json config =
      whole_tokenizer_config([&](const std::string& file) { return source.file_text(file); });
  TextSetup setup{.tokenizer = Tokenizer::from_text(*tokenizer_json, config, source.name())};
  if (options.pad_token) {
    setup.pad_id = setup.tokenizer.id_of(*options.pad_token);
    if (!setup.pad_id) {
      throw Error("D075", fmt::format("--pad_token \"{}\" is not in the vocabulary of {}",
                                      *options.pad_token, source.name()))
          .hint("leave it out: nothing is padded here");
    }
  }
  setup.key = ContentHash().add(*tokenizer_json).add(to_text(config)).hex();
  Json special = Json::object();
  for (const auto& [name, token] : named_special_tokens(config)) {
    special[name] = token;
  }
  if (options.eos_token) {
    special["eos_token"] = *options.eos_token;
  }
  if (says_tied(source) && source.config().value("tie_word_embeddings", Json()) == false) {
    setup.warnings.push_back(fmt::format(
        "{} says tie_word_embeddings, but its lm_head.weight differs from the embedding: both are "
        "trained and saved, each by itself",
        source.name()));
  }
  if (!options.eos_token && setup.tokenizer.eos_token().empty()) {
    setup.warnings.push_back(
        fmt::format("{} names no end-of-text token: texts end without one, and the model does not "
                    "learn to stop; name one with --eos_token",
                    source.name()));
  }
  const Templates templates = options.chat_template_path
                                  ? templates_from(*options.chat_template_path, hub)
                                  : source.chat_templates();
  if (templates.empty()) {
    if (options.chat_template_name) {
      throw Error("D072", fmt::format("{} has no chat template, so there is no \"{}\"",
                                      source.name(), *options.chat_template_name))
          .hint("give the template with --chat_template_path");
    }
    setup.chat = ChatTemplate::chatml(special);
    setup.chat_is_default = true;
  } else {
    setup.chat =
        choose_template(templates, options, special,
                        options.chat_template_path.value_or(source.name() + "'s chat template"));
  }
  if (options.chat_template_path || options.chat_template_name) {
    setup.replaced_template = setup.chat->source();
  }
  setup.turn_end = find_turn_end(setup.tokenizer, *setup.chat);
  return setup;
}

std::optional<int32_t> TextSetup::padding() const {
  return pad_id ? pad_id : tokenizer.pad_id() ? tokenizer.pad_id() : tokenizer.eos_id();
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
        if (const auto number = json_whole(id, 0, kMostCount)) {
          add(*number);
        }
      }
    }
  }
  return ids;
}

}  // namespace sft
