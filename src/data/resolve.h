// From a data set's name to the files of one of its splits, by the rules of
// `datasets.load_dataset`. Used by prepare_dataset. Nothing is opened but README.md and the
// folders' listings.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/cache.h"
#include "core/json.h"

namespace sft {

struct DatasetSource {
  std::string name;  // a file, a folder, or a hub id (also "hf://datasets/<id>")
  std::optional<std::string> config;
  std::string data_dir;  // narrows a folder; README configs are then not used
  Json data_files;       // null, a glob, a list of globs, or {split: glob or list}
};

struct DatasetFiles {
  std::string name;    // as the user wrote it
  std::string config;  // the config used, "" when there is none
  std::string split;   // without its slice
  std::string slice;   // the part of "train[:100]" between the brackets, or ""
  std::vector<std::filesystem::path> files;
};

// `split` may carry a slice. A single file serves any split named "train".
// D001 nothing of that name, D004 a hub id that is not in the cache, D006 config missing or
// unknown, D007 no data files, D008 no such split (the splits found are listed).
DatasetFiles resolve_dataset(const DatasetSource& source, const std::string& split,
                             const HubEnvironment& hub);

// Rows [begin, end) of n that a slice such as ":100", "10%:20%" or "-50:" keeps; D009 when it is
// not a slice. "" keeps all.
struct RowRange {
  int64_t begin, end;
};
RowRange slice_range(const std::string& slice, int64_t n);

}  // namespace sft
