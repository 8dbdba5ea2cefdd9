// Reading any row of a data file by its number, without reading the rows before it. Used by
// RowTable, so that training can start before a data set has been read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "data/read/compressed.h"
#include "data/read/reader.h"

namespace sft {

class RowFile {
 public:
  virtual ~RowFile() = default;
  virtual int64_t count() const = 0;
  // Row i in [0, count()); the same rows, in the same order, as the file's RowReader gives.
  // Thread-safe. Errors name the file and the line or row.
  virtual void read(int64_t i, RawRow& row) const = 0;
  // The end of the rows that are best read together with row i, by one thread and in order.
  virtual int64_t chunk_end(int64_t i) const = 0;
  // The columns of a file that has a schema, none of others.
  virtual std::vector<std::string> columns() const { return {}; }
};

// Opens the file and counts its rows, by `pool` where that takes long. Null where rows can only be
// read in order: arrow streams, and parquet with row groups too large to decode for one row. Errors
// as open_reader.
std::unique_ptr<RowFile> open_row_file(const std::filesystem::path& path, ThreadPool& pool);

// One row a line, by an index of 16 bytes for each 64 KiB of the file.
enum class Lines { json, text };
std::unique_ptr<RowFile> open_line_file(DataFile file, Lines lines, ThreadPool& pool);
// Lines as above, or a document, which is held in memory.
std::unique_ptr<RowFile> open_json_rows(const std::filesystem::path& path, ThreadPool& pool);
// Every 64th row's place is remembered.
std::unique_ptr<RowFile> open_csv_rows(const std::filesystem::path& path, char separator);
// Parquet and arrow, through libsft_arrow.so; null as above.
std::unique_ptr<RowFile> open_arrow_rows(const std::filesystem::path& path);

// The row that a line of such a file is, without its number.
RawRow row_of_line(std::string_view line, Lines lines, std::shared_ptr<const std::string> file);

}  // namespace sft
