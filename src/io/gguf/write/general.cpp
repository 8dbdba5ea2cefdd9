#include "io/gguf/write/general.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/strings.h"
#include "options/yaml_json.h"

namespace sft {

namespace {

std::string text_in(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) {
    return "";
  }
  return it->is_string() ? it->get<std::string>() : to_text(*it);
}

// The first of these keys that the object has.
std::string first_text(const Json& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (object.contains(key)) {
      return text_in(object, key);
    }
  }
  return "";
}

// A text, or a list of them.
void add_texts(const Json& object, const char* key, std::vector<std::string>& texts) {
  const auto it = object.find(key);
  if (it == object.end()) {
    return;
  }
  const Json list = it->is_array() ? *it : Json::array({*it});
  for (const Json& item : list) {
    if (item.is_string()) {
      texts.push_back(item.get<std::string>());
    }
  }
}

void set_sampling(GgufMetadata& m, const Json& generation) {
  const auto real = [&](const char* key, const char* name) {
    if (generation.contains(name) && generation[name].is_number()) {
      m.real(key, generation[name].get<float>());
    }
  };
  if (generation.contains("top_k") && generation["top_k"].is_number_integer()) {
    m.whole("general.sampling.top_k", generation["top_k"].get<int32_t>());
  }
  real("general.sampling.top_p", "top_p");
  real("general.sampling.min_p", "min_p");
  real("general.sampling.temp", "temperature");
  real("general.sampling.penalty_repeat", "repetition_penalty");
}

// The models or data sets that this one was made of.
void set_origins(GgufMetadata& m, const char* kind, const std::vector<std::string>& ids,
                 int64_t parameters) {
  m.number(fmt::format("general.{}.count", kind), static_cast<uint32_t>(ids.size()));
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto key = [&](const char* rest) {
      return fmt::format("general.{}.{}.{}", kind, i, rest);
    };
    constexpr std::string_view kHub = "https://huggingface.co/";
    const bool is_address = ids[i].find("://") != std::string::npos;
    const std::string id = ids[i].starts_with(kHub) ? ids[i].substr(kHub.size()) : ids[i];
    if (!is_address || id != ids[i]) {
      const GgufName name = read_gguf_name(id, parameters);
      m.text(key("name"), gguf_title(name.full));
      m.text(key("version"), name.version);
      m.text(key("organization"), gguf_title(name.organization));
      if (!is_address && !name.organization.empty()) {
        m.text(key("repo_url"), fmt::format("{}{}/{}", kHub, name.organization, name.full));
      }
    }
    if (is_address) {
      m.text(key("repo_url"), ids[i]);
    }
  }
}

void take(std::string& into, const std::string& text) {
  if (into.empty()) {
    into = text;
  }
}

// What a name says where nothing else does.
void fill_from(GgufName& name, const std::string& id, int64_t parameters) {
  const GgufName read = read_gguf_name(id, parameters);
  take(name.full, gguf_title(read.full));
  take(name.organization, gguf_title(read.organization));
  take(name.basename, read.basename);
  take(name.finetune, read.finetune);
  take(name.version, read.version);
  take(name.size_label, read.size_label);
}

}  // namespace

Json card_of(const std::string& readme) {
  const std::vector<std::string> lines = split(readme, '\n');
  if (lines.empty() || trim(lines[0]) != "---") {
    return Json::object();
  }
  std::string front;
  for (size_t i = 1; i < lines.size() && trim(lines[i]) != "---"; ++i) {
    front += lines[i] + "\n";
  }
  try {
    Json card = yaml_to_json(YAML::Load(front), "README.md");
    return card.is_object() ? card : Json::object();
  } catch (const YAML::Exception&) {
  } catch (const Error&) {
  }
  return Json::object();  // a card is for people; a model without one is as good
}

GgufGeneral general_of(const ModelSource& source, const fs::path& folder) {
  GgufGeneral g;
  g.folder = fs::absolute(folder / "").lexically_normal().parent_path().filename().string();
  g.card = card_of(source.file_text("README.md").value_or(""));
  g.config = source.config();
  g.generation = source.generation_config().value_or(Json::object());
  return g;
}

GgufName set_general(GgufMetadata& m, const GgufGeneral& general, const GgufSize& size) {
  const int64_t parameters = size.all;
  const Json& card = general.card;
  set_sampling(m, general.generation);
  GgufName name{first_text(card, {"name", "model_name"}),
                first_text(card, {"organization", "model_organization"}),
                first_text(card, {"basename", "model_basename", "model_type"}),
                first_text(card, {"finetune", "model_finetune"}),
                first_text(card, {"version", "model_version"}),
                first_text(card, {"size_label", "model_size_label"})};
  const std::string path = text_in(general.config, "_name_or_path");
  if (!path.empty() && std::ranges::count(path, '/') <= 1) {
    fill_from(name, path, parameters);
  }
  fill_from(name, general.folder, parameters);
  if (name.size_label.empty() && parameters != 0) {
    name.size_label =
        size.experts > 0 ? fmt::format("{}x{}", size.experts, gguf_size_label(size.with_one_expert))
                         : gguf_size_label(parameters);
  }
  m.text("general.name", name.full);
  m.text("general.author", first_text(card, {"author", "model_author", "model_creator"}));
  m.text("general.version", name.version);
  m.text("general.organization", name.organization);
  m.text("general.finetune", name.finetune);
  m.text("general.basename", name.basename);
  m.text("general.description", first_text(card, {"description", "model_description"}));
  m.text("general.size_label", name.size_label);
  std::vector<std::string> licenses;
  add_texts(card, "license", licenses);
  m.text("general.license", fmt::format("{}", fmt::join(licenses, ",")));
  m.text("general.license.name", text_in(card, "license_name"));
  m.text("general.license.link", text_in(card, "license_link"));
  for (const auto& [kind, keys] :
       {std::pair{"base_model", std::array{"base_model", "base_models", "base_model_sources"}},
        std::pair{"dataset", std::array{"datasets", "dataset", "dataset_sources"}}}) {
    for (const char* key : keys) {
      if (card.contains(key)) {
        std::vector<std::string> ids;
        add_texts(card, key, ids);
        set_origins(m, kind, ids, parameters);
        break;
      }
    }
  }
  std::vector<std::string> tags, languages;
  for (const char* key : {"tags", "pipeline_tag"}) {
    add_texts(card, key, tags);
  }
  for (const char* key : {"languages", "language"}) {
    add_texts(card, key, languages);
  }
  m.texts("general.tags", tags);
  m.texts("general.languages", languages);
  return name;
}

}  // namespace sft
