// Reading the rows of one data file, whatever its format. Used by prepare_dataset and `sft
// inspect`.
//
// A reader is sequential and belongs to one thread. Where a row is a line of text it is handed out
// unparsed, so that worker threads can do the parsing: `RawRow::json` is thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace sft {

// Rows that were decoded together, of a parquet row group for example. Thread-safe.
class RowBatch {
 public:
  virtual ~RowBatch() = default;
  // Row i; where `columns` are given, of those columns alone.
  virtual Json row(int64_t i, const std::vector<std::string>* columns) const = 0;
};

struct RawRow {
  std::string text{};  // the row's JSON, when `parsed` is false and there is no `batch`
  Json value{};
  bool parsed = false;
  bool by_line = false;                       // `number` counts lines, not rows
  std::shared_ptr<const std::string> file{};  // as shown to the user
  int64_t number = 0;                         // line or row in the file, from 1
  std::shared_ptr<const RowBatch> batch{};    // the row is row `in_batch` of it
  int64_t in_batch = 0;

  // "train.jsonl:17", or "train.parquet, row 17".
  std::string place() const;
  // The row as a JSON object, where it costs less without columns other than these. D010 when it is
  // not valid JSON, D011 when it is not an object.
  Json json(const std::vector<std::string>* columns = nullptr) const;

 private:
  Json row_of_batch(const std::vector<std::string>* columns) const;
};

class RowReader {
 public:
  virtual ~RowReader() = default;
  // The next row, or false at the end of the file. Errors name file and line or row.
  virtual bool next(RawRow& row) = 0;
};

using OpenReader = std::unique_ptr<RowReader> (*)(const std::filesystem::path&);

struct FileFormat {
  std::string_view name;
  std::string_view extension;  // without the dot, lower case
  OpenReader open;
};

// Every extension that can be read, in the order in which a tie between formats is decided.
std::span<const FileFormat> file_formats();
// The format of a file by its extension, if it is one that can be read.
const FileFormat* format_of(const std::filesystem::path& path);
// D001 the file does not exist, D002 it is compressed in a way
// that is not known, D003 its format cannot be read.
std::unique_ptr<RowReader> open_reader(const std::filesystem::path& path);

std::unique_ptr<RowReader> open_json(const std::filesystem::path& path);
std::unique_ptr<RowReader> open_csv(const std::filesystem::path& path);
std::unique_ptr<RowReader> open_tsv(const std::filesystem::path& path);
std::unique_ptr<RowReader> open_text(const std::filesystem::path& path);
// Through libsft_arrow.so, which is loaded when the first parquet or arrow file is met; D020 says
// what to install when it is not there.
std::unique_ptr<RowReader> open_arrow(const std::filesystem::path& path);

}  // namespace sft
