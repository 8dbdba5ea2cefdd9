#include "io/adapter_files.h"

#include <fmt/format.h>

#include <set>

#include "core/contained.h"
#include "core/error.h"
#include "io/safetensors.h"

namespace sft {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";

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
      folder, LoraConfig::from_json(read_json(folder / kConfig), (folder / kConfig).string()), {}};
  const SafetensorsFile weights(folder / kWeights);
  for (const StoredTensor& tensor : weights.tensors()) {
    std::vector<float>& values = files.values[tensor.name];
    values.resize(static_cast<size_t>(tensor.elements()));
    weights.read_f32(tensor, values.data());
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

std::vector<AdapterTarget> AdapterFiles::targets(const Model& model) const {
  const std::vector<AdapterTarget> found = find_targets(model, config);
  std::set<std::string> needed;
  for (const AdapterTarget& t : found) {
    for (const char which : {'A', 'B'}) {
      const std::string name = *needed.insert(adapter_tensor(t.module, which)).first;
      const auto there = values.find(name);
      const int64_t wanted = t.rank * (which == 'A' ? t.in : t.out);
      if (there == values.end() || static_cast<int64_t>(there->second.size()) != wanted) {
        throw Error(
            "M271",
            fmt::format(
                "{} has {} for {}, and {} values are wanted", (folder / kWeights).string(),
                there == values.end() ? "nothing" : fmt::format("{} values", there->second.size()),
                name, wanted))
            .hint("the adapter is of another model, or its configuration was changed");
      }
    }
  }
  for (const auto& [name, tensor] : values) {
    if (!needed.contains(name)) {
      throw Error("M271", fmt::format("{} has {}, for which its configuration names no layer",
                                      (folder / kWeights).string(), name))
          .hint("the adapter is of another model, or its configuration was changed");
    }
  }
  return found;
}

}  // namespace sft
