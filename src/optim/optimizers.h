// The optimizers by the names that --optim takes: one table. Used by the options and the trainer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "optim/options.h"
#include "optim/settings.h"

namespace sft {

struct OptimizerName {
  std::string_view name;
  RuleName rule;
  StateFormat format;  // of its states
  WholeStep whole = WholeStep::none;
};

// Null for a name that is not built.
const OptimizerName* find_optimizer(std::string_view name);
// The same rule's name with 8-bit states; empty where there is none, or they are so already.
std::string eight_bit_name(const OptimizerSettings& settings);

// C180: what optim_args says that the optimizer has not, or not so.
OptimizerSettings optimizer_settings(const OptimOptions& options, uint64_t seed);

// Those that are built, and all that transformers knows besides.
std::vector<std::string> built_optimizers();
std::vector<std::string> known_optimizers();

}  // namespace sft
