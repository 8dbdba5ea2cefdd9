// From a data set's name to the files of one of its splits, by the rules of
// `datasets.load_dataset`. Used by prepare_dataset. Nothing is opened but README.md and the
// folders' listings.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/find/split_spec.h"
#include "hub/cache.h"

namespace sft {

struct DatasetSource {
  std::string name;  // a file, a folder, or a hub id (also "hf://datasets/<id>")
  std::optional<std::string> config;
  std::string data_dir;      // narrows a folder; README configs are then not used
  Json data_files;           // null, a glob, a list of globs, or {split: glob or list}
  bool trusts_card = false;  // its card may name files outside of its folder, if it is local
};

struct DatasetFiles {
  std::string name;    // as the user wrote it
  std::string config;  // the config used, "" when there is none
  std::string split;   // without its slice
  std::string slice;   // "[:100]" of "train[:100]", or ""; see slice_range
  std::vector<std::filesystem::path> files;
};

// One for each term of the sum `spec` ("train[:1%]+test"), or for each split there is when it is
// "all". A single file has the one split "train".
// D001 nothing of that name, D004 a hub id that is not in the cache, D006 config missing or
// unknown, D007 no data files, D008 no such split (the splits found are listed),
// D009 a slice that is none.
std::vector<DatasetFiles> resolve_splits(const DatasetSource& source, const std::string& spec,
                                         const HubEnvironment& hub);
// The same for a `spec` of one term; D009 for a sum.
DatasetFiles resolve_dataset(const DatasetSource& source, const std::string& spec,
                             const HubEnvironment& hub);

}  // namespace sft
