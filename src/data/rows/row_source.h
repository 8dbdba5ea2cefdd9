// The raw rows of one part of the data, from all the files and data sets of a mixture. Used by
// prepare_dataset and `sft inspect`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/find/resolve.h"
#include "data/options.h"
#include "data/read/reader.h"
#include "data/read/row_file.h"
#include "hub/cache.h"

namespace sft {

enum class Part { train, eval };

// One data set of the run: its files, and which of their rows count.
struct SourcePart {
  DatasetFiles files;
  std::vector<std::string> columns;  // empty: all
  RowRange rows{0, INT64_MAX};
  // The files, where their rows had to be counted and all of them can be read at random.
  std::vector<std::shared_ptr<const RowFile>> opened{};
};

struct RowSource {
  std::vector<SourcePart> parts;
  // With test_split_size, the rows of this part in their order, as positions among all rows.
  std::vector<int64_t> order;
  bool ordered = false;

  // "train.jsonl" or "3 files of BAAI/Infinity-Instruct (config 0625, split train)".
  std::string describe() const;
};

// Resolves --dataset_name or the `datasets:` mixture. Rows are counted only where a slice, a
// fraction or test_split_size needs it. C031 neither is given, D065 a mixture's entry is wrong.
RowSource open_source(const DataOptions& options, Part part, uint64_t seed,
                      const HubEnvironment& hub, ThreadPool& pool);

// Walks the rows of a source; belongs to one thread.
class RowStream {
 public:
  explicit RowStream(const RowSource& source) : source_(source) {}
  bool next(RawRow& row);
  // Columns to keep of the row that `next` gave last; empty: all.
  const std::vector<std::string>& columns() const { return source_.parts[part_].columns; }

 private:
  const RowSource& source_;
  size_t part_ = 0, file_ = 0;
  int64_t row_in_part_ = 0;
  std::unique_ptr<RowReader> reader_;
};

}  // namespace sft
