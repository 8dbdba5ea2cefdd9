// The adapters of a run that trains no more than these (--use_peft).
#pragma once

#include <string>
#include <vector>

#include "io/adapter_files.h"
#include "settings/train_options.h"
#include "state/loaded_model.h"

namespace sft {

struct RunAdapter {
  LoraConfig config;
  std::vector<AdapterTarget> targets;

  StartValues start;

  // Finds the targets and gives them to `shape`, all of which is frozen then: by the options, with
  // new values (C190-C194), or as `given` has them (C192, M271). `stored`: run/frozen_base.h.
  static RunAdapter add_to(Model& shape, const TrainOptions& options, const AdapterFiles* given,
                           const StoredType& stored);
  // adapter_config.json.
  Json json() const;
  // "r 16, alpha 32, on q_proj, v_proj"
  std::string words() const;

 private:
  std::vector<std::string> target_names() const;
};

// The options of a new adapter that are not at their defaults, by name.
std::vector<std::string> adapter_options_given(const ModelOptions& options);

}  // namespace sft
