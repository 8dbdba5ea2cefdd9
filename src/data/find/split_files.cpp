#include "data/find/split_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <set>

#include "core/error.h"
#include "core/strings.h"
#include "data/find/glob.h"
#include "data/read/reader.h"

namespace sft {

namespace {

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

constexpr std::string_view kSeparators = "[-._ 0-9]";
// {} is the keyword, # a separator.
constexpr std::array<std::string_view, 4> kFolderPatterns = {"**/{}/**", "**/{}#*/**", "**/*#{}/**",
                                                             "**/*#{}#*/**"};
constexpr std::array<std::string_view, 2> kFilePatterns = {"**/{}#*", "**/*#{}#*"};

constexpr std::array<std::string_view, 6> kNotData = {"README.md",         "config.json",
                                                      "dataset_info.json", "dataset_infos.json",
                                                      "dummy_data.zip",    "dataset_dict.json"};

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

bool is_data_name(const std::string& path) {
  return std::ranges::find(kNotData, base_name(path)) == kNotData.end();
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// The files of all patterns, each once: `datasets` reads one that fits two patterns twice.
std::vector<std::string> matching_any(const std::vector<std::string>& files,
                                      const std::vector<std::string>& patterns) {
  std::vector<std::string> out;
  std::set<std::string_view> taken;
  for (const std::string& pattern : patterns) {
    for (const std::string& file : files) {
      if (glob_matches(pattern, file) && taken.insert(file).second) {
        out.push_back(file);
      }
    }
  }
  return out;
}

template <size_t N>
std::vector<std::string> keyword_patterns(const SplitName& split,
                                          const std::array<std::string_view, N>& forms) {
  std::vector<std::string> patterns;
  for (const std::string_view keyword : split.keywords) {
    for (const std::string_view form : forms) {
      patterns.push_back(
          replace_all(replace_all(std::string(form), "#", kSeparators), "{}", keyword));
    }
  }
  return patterns;
}

// data/{split}-00000-of-00001*.*: the name push_to_hub gives. The usual splits come first.
Splits sharded_splits(const std::vector<std::string>& files) {
  static const std::regex kShard(R"(data/([^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*)");
  std::map<std::string, std::vector<std::string>> found;
  for (const std::string& file : files) {
    if (std::smatch match; std::regex_match(file, match, kShard)) {
      found[match[1]].push_back(file);
    }
  }
  Splits splits;
  const auto take = [&](const std::string& split) {
    if (const auto at = found.find(split); at != found.end()) {
      splits.push_back({split, std::move(at->second)});
      found.erase(at);
    }
  };
  for (const SplitName& name : split_names()) {
    take(std::string(name.split));
  }
  while (!found.empty()) {
    take(std::string(found.begin()->first));
  }
  return splits;
}

template <size_t N>
Splits keyword_splits(const std::vector<std::string>& files,
                      const std::array<std::string_view, N>& forms) {
  Splits splits;
  for (const SplitName& name : split_names()) {
    SplitFiles split{std::string(name.split), matching_any(files, keyword_patterns(name, forms))};
    if (!split.files.empty()) {
      splits.push_back(std::move(split));
    }
  }
  return splits;
}

std::vector<std::string_view> formats_in(const std::string& file) {
  std::vector<std::string_view> extensions;
  const auto parts = split(base_name(file), '.');
  for (size_t i = 1; i < parts.size(); ++i) {
    if (const FileFormat* format = format_of("x." + parts[i])) {
      extensions.push_back(format->extension);
    }
  }
  return extensions;
}

}  // namespace

Splits splits_by_name(const std::vector<std::string>& all) {
  std::vector<std::string> files;
  std::ranges::copy_if(all, std::back_inserter(files), [](const std::string& file) {
    return is_data_name(file) && is_requested("**", file);
  });
  if (Splits splits = sharded_splits(files); !splits.empty()) {
    return splits;
  }
  // Logs of agents' evaluations, a format of its own: where there are any, `datasets` reads nothing
  // else.
  if (auto logs = matching_any(files, {"**/*.eval"}); !logs.empty()) {
    return {{"logs", std::move(logs)}};
  }
  if (Splits splits = keyword_splits(files, kFolderPatterns); !splits.empty()) {
    return splits;
  }
  if (Splits splits = keyword_splits(files, kFilePatterns); !splits.empty()) {
    return splits;
  }
  return files.empty() ? Splits{} : Splits{{"train", files}};
}

std::vector<std::string> matching_files(const std::vector<std::string>& all, std::string pattern) {
  while (pattern.starts_with("./")) {
    pattern.erase(0, 2);
  }
  const std::string named = base_name(pattern);
  std::vector<std::string> files;
  std::ranges::copy_if(all, std::back_inserter(files), [&](const std::string& file) {
    return (base_name(file) == named || is_data_name(file)) && is_requested(pattern, file) &&
           glob_matches(pattern, file);
  });
  return files;
}

bool has_wildcard(const std::string& pattern) {
  return pattern.find_first_of("*?[") != std::string::npos;
}

void keep_main_format(SplitFiles& split) {
  std::map<std::string_view, size_t> counts;
  for (const std::string& file : split.files) {
    for (const std::string_view extension : formats_in(file)) {
      ++counts[extension];
    }
    if (to_lower(file).ends_with(".zip")) {
      throw Error("D002", fmt::format("{} is an archive, which is not looked into", file))
          .hint("unpack it, or move it out of the data set");
    }
  }
  const FileFormat* best = nullptr;
  for (const FileFormat& format : file_formats()) {
    if (best == nullptr || counts[format.extension] > counts[best->extension]) {
      best = &format;
    }
  }
  std::erase_if(split.files, [&](const std::string& file) {
    return std::ranges::none_of(formats_in(file), [&](std::string_view extension) {
      return format_of("x." + std::string(extension))->name == best->name;
    });
  });
}

}  // namespace sft
