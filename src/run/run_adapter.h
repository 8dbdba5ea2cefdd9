// The adapters of a run that trains no more than these (--use_peft).
#pragma once

#include <string>
#include <vector>

#include "io/adapter_files.h"
#include "settings/train_options.h"
#include "state/adapter_start.h"

namespace sft {

struct RunAdapter {
  LoraConfig config;
  AdapterPlan plan;
  AdapterStart start;

  // Finds what `config` means and gives it to `shape`, all else of which is frozen then; `given`:
  // an adapter that is there, whose configuration this is (C191-C197, M271). `before`: how many
  // numbers are drawn before a new one's; `stored`: run/frozen_base.h.
  static RunAdapter add_to(Model& shape, const TrainOptions& options, const LoraConfig& config,
                           const AdapterFiles* given, uint64_t before, const StoredType& stored);
  // adapter_config.json.
  Json json() const;
  // "r 16, alpha 32, on q_proj, v_proj"
  std::string words() const;
  // Tables of words that stand in the adapter's file beside it, by published name -> the base's.
  std::map<std::string, std::string> tables(const Model& shape, bool resized) const;

 private:
  std::vector<std::string> target_names() const;
};

// The model that an adapter is put onto, with the vocabulary that it was trained with.
std::unique_ptr<ModelSource> grown_for(std::unique_ptr<ModelSource> source,
                                       const AdapterFiles& adapter);

// The options of a new adapter that are not at their defaults, by name.
std::vector<std::string> adapter_options_given(const ModelOptions& options);

}  // namespace sft
