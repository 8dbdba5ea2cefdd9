// The optimizers by the names that --optim takes: one table. Used by the options and the trainer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "optim/state_layout.h"

namespace sft {

struct OptimizerName {
  std::string_view name;
  StateFormat format;  // of AdamW's moments
};

// Null for a name that is not built.
const OptimizerName* find_optimizer(std::string_view name);
// Those that are built, and all that transformers knows besides.
std::vector<std::string> built_optimizers();
std::vector<std::string> known_optimizers();

}  // namespace sft
