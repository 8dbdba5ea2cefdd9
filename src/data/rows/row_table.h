// All rows of a source by number, over its files and data sets. Used by prepare_dataset.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "data/read/row_file.h"
#include "data/rows/row_source.h"

namespace sft {

// A row as it was read, and which of its columns count.
struct SourceRow {
  RawRow raw;
  const std::vector<std::string>* columns = nullptr;  // null or empty: all

  // D066 when the row lacks one of the columns; otherwise as RawRow::json.
  Json json(const std::vector<std::string>* wanted = nullptr) const;
};

class RowTable {
 public:
  // Opens every file; keeps references to the source. Null when one of them can only be read in
  // order.
  static std::unique_ptr<RowTable> open(const RowSource& source, ThreadPool& pool);

  int64_t count() const;
  // Row i as the files lie, whatever the source's `order`. Thread-safe.
  void read(int64_t i, SourceRow& row) const;
  // The end of the rows that are best read together with row i by one thread.
  int64_t chunk_end(int64_t i) const;
  // Bytes of all files.
  int64_t bytes() const { return bytes_; }
  // Those of all files that have a schema, as far as they count, in the order they are met.
  const std::vector<std::string>& columns() const { return columns_; }

 private:
  // Rows [first, …) of a file, which are rows [begin, end) of all.
  struct FileRows {
    std::shared_ptr<const RowFile> file;
    int64_t first, begin, end;
    const std::vector<std::string>* columns;
  };
  const FileRows& part_of(int64_t row) const;
  void add_columns(const RowFile& file, const std::vector<std::string>& wanted);

  std::vector<FileRows> parts_;
  std::vector<std::string> columns_;
  int64_t bytes_ = 0;
};

}  // namespace sft
