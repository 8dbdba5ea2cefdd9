#include "io/adapter_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/contained.h"
#include "core/error.h"
#include "io/safetensors.h"
#include "io/text_part.h"

namespace sft {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";

std::string text_of(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

}  // namespace

bool AdapterFiles::is_in(const fs::path& folder) {
  return is_there(folder / kConfig) && !is_there(folder / "config.json");
}

AdapterFiles AdapterFiles::read(const fs::path& folder) {
  for (const char* file : {kConfig, kWeights}) {
    if (!is_there(folder / file)) {
      throw Error("M270",
                  fmt::format("{} is no adapter's folder: it has no {}", folder.string(), file))
          .hint("name a folder that PEFT or sft saved an adapter in");
    }
  }
  AdapterFiles files{
      folder,
      LoraConfig::from_json(read_json(folder / kConfig), (folder / kConfig).string()),
      {},
      {}};
  const SafetensorsFile weights(folder / kWeights);
  for (const StoredTensor& tensor : weights.tensors()) {
    const std::string name = adapter_name_in_part(tensor.name);
    if (name != tensor.name) {
      files.config.text_part = kTextModule;
    }
    std::vector<float>& values = files.values[name];
    values.resize(static_cast<size_t>(tensor.elements()));
    weights.read_f32(tensor, values.data());
    files.shapes.emplace(name, tensor.shape);
  }
  return files;
}

const std::string& AdapterFiles::base() const {
  const std::string file = (folder / kConfig).string();
  if (config.base_model.empty()) {
    throw Error("M270", fmt::format("{} does not say which model it is for", file))
        .hint("write the model's name into it, as base_model_name_or_path");
  }
  if (is_in_hub_cache(folder) && names_a_place(config.base_model)) {
    throw Error("M272",
                fmt::format("an adapter in the hub's cache is for the model \"{}\", which is a "
                            "place on this machine",
                            config.base_model))
        .at(file)
        .hint("name the model yourself, beside the adapter: --model_name_or_path");
  }
  return config.base_model;
}

int64_t AdapterFiles::vocabulary() const {
  const std::string table = std::string(kAdapterPrefix) + kEmbeddingModule;
  for (const std::string& name :
       {table + ".weight", base_tensor(kEmbeddingModule), grown_tensor(kEmbeddingModule)}) {
    if (const auto found = shapes.find(name); found != shapes.end() && !found->second.empty()) {
      return found->second[0];
    }
  }
  return 0;
}

AdapterPlan AdapterFiles::plan(const Model& model) const {
  AdapterPlan found = plan_adapters(model, config);
  Model adapted = model;
  add_adapters(adapted, found, config);
  std::map<std::string, Shape> needed = adapter_tensors(adapted);
  const std::string file = (folder / kWeights).string();
  for (const auto& [name, shape] : needed) {
    const auto there = shapes.find(name);
    if (there == shapes.end() || there->second != shape.dims()) {
      throw Error("M271", fmt::format("{} has {} for {}, and {} is wanted", file,
                                      there == shapes.end() ? "nothing" : text_of(there->second),
                                      name, shape.text()))
          .hint("the adapter is of another model, or its configuration was changed");
    }
  }
  const Shape table{model.config.vocab, model.config.hidden};
  if (found.keeps_tied) {  // under both names
    needed.emplace(fmt::format("{}{}", kAdapterPrefix, kHeadWeight), table);
  }
  // Where an adapter is on a table of words, or the vocabulary has grown, PEFT keeps the table.
  for (const char* module : {kEmbeddingModule, kHeadModule}) {
    needed.emplace(base_tensor(module), table);
    needed.emplace(grown_tensor(module), table);
    // A table that is trained whole it then keeps three times.
    for (const char* again : {".modules_to_save.weight", ".original_module.weight"}) {
      needed.emplace(fmt::format("{}{}{}", kAdapterPrefix, module, again), table);
    }
  }
  for (const auto& [name, shape] : shapes) {
    const auto wanted = needed.find(name);
    if (wanted == needed.end() || wanted->second.dims() != shape) {
      throw Error("M271",
                  fmt::format("{} has {} of {}, for which {}", file, name, text_of(shape),
                              wanted == needed.end() ? "its configuration names no layer"
                                                     : wanted->second.text() + " is wanted"))
          .hint("the adapter is of another model, or its configuration was changed");
    }
  }
  return found;
}

}  // namespace sft
