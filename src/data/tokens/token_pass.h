// Reads, renders and tokenises all rows of a source, on all threads and in bounded memory. Used by
// prepare_dataset where the order of training depends on every row.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/rows/row_preparer.h"

namespace sft {

// The rows of `source` that count, in the order of its files; `table` may be null, and the files
// are then read in order. `first` are the first of those rows, `first_taken` of them. For each row
// that is kept `keep(row, number)` is called, one at a time and in order. The result and the first
// error do not depend on the number of threads. Returns the counts.
DataStatistics run_token_pass(const RowSource& source, const RowTable* table,
                              const RowPreparer& preparer, const DataContext& context,
                              const std::function<void(const Example&, int64_t number)>& keep);

}  // namespace sft
