#include "data/resolve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <regex>

#include "core/error.h"
#include "core/strings.h"
#include "data/dataset_card.h"
#include "data/glob.h"
#include "data/reader.h"

namespace sft {

namespace {

namespace fs = std::filesystem;

struct SplitFiles {
  std::string split;
  std::vector<std::string> files;  // relative to the folder
};
using Splits = std::vector<SplitFiles>;

struct SplitName {
  std::string_view split;
  std::vector<std::string_view> keywords;
};

const std::vector<SplitName>& split_names() {
  static const std::vector<SplitName> names = {
      {"train", {"train", "training"}},
      {"validation", {"validation", "valid", "dev", "val"}},
      {"test", {"test", "testing", "eval", "evaluation"}}};
  return names;
}

constexpr std::array<std::string_view, 6> kNotData = {"README.md",         "config.json",
                                                      "dataset_info.json", "dataset_infos.json",
                                                      "dummy_data.zip",    "dataset_dict.json"};

bool is_data_name(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  return std::ranges::find(kNotData, name) == kNotData.end();
}

bool is_separator(char c) {
  return std::string_view("-._ 0123456789").find(c) != std::string::npos;
}

// Whether `name` holds the keyword between separators; at its end only where `end_counts`.
bool has_keyword(std::string_view name, std::string_view keyword, bool end_counts) {
  for (size_t at = name.find(keyword); at != std::string_view::npos;
       at = name.find(keyword, at + 1)) {
    const size_t after = at + keyword.size();
    const bool left = at == 0 || is_separator(name[at - 1]);
    const bool right = after < name.size() ? is_separator(name[after]) : end_counts;
    if (left && right) {
      return true;
    }
  }
  return false;
}

bool names_split(const std::string& path, const SplitName& split, bool by_folder) {
  auto parts = sft::split(path, '/');
  const std::string file = parts.back();
  parts.pop_back();
  return std::ranges::any_of(split.keywords, [&](std::string_view keyword) {
    return by_folder ? std::ranges::any_of(parts,
                                           [&](const std::string& part) {
                                             return has_keyword(part, keyword, true);
                                           })
                     : has_keyword(file, keyword, false);
  });
}

std::vector<std::string> visible_files(const fs::path& folder) {
  std::vector<std::string> files = list_files(folder);
  std::erase_if(files,
                [](const std::string& f) { return !is_data_name(f) || !is_requested("**", f); });
  return files;
}

// data/{split}-00000-of-00001*.*: the name push_to_hub gives.
Splits sharded_splits(const std::vector<std::string>& files) {
  static const std::regex kShard(R"(data/([^/]*)-\d{5}-of-\d{5}[^/]*\.[^/]*)");
  std::map<std::string, std::vector<std::string>> found;
  for (const std::string& file : files) {
    if (std::smatch match; std::regex_match(file, match, kShard)) {
      found[match[1]].push_back(file);
    }
  }
  Splits splits;
  for (auto& [split, split_files] : found) {
    splits.push_back({split, std::move(split_files)});
  }
  return splits;
}

Splits splits_by_name(const std::vector<std::string>& files) {
  if (Splits splits = sharded_splits(files); !splits.empty()) {
    return splits;
  }
  for (const bool by_folder : {true, false}) {
    Splits splits;
    for (const SplitName& name : split_names()) {
      SplitFiles split{std::string(name.split), {}};
      std::ranges::copy_if(files, std::back_inserter(split.files), [&](const std::string& file) {
        return names_split(file, name, by_folder);
      });
      if (!split.files.empty()) {
        splits.push_back(std::move(split));
      }
    }
    if (!splits.empty()) {
      return splits;
    }
  }
  return files.empty() ? Splits{} : Splits{{"train", files}};
}

std::vector<std::string> matching(const std::vector<std::string>& all, std::string pattern) {
  while (pattern.starts_with("./")) {
    pattern.erase(0, 2);
  }
  const bool names_it = !is_data_name(pattern);
  std::vector<std::string> files;
  std::ranges::copy_if(all, std::back_inserter(files), [&](const std::string& file) {
    return (names_it || is_data_name(file)) && is_requested(pattern, file) &&
           glob_matches(pattern, file);
  });
  return files;
}

using SplitPatterns = std::vector<std::pair<std::string, std::vector<std::string>>>;

Splits splits_by_pattern(const fs::path& folder, const SplitPatterns& patterns) {
  const std::vector<std::string> all = list_files(folder);
  Splits splits;
  for (const auto& [split, globs] : patterns) {
    SplitFiles found{split, {}};
    for (const std::string& glob : globs) {
      for (std::string& file : matching(all, glob)) {
        if (std::ranges::find(found.files, file) == found.files.end()) {
          found.files.push_back(std::move(file));
        }
      }
    }
    if (found.files.empty()) {
      throw Error("D007", fmt::format("no file matches {} for the split \"{}\"", globs, split))
          .at(folder.string());
    }
    splits.push_back(std::move(found));
  }
  return splits;
}

SplitPatterns patterns_of(const Json& data_files) {
  const auto globs = [](const Json& value) -> std::vector<std::string> {
    if (value.is_string()) {
      return {value.get<std::string>()};
    }
    if (value.is_array() && std::ranges::all_of(value, &Json::is_string)) {
      return value.get<std::vector<std::string>>();
    }
    throw Error("D005",
                fmt::format("data_files must be a path or a list of paths, not {}", value.dump()));
  };
  if (!data_files.is_object()) {
    return {{"train", globs(data_files)}};
  }
  SplitPatterns patterns;
  for (const auto& [split, value] : data_files.items()) {
    patterns.emplace_back(split, globs(value));
  }
  return patterns;
}

// Keeps the files of the most frequent format; `data` that nobody can read stays out.
void keep_main_format(SplitFiles& split) {
  std::map<std::string_view, size_t> counts;
  const auto formats_in = [](const std::string& file) {
    std::vector<const FileFormat*> formats;
    for (const std::string& suffix : sft::split(fs::path(file).filename().string(), '.')) {
      if (const FileFormat* format = format_of("x." + suffix)) {
        formats.push_back(format);
      }
    }
    return formats;
  };
  for (const std::string& file : split.files) {
    for (const FileFormat* format : formats_in(file)) {
      ++counts[format->extension];
    }
  }
  const FileFormat* best = nullptr;
  for (const FileFormat& format : file_formats()) {
    if (best == nullptr || counts[format.extension] > counts[best->extension]) {
      best = &format;
    }
  }
  std::erase_if(split.files, [&](const std::string& file) {
    return std::ranges::none_of(formats_in(file),
                                [&](const FileFormat* f) { return f->name == best->name; });
  });
}

// What `Dataset.save_to_disk` leaves: state.json names the arrow files.
std::vector<std::string> saved_files(const fs::path& folder) {
  const Json state = read_json(folder / "state.json");
  std::vector<std::string> files;
  if (state.contains("_data_files") && state["_data_files"].is_array()) {
    for (const Json& file : state["_data_files"]) {
      files.push_back(file.value("filename", ""));
    }
  }
  return files;
}

Splits saved_splits(const fs::path& folder) {
  if (is_file(folder / "state.json")) {
    return {{"train", saved_files(folder)}};
  }
  Splits splits;
  const Json dict = read_json(folder / "dataset_dict.json");
  for (const Json& split : dict.value("splits", Json::array())) {
    SplitFiles found{split.get<std::string>(), {}};
    for (const std::string& file : saved_files(folder / found.split)) {
      found.files.push_back(found.split + "/" + file);
    }
    splits.push_back(std::move(found));
  }
  return splits;
}

struct FolderSplits {
  fs::path base;
  std::string config;
  Splits splits;
};

FolderSplits folder_without_configs(const DatasetSource& source, const fs::path& folder) {
  FolderSplits out{folder, "", {}};
  if (source.config && source.data_dir.empty()) {
    // A folder copied without its README: a subfolder of the config's name is what was meant.
    out.base /= *source.config;
    out.config = *source.config;
    if (!is_folder(out.base)) {
      throw Error("D006", fmt::format("{} declares no configs, so there is no \"{}\"", source.name,
                                      *source.config))
          .at((folder / "README.md").string())
          .hint("leave --dataset_config out, or fetch the data set with its README.md");
    }
  }
  const bool saved = is_file(out.base / "state.json") || is_file(out.base / "dataset_dict.json");
  out.splits = saved ? saved_splits(out.base) : splits_by_name(visible_files(out.base));
  return out;
}

FolderSplits folder_splits(const DatasetSource& source, const fs::path& folder) {
  if (!source.data_files.is_null()) {
    const fs::path base = folder / source.data_dir;
    return {base, "", splits_by_pattern(base, patterns_of(source.data_files))};
  }
  if (!source.data_dir.empty()) {
    return folder_without_configs(source, folder / source.data_dir);
  }
  const std::vector<DatasetConfig> configs = read_configs(folder);
  if (configs.empty()) {
    return folder_without_configs(source, folder);
  }
  const DatasetConfig& config = choose_config(configs, source.config, source.name);
  if (config.data_files.empty()) {
    const fs::path base = folder / config.data_dir;
    return {base, config.name, splits_by_name(visible_files(base))};
  }
  const fs::path base = folder / config.data_dir;
  return {base, config.name, splits_by_pattern(base, config.data_files)};
}

fs::path find_folder(const DatasetSource& source, const HubEnvironment& hub) {
  std::string name = source.name;
  constexpr std::string_view kRemote = "hf://datasets/";
  const bool remote = name.starts_with(kRemote);
  if (remote) {
    name.erase(0, kRemote.size());
  } else if (is_folder(name)) {
    return name;
  }
  if (!source.data_files.is_null() &&
      std::ranges::any_of(file_formats(), [&](const FileFormat& f) { return f.name == name; })) {
    return fs::current_path();  // `path: json` with data_files, as in load_dataset
  }
  if (!is_hub_id(name)) {
    throw Error("D001", fmt::format("there is no data set {}: no such file or folder", source.name))
        .hint("--dataset_name takes a file, a folder, or a hub id such as trl-lib/Capybara");
  }
  const HubLookup found = find_in_hub_cache(HubKind::dataset, name, "", hub);
  if (!found.folder) {
    throw Error("D004", fmt::format("{} is neither a file nor a folder, and not in the hub cache",
                                    source.name))
        .at(fmt::format("{}", fmt::join(found.looked_at, ", ")))
        .hint(fmt::format("hf download --repo-type dataset {}", name));
  }
  return *found.folder;
}

DatasetFiles single_file(const DatasetSource& source, DatasetFiles out) {
  if (source.config) {
    throw Error("D006", fmt::format("{} is a single file and has no configs", source.name))
        .hint("leave --dataset_config out, or give the data set's folder");
  }
  if (out.split != "train") {
    throw Error("D008",
                fmt::format("{} is a single file: it has only the split \"train\", not \"{}\"",
                            source.name, out.split))
        .hint(
            "give a folder with one file a split (train.jsonl, test.jsonl), or set "
            "test_split_size");
  }
  out.files.emplace_back(source.name);
  return out;
}

}  // namespace

DatasetFiles resolve_dataset(const DatasetSource& source, const std::string& split,
                             const HubEnvironment& hub) {
  DatasetFiles out{.name = source.name, .config = "", .split = split, .slice = "", .files = {}};
  if (const size_t bracket = split.find('[');
      bracket != std::string::npos && split.ends_with(']')) {
    out.split = split.substr(0, bracket);
    out.slice = split.substr(bracket + 1, split.size() - bracket - 2);
  }
  if (is_file(source.name)) {
    return single_file(source, std::move(out));
  }
  const fs::path folder = find_folder(source, hub);
  FolderSplits found = folder_splits(source, folder);
  out.config = found.config;
  std::vector<std::string> names;
  for (SplitFiles& candidate : found.splits) {
    names.push_back(candidate.split);
    if (candidate.split == out.split) {
      keep_main_format(candidate);
      for (const std::string& file : candidate.files) {
        out.files.push_back(found.base / file);
      }
    }
  }
  if (!out.files.empty()) {
    return out;
  }
  if (names.empty() || std::ranges::find(names, out.split) != names.end()) {
    throw Error("D007", fmt::format("{} has no data files that can be read", source.name))
        .at(found.base.string())
        .hint("data files end in .parquet, .arrow, .jsonl, .json, .csv, .tsv or .txt");
  }
  throw Error("D008", fmt::format("{} has no split \"{}\" (it has: {})", source.name, out.split,
                                  fmt::join(names, ", ")))
      .at(found.base.string())
      .hint(fmt::format("choose one with --dataset_train_split or --dataset_test_split: {}",
                        fmt::join(names, ", ")));
}

RowRange slice_range(const std::string& slice, int64_t n) {
  if (slice.empty()) {
    return {0, n};
  }
  const auto bound = [&](std::string_view text, int64_t missing) -> int64_t {
    text = trim(text);
    if (text.empty()) {
      return missing;
    }
    const bool percent = text.ends_with('%');
    text.remove_suffix(percent ? 1 : 0);
    int64_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc() || end != text.data() + text.size() ||
        std::abs(value) > (1LL << 53)) {
      throw Error("D009", fmt::format("\"[{}]\" is not a slice of rows", slice))
          .hint("write train[:100], train[10%:20%] or train[-50:]");
    }
    if (percent) {
      value = std::llround(static_cast<double>(n) * static_cast<double>(value) / 100);
    }
    return std::clamp<int64_t>(value < 0 ? n + value : value, 0, n);
  };
  const size_t colon = slice.find(':');
  if (colon == std::string::npos) {
    bound("x", 0);
  }
  const int64_t begin = bound(std::string_view(slice).substr(0, colon), 0);
  const int64_t end = bound(std::string_view(slice).substr(colon + 1), n);
  return {begin, std::max(begin, end)};
}

}  // namespace sft
