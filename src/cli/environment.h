// This process's environment: the one place that reads and changes it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/environment.h"
#include "core/log.h"

namespace sft {

// As it is now.
Environment read_environment();

// Puts the variables of a YAML file's `env:` into it, where libraries look. C025 for what cannot be
// a name. Call before threads.
void apply_environment(const std::vector<std::pair<std::string, std::string>>& variables);

// With the home folder in place of a ~ at the beginning.
std::string at_home(const std::string& path, const Environment& environment);

// Loads the file that SFT_CUDNN names, so that it is the cuDNN that is found; a warning where it
// cannot be loaded.
void load_cudnn(const Environment& environment, const Logger& log);

}  // namespace sft
