#include "hub/local_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "core/file.h"
#include "core/strings.h"
#include "hub/errors.h"
#include "hub/repository.h"

namespace sft {

namespace {

// What files of models, data and templates end in; names of the hub do not.
constexpr std::array<std::string_view, 30> kEndings = {
    "json", "jsonl", "ndjson", "parquet", "arrow", "csv", "tsv",  "txt", "md",    "gz",
    "zst",  "bz2",   "xz",     "zip",     "tar",   "tgz", "7z",   "bin", "pt",    "pth",
    "ckpt", "npz",   "pkl",    "gguf",    "ggml",  "h5",  "yaml", "yml", "jinja", "safetensors"};

bool is_checkpoint(std::string_view last) {
  constexpr std::string_view kPrefix = "checkpoint-";
  return last.starts_with(kPrefix) && last.size() > kPrefix.size() &&
         std::ranges::all_of(last.substr(kPrefix.size()),
                             [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

std::string why_a_path(const std::string& name) {
  if (name.starts_with('/') || name.starts_with('.') || name.starts_with('~')) {
    return fmt::format("it begins with {}", name[0]);
  }
  if (name.ends_with('/') || name.find('\\') != std::string::npos) {
    return "it is written as a path";
  }
  if (std::ranges::count(name, '/') > 1) {
    return "it has more than one /";
  }
  const std::string last = name.substr(name.find('/') + 1);  // npos + 1: the whole name
  const size_t dot = last.rfind('.');
  if (dot != std::string::npos &&
      std::ranges::find(kEndings, to_lower(last.substr(dot + 1))) != kEndings.end()) {
    return fmt::format("it ends in {}", last.substr(dot));
  }
  return is_checkpoint(last) ? "checkpoints have such names" : "";
}

std::string because(const std::string& why) {
  return why.empty()          ? ""
         : why == kHubHasNone ? fmt::format(" ({})", why)
                              : fmt::format(" ({}, so the hub is not asked)", why);
}

bool parent_is_here(const std::string& name) {
  const size_t slash = name.find('/');
  try {
    return slash != std::string::npos && slash > 0 && is_folder(name.substr(0, slash));
  } catch (const Error&) {  // a folder that may not be looked at
    return true;
  }
}

bool hub_knows(HubKind kind, const std::string& name, const std::string& revision,
               const HubEnvironment& environment) {
  if (!environment.online()) {
    return true;
  }
  HubEnvironment once = environment;
  once.attempts = 1;
  once.report = {};
  try {
    const HubRepository asked(kind, name, revision, once);
  } catch (const Error& e) {
    return e.code() != kNoRepository && !is_out_of_reach(e);
  }
  return true;
}

std::string nearest_path_or(const std::string& name, const std::string& otherwise) {
  fs::path path(name);
  path = path.has_filename() ? path : path.parent_path();
  std::vector<std::string> beside, stems;
  try {
    for (const fs::path& there :
         paths_in(path.has_parent_path() ? path.parent_path() : fs::path("."))) {
      beside.push_back(there.filename().string());
      stems.push_back(there.stem().string());
    }
  } catch (const Error&) {  // it cannot be listed
  }
  std::string near = nearest(path.filename().string(), beside);
  if (near.empty()) {  // "bakry" for "bakery.jsonl"
    const auto stem = std::ranges::find(stems, nearest(path.stem().string(), stems));
    near = stem == stems.end() ? "" : beside[static_cast<size_t>(stem - stems.begin())];
  }
  return near.empty() ? otherwise
                      : fmt::format("did you mean  {}?", (path.parent_path() / near).string());
}

}  // namespace sft
