// The JSON header of a safetensors file, parsed in one pass without a tree, so that a hostile
// header of many megabytes costs linear time. Used by SafetensorsFile.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/safetensors.h"

namespace sft {

struct SafetensorsHeader {
  std::vector<StoredTensor> tensors;  // in the header's order
  std::map<std::string, std::string> metadata;
};

// M201 when it is not JSON, M202 when an entry is not {dtype, shape, data_offsets}, M203 when a
// name stands twice. `file` is the name shown in errors.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& file);

}  // namespace sft
