#include "data/rows/example.h"

#include "core/content_hash.h"

namespace sft {

bool PreparedDataset::add_to(ContentHash& hash) const {
  if (bound()) {
    return false;
  }
  for (int64_t i = 0; i < size(); ++i) {
    const Example row = example(i);
    hash.add(row.input_ids).add(row.labels).add(row.documents);
  }
  return true;
}

}  // namespace sft
