// An adapter's folder as PEFT saves it: adapter_config.json and adapter_model.safetensors. Used to
// train it further, to generate with it, and to merge it into its base.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/file.h"
#include "model/adapters.h"

namespace sft {

struct AdapterFiles {
  fs::path folder;
  LoraConfig config;
  std::map<std::string, std::vector<float>> values;  // by the name in the file
  std::map<std::string, std::vector<int64_t>> shapes;

  // M270 where one of the two files is not there; C192 for a configuration that is not supported;
  // M200-M207, M246 for weights that are not sound.
  static AdapterFiles read(const fs::path& folder);
  // Whether a folder holds an adapter, and no model.
  static bool is_in(const fs::path& folder);

  // The model that it is for. M270 where it does not say, M272 where one of the hub's cache names a
  // place on this machine.
  const std::string& base() const;

  // The words of a table that it holds, where there is one: more than the model's where its
  // vocabulary was grown; else 0.
  int64_t vocabulary() const;

  // What of a model it is for. M271 names a tensor that the file has not, has in another shape, or
  // has and the model does not need.
  AdapterPlan plan(const Model& model) const;
};

}  // namespace sft
