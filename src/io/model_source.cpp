#include "io/model_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"
#include "hub/local_name.h"
#include "hub/repository.h"
#include "io/gguf/head.h"
#include "io/gguf/source.h"
#include "io/hf_source.h"
#include "io/model_files.h"

namespace sft {

namespace {

constexpr const char* kAdapter = "adapter_config.json";

std::vector<fs::path> files_ending(const fs::path& folder, std::string_view ending) {
  std::vector<fs::path> found = paths_in(folder);
  std::erase_if(found,
                [&](const fs::path& path) { return !path.filename().string().ends_with(ending); });
  return found;
}

std::unique_ptr<ModelSource> open_only_gguf(const std::string& name,
                                            const std::vector<fs::path>& files) {
  if (files.size() > 1) {
    std::vector<std::string> names;
    for (const fs::path& file : files) {
      names.push_back(file.filename().string());
    }
    throw Error("M247", fmt::format("{} holds {} GGUF files: {}", name, files.size(),
                                    fmt::join(names, ", ")))
        .hint("give the path of one of the files");
  }
  return std::make_unique<GgufSource>(name, files.front());
}

[[noreturn]] void fail_without_config(const std::string& name, const fs::path& folder) {
  Error error("M241", fmt::format("{} is not a model: the folder {} has no config.json", name,
                                  folder.string()));
  if (is_there(folder / kAdapter)) {
    throw error.hint("it holds a LoRA adapter; give the base model, or merge the adapter into it");
  }
  throw error.hint("give a folder with config.json and model.safetensors, or a .gguf file");
}

[[noreturn]] void fail_without_weights(const std::string& name, const fs::path& folder,
                                       bool has_bin) {
  Error error("M242", fmt::format("{} has no weights: {} holds neither {} nor {}", name,
                                  folder.string(), kWeights, kWeightsIndex));
  if (has_bin) {
    throw error.hint(
        "it has PyTorch's .bin files only; save it once more as safetensors "
        "(save_pretrained of any current transformers does)");
  }
  throw error.hint("fetch all of the model's files");
}

// transformers would put such an adapter onto the model that it names; the weights alone are
// another model.
[[noreturn]] void fail_with_adapter(const std::string& name, const fs::path& folder) {
  throw Error("M251",
              fmt::format("{} holds a LoRA adapter beside its weights (adapter_config.json), "
                          "and would be trained without it",
                          name))
      .at((folder / kAdapter).string())
      .hint(
          "merge the adapter into the weights first; or, to train the weights as they are, move "
          "adapter_config.json out of a copy of the folder");
}

std::unique_ptr<ModelSource> open_folder(const std::string& name, const fs::path& folder) {
  const bool has_config = is_there(folder / "config.json");
  if (has_config && SafetensorsFolder::is_in(folder)) {
    if (is_there(folder / kAdapter)) {
      fail_with_adapter(name, folder);
    }
    return std::make_unique<HfSource>(name, folder);
  }
  const auto gguf_files = files_ending(folder, ".gguf");
  if (!gguf_files.empty()) {
    return open_only_gguf(name, gguf_files);
  }
  if (!has_config) {
    fail_without_config(name, folder);
  }
  fail_without_weights(name, folder, !files_ending(folder, ".bin").empty());
}

std::unique_ptr<ModelSource> open_file(const std::string& name, const fs::path& file) {
  if (file.extension() == ".safetensors") {
    throw Error("M241", fmt::format("{} is one file of a model, its folder is needed", name))
        .hint(fmt::format("give {}", file.has_parent_path() ? file.parent_path().string() : "."));
  }
  return std::make_unique<GgufSource>(name, file);
}

bool is_text_file(const std::string& path) {
  return std::ranges::find(kModelTexts, path) != kModelTexts.end() || path == kAdapter ||
         path == kWeightsIndex;
}

// The shards that the index of a model names.
std::vector<std::string> shards_of(const fs::path& index) {
  const Json json = read_json(index);
  std::vector<std::string> shards;
  if (json.is_object() && json.contains("weight_map") && json["weight_map"].is_object()) {
    for (const Json& shard : json["weight_map"]) {
      const std::string name = shard.is_string() ? shard.get<std::string>() : "";
      if (!name.empty() && std::ranges::find(shards, name) == shards.end()) {
        shards.push_back(name);
      }
    }
  }
  return shards;
}

// What a model needs and no more: its configuration and tokenizer are fetched, its weights (as
// safetensors where it has them, else its only GGUF file) are named.
std::vector<std::string> fetch_texts(HubRepository& hub) {
  std::vector<std::string> texts, gguf_files;
  bool has_bin = false;
  for (const HubFile& file : hub.files()) {
    const bool below = file.path.find('/') != std::string::npos;
    if (is_text_file(file.path) ||
        (file.path.starts_with("additional_chat_templates/") && file.path.ends_with(".jinja"))) {
      texts.push_back(file.path);
    } else if (!below && file.path.ends_with(".gguf")) {
      gguf_files.push_back(file.path);
    }
    has_bin = has_bin || (!below && file.path.ends_with(".bin"));
  }
  const fs::path& folder = hub.fetch(texts);
  if (hub.has(kAdapter) && (hub.has(kWeights) || hub.has(kWeightsIndex))) {
    fail_with_adapter(hub.id(), folder);  // before its weights are fetched
  }
  hub.note_absent({"added_tokens.json", "special_tokens_map.json", "generation_config.json",
                   "chat_template.jinja", "tokenizer.model"});
  if (hub.has("config.json") && hub.has(kWeights)) {
    return {kWeights};
  }
  if (hub.has("config.json") && hub.has(kWeightsIndex)) {
    return shards_of(folder / kWeightsIndex);
  }
  if (gguf_files.size() == 1) {
    return gguf_files;
  }
  if (gguf_files.size() > 1) {
    throw Error("M247", fmt::format("{} holds {} GGUF files: {}", hub.id(), gguf_files.size(),
                                    fmt::join(gguf_files, ", ")))
        .hint(fmt::format("write the one to use behind the name: {}/{}", hub.id(), gguf_files[0]));
  }
  if (hub.has("config.json")) {
    fail_without_weights(hub.id(), folder, has_bin);
  }
  fail_without_config(hub.id(), folder);
}

std::unique_ptr<ModelSource> open_gguf_of(const std::string& name,
                                          const std::shared_ptr<HubRepository>& hub,
                                          const std::string& file) {
  if (auto head = open_gguf_head(name, hub, file)) {
    return head;
  }
  return open_file(name, hub->fetch({file}) / file);
}

// A model of the hub whose weights are fetched when they are asked for.
std::unique_ptr<ModelSource> open_repository(const std::string& name,
                                             const std::shared_ptr<HubRepository>& hub) {
  const std::vector<std::string> weights = fetch_texts(*hub);
  if (weights.size() == 1 && weights[0].ends_with(".gguf")) {
    return open_gguf_of(name, hub, weights[0]);
  }
  std::function<void()> fetch;
  if (!hub->missing(weights).empty()) {
    fetch = [hub, weights] { hub->fetch(weights); };
  }
  return std::make_unique<HfSource>(name, hub->folder(), std::move(fetch));
}

// "owner/name/file.gguf": one file of a repository. Empty when `name` is nothing of the kind.
std::string gguf_in_repository(const std::string& name) {
  const size_t first = name.find('/');
  const size_t second = first == std::string::npos ? first : name.find('/', first + 1);
  const bool is_one = second != std::string::npos && name.ends_with(".gguf") &&
                      is_hub_id(name.substr(0, second)) && !name.starts_with(".");
  return is_one ? name.substr(second + 1) : "";
}

std::unique_ptr<ModelSource> open_from_hub(const std::string& name, const std::string& revision,
                                           const HubEnvironment& environment) {
  const std::string gguf = gguf_in_repository(name);
  const std::string id = gguf.empty() ? name : name.substr(0, name.size() - gguf.size() - 1);
  const HubLookup found = find_in_hub_cache(HubKind::model, id, revision, environment);
  if (!found.folder && !environment.online()) {
    std::vector<std::string> places{fs::absolute(name).string()};
    places.insert(places.end(), found.looked_at.begin(), found.looked_at.end());
    throw Error("M305", fmt::format("the model {}{} is not on this machine; looked at {}", name,
                                    revision.empty() ? "" : fmt::format(" (revision {})", revision),
                                    fmt::join(places, ", ")))
        .hint(environment.offline
                  ? "HF_HUB_OFFLINE is set: unset it once to download the model, or give a folder"
                  : fmt::format("fetch it with  hf download {}  or give the path of its folder",
                                name));
  }
  const auto hub = std::make_shared<HubRepository>(HubKind::model, id, revision, environment);
  return gguf.empty() ? open_repository(name, hub) : open_gguf_of(name, hub, gguf);
}

Error no_such_model(const std::string& name, const std::string& why) {
  return Error("M240",
               fmt::format("the model {} does not exist: no such file or folder{}", name,
                           why.empty() ? "" : fmt::format(", and {}: no name of the hub", why)))
      .hint(nearest_path_or(
          name, "give a model folder, a .gguf file, or a hub id like Qwen/Qwen2.5-0.5B"));
}

std::unique_ptr<ModelSource> open_any(const std::string& name_or_path, const std::string& revision,
                                      const HubEnvironment& environment) {
  if (name_or_path.empty()) {
    throw Error("C030", "no model is given").hint("add --model_name_or_path");
  }
  if (is_folder(name_or_path)) {
    return open_folder(name_or_path, name_or_path);
  }
  if (is_there(name_or_path)) {
    return open_file(name_or_path, name_or_path);
  }
  const bool in_repository = !gguf_in_repository(name_or_path).empty();
  const std::string why = in_repository ? "" : why_a_path(name_or_path);
  if (!why.empty() || (!in_repository && !is_hub_id(name_or_path))) {
    throw no_such_model(name_or_path, why);
  }
  if (!in_repository && parent_is_here(name_or_path) &&
      !hub_knows(HubKind::model, name_or_path, revision, environment)) {
    throw no_such_model(name_or_path, "").context("the hub has no such model either");
  }
  return open_from_hub(name_or_path, revision, environment);
}

}  // namespace

std::unique_ptr<ModelSource> ModelSource::open(const std::string& name_or_path,
                                               const std::string& revision,
                                               const HubEnvironment& environment) {
  try {
    return open_any(name_or_path, revision, environment);
  } catch (const Json::exception& e) {
    throw Error("M248", fmt::format("a setting of the model {} has the wrong type: {}",
                                    name_or_path, e.what()))
        .hint("fetch the model's files again");
  }
}

void ModelSource::fail_missing(const std::string& name) const {
  Error error("M244", fmt::format("the model {} has no tensor \"{}\"", name_, name));
  error.at(path_.string());
  const std::string near = nearest(name, names());
  throw error.hint(near.empty() ? "its files are incomplete or of another architecture"
                                : fmt::format("the nearest name it has is \"{}\"", near));
}

void ModelSource::require(const std::string& name, const Shape& expected) const {
  const Shape found = shape(name);
  if (found != expected) {
    throw Error("M245", fmt::format("tensor \"{}\" has the shape {}, config.json asks for {}", name,
                                    found.text(), expected.text()))
        .at(path_.string())
        .hint("config.json and the weights are of different models");
  }
}

void ModelSource::override_config(const Json& values) {
  for (const auto& [key, value] : values.items()) {
    if (!config_.contains(key)) {
      throw Error("C075",
                  fmt::format("--model_init_kwargs: config.json of {} has no \"{}\"", name_, key))
          .hint("it takes dtype, revision and the keys that config.json has");
    }
    set_config(key, value);
  }
}

void ModelSource::set_config(const std::string& key, const Json& value) {
  config_[key] = value;
  overrides_[key] = value;
}

std::optional<Json> ModelSource::generation_config() const {
  const auto text = file_text("generation_config.json");
  if (!text) {
    return std::nullopt;
  }
  Json json = parse_json(*text, (path_ / "generation_config.json").string());
  if (!json.is_object()) {
    throw Error("M248",
                fmt::format("{} is not a JSON object", (path_ / "generation_config.json").string()))
        .hint("fetch the model's files again");
  }
  return json;
}

std::map<std::string, std::string> ModelSource::chat_templates() const {
  std::map<std::string, std::string> result = additional_templates();
  if (auto text = file_text("chat_template.jinja")) {
    result["default"] = std::move(*text);
    return result;
  }
  const auto text = file_text("tokenizer_config.json");
  if (!text) {
    return result;
  }
  const std::string file = (path_ / "tokenizer_config.json").string();
  const Json json = parse_json(*text, file);
  if (!json.is_object() || !json.contains("chat_template") || json["chat_template"].is_null()) {
    return result;
  }
  const Json& inlined = json["chat_template"];
  if (inlined.is_string()) {
    result["default"] = inlined.get<std::string>();
    return result;
  }
  const Error wrong = Error("M249", fmt::format("\"chat_template\" of {} is neither a text nor a "
                                                "list of {{name, template}}",
                                                file));
  if (!inlined.is_array()) {
    throw wrong;
  }
  for (const Json& item : inlined) {
    if (!item.is_object() || !item.contains("name") || !item.contains("template") ||
        !item["name"].is_string() || !item["template"].is_string()) {
      throw wrong;
    }
    result[item["name"].get<std::string>()] = item["template"].get<std::string>();
  }
  return result;
}

std::optional<std::string> ModelSource::chat_template() const {
  auto all = chat_templates();
  const auto it = all.find("default");
  return it == all.end() ? std::nullopt : std::optional(std::move(it->second));
}

}  // namespace sft
