// The `configs:` that a data set's README.md declares in its YAML front matter, and the choice of
// one of them. Used by resolve.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sft {

struct DatasetConfig {
  std::string name;
  bool is_default = false;
  std::string data_dir{};
  // (split, glob patterns), in the order written; empty when the config names no files.
  std::vector<std::pair<std::string, std::vector<std::string>>> data_files{};
};

// Configs of the folder's README.md, overridden by .huggingface.yaml as in `datasets`. Empty when
// there are none. D005 when the YAML or its form is wrong, with the line.
std::vector<DatasetConfig> read_configs(const std::filesystem::path& folder);

// The config called `wanted`; without one the only one, or the default. D006 lists the choices.
const DatasetConfig& choose_config(const std::vector<DatasetConfig>& configs,
                                   const std::optional<std::string>& wanted,
                                   const std::string& dataset);

}  // namespace sft
