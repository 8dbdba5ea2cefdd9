// The first rows of a part of the data, as the files have them. Used by data/prompts.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "data/dataset.h"

namespace sft {

struct PlacedRow {
  std::string place;  // "train.jsonl:17"
  Json value;
};

// At most `limit` of them, in the order of the data. D048 where there are none.
std::vector<PlacedRow> first_rows(const DataOptions& options, Part part, const DataContext& context,
                                  int64_t limit);

}  // namespace sft
