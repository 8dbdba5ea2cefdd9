#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/contained.h"
#include "core/error.h"
#include "core/file.h"
#include "core/lfs_pointer.h"
#include "io/model_files.h"
#include "io/safetensors.h"

namespace sft {

namespace {

// name -> file. A sorted map, because an index may hold a hundred thousand names.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const std::string text = read_fetched_text(path);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto fail = [&](const std::string& what) -> Error {
    return Error("M210", fmt::format("{} {}", path.string(), what))
        .hint("fetch the model's files again");
  };
  if (json.is_discarded()) {
    throw fail("is not valid JSON");
  }
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object() ||
      json["weight_map"].empty()) {
    throw fail("has no \"weight_map\" of tensor names to files");
  }
  std::map<std::string, std::string> result;
  for (const auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string()) {
      throw fail(fmt::format("gives no file for tensor \"{}\"", name));
    }
    const auto value = file.get<std::string>();
    if (!is_file_name(value)) {
      throw fail(fmt::format("names the file \"{}\", which is not a plain file name", value));
    }
    result.emplace(name, value);
  }
  return result;
}

}  // namespace

bool SafetensorsFolder::is_in(const fs::path& folder) {
  return is_there(folder / kWeights) || is_there(folder / kWeightsIndex);
}

SafetensorsFolder::SafetensorsFolder(const fs::path& folder) {
  if (is_there(folder / kWeights)) {
    open_single(folder / kWeights);
  } else {
    open_index(folder, folder / kWeightsIndex);
  }
}

void SafetensorsFolder::open_single(const fs::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const StoredTensor& t : files_.back()->tensors()) {
    names_.push_back(t.name);
    entries_.emplace(t.name, Entry{files_.back().get(), &t});
  }
}

void SafetensorsFolder::open_index(const fs::path& folder, const fs::path& index) {
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, file] : read_index(index)) {
    const SafetensorsFile*& shard = opened[file];
    if (shard == nullptr) {
      if (!is_there(folder / file)) {
        throw Error("M211", fmt::format("{} is missing: {} needs it for tensor \"{}\"",
                                        (folder / file).string(), kWeightsIndex, name))
            .hint("fetch all of the model's files");
      }
      if (const std::string why = why_another_file(folder, file); !why.empty()) {
        throw Error("M210",
                    fmt::format("{} names the file \"{}\", which {}", index.string(), file, why))
            .hint("fetch the model's files again");
      }
      files_.push_back(std::make_unique<SafetensorsFile>(folder / file));
      shard = files_.back().get();
    }
    const StoredTensor* tensor = shard->find(name);
    if (tensor == nullptr) {
      throw Error("M212", fmt::format("tensor \"{}\" is not in {}, where {} places it", name, file,
                                      kWeightsIndex))
          .at(shard->path().string())
          .hint("the files are of different versions of the model; fetch them all again");
    }
    names_.push_back(name);
    entries_.emplace(name, Entry{shard, tensor});
  }
}

std::optional<SafetensorsFolder::Entry> SafetensorsFolder::find(const std::string& name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace sft
