#include "data/find/dataset_card.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"
#include "data/read/line_ends.h"

namespace sft {

namespace {

Error malformed(const std::string& file, int line, std::string message) {
  return Error("D005", std::move(message))
      .at(fmt::format("{}:{}", file, line))
      .hint(
          "each entry of `configs` is {config_name, data_files: glob | [globs] | "
          "[{split, path}], data_dir}");
}

// The block between the two "---" lines that begin a README.md; empty when there is none.
std::string front_matter(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) {
    text.remove_prefix(3);
  }
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (!text.starts_with("---\n")) {
    return "";
  }
  for (size_t end = text.find("\n---"); end != std::string_view::npos;
       end = text.find("\n---", end + 1)) {
    const size_t after = end + 4;
    if (after == text.size() || text[after] == '\n') {
      const size_t begin = text.find('\n') + 1;
      return std::string(text.substr(begin, end < begin ? 0 : end - begin));
    }
  }
  return "";
}

class CardReader {
 public:
  CardReader(std::string file, int first_line) : file_(std::move(file)), first_line_(first_line) {}

  std::vector<DatasetConfig> read(const std::string& text) const {
    try {
      const YAML::Node root = YAML::Load(text);
      if (!root.IsMap() || !root["configs"].IsDefined() || root["configs"].IsNull()) {
        return {};
      }
      if (!root["configs"].IsSequence()) {
        throw fail(root["configs"], "`configs` must be a list");
      }
      std::vector<DatasetConfig> configs;
      for (const auto& entry : root["configs"]) {
        configs.push_back(config(entry));
      }
      return configs;
    } catch (const YAML::Exception& e) {
      throw malformed(file_, first_line_ + std::max(e.mark.line, 0),
                      fmt::format("the YAML is not valid: {}", e.msg));
    }
  }

 private:
  Error fail(const YAML::Node& node, std::string message) const {
    return malformed(file_, first_line_ + std::max(node.Mark().line, 0), std::move(message));
  }

  DatasetConfig config(const YAML::Node& entry) const {
    if (!entry.IsMap() || !entry["config_name"].IsDefined() || !entry["config_name"].IsScalar()) {
      throw fail(entry, "an entry of `configs` has no config_name");
    }
    DatasetConfig config{.name = entry["config_name"].Scalar()};
    if (const auto node = entry["default"]; node.IsDefined()) {
      config.is_default = node.as<bool>();
    }
    if (const auto node = entry["data_dir"]; node.IsDefined()) {
      config.data_dir = node.as<std::string>();
    }
    const YAML::Node files = entry["data_files"];
    if (!files.IsDefined() || files.IsNull()) {
      return config;
    }
    if (files.IsSequence() && files.size() > 0 && files[0].IsMap()) {
      for (const auto& item : files) {
        if (!item.IsMap() || !item["split"].IsDefined() || !item["path"].IsDefined()) {
          throw fail(item, "an entry of data_files must have `split` and `path`");
        }
        config.data_files.emplace_back(item["split"].as<std::string>(), patterns(item["path"]));
      }
    } else {
      config.data_files.emplace_back("train", patterns(files));
    }
    return config;
  }

  std::vector<std::string> patterns(const YAML::Node& node) const {
    if (node.IsScalar()) {
      return {node.Scalar()};
    }
    if (node.IsSequence()) {
      return node.as<std::vector<std::string>>();
    }
    throw fail(node, "data_files must be a path, a list of paths, or a list of {split, path}");
  }

  std::string file_;
  int first_line_;
};

}  // namespace

std::vector<DatasetConfig> read_configs(const std::filesystem::path& folder) {
  std::vector<DatasetConfig> configs;
  if (const auto readme = folder / "README.md"; is_there(readme)) {
    configs =
        CardReader(readme.string(), 2).read(front_matter(with_plain_line_ends(read_text(readme))));
  }
  if (const auto yaml = folder / ".huggingface.yaml"; is_there(yaml)) {
    auto over = CardReader(yaml.string(), 1).read(with_plain_line_ends(read_text(yaml)));
    configs = over.empty() ? std::move(configs) : std::move(over);
  }
  return configs;
}

const DatasetConfig& choose_config(const std::vector<DatasetConfig>& configs,
                                   const std::optional<std::string>& wanted,
                                   const std::string& dataset) {
  std::vector<std::string> names;
  const DatasetConfig* chosen = nullptr;
  int defaults = 0;
  for (const DatasetConfig& config : configs) {
    names.push_back(config.name);
    const bool fits = wanted ? config.name == *wanted
                             : configs.size() == 1 || config.name == "default" || config.is_default;
    if (fits) {
      chosen = &config;
      ++defaults;
    }
  }
  if (chosen != nullptr && (wanted || defaults == 1)) {
    return *chosen;
  }
  const std::string choices = fmt::format("{}", fmt::join(names, ", "));
  if (!wanted) {
    throw Error("D006",
                fmt::format("{} has {} configs, and {}", dataset, configs.size(),
                            defaults == 0 ? "none is the default" : "several are the default"))
        .hint(fmt::format("choose one with --dataset_config: {}", choices));
  }
  const std::string near = nearest(*wanted, names);
  throw Error("D006", fmt::format("{} has no config \"{}\"{}", dataset, *wanted,
                                  near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near)))
      .hint(fmt::format("choose one with --dataset_config: {}", choices));
}

}  // namespace sft
