// All rows tokenised before training, from the token cache or into it; then ordered, packed or laid
// out as the documents that they were packed of. One of the ways of prepare_dataset.
#pragma once

#include <memory>

#include "data/dataset.h"
#include "data/rows/row_preparer.h"

namespace sft {

// What rows are made from; lives as long as they do.
struct RowOrigin {
  RowSource source;
  std::shared_ptr<const RowTable> table;  // null: rows can only be read in order
  std::shared_ptr<const RowPreparer> preparer;
};

// Fewer bytes than this are tokenised at once, and not kept: nobody waits for that.
inline constexpr int64_t kFewBytes = 8 << 20;

// The order of so many rows where shuffle_dataset is asked for.
std::vector<int64_t> shuffled_rows(int64_t rows, uint64_t seed);

Prepared prepare_whole(std::shared_ptr<const RowOrigin> origin, const DataOptions& options,
                       Part part, bool packing, const DataContext& context);

}  // namespace sft
