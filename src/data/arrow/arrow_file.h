// Opening parquet and arrow files, and decoded rows as the rest of the program takes them. Used by
// the two halves of libsft_arrow.so: the reader and the random access.
#pragma once

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/util/byte_size.h>
#include <parquet/arrow/reader.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/arrow/arrow_json.h"
#include "data/reader.h"

namespace sft {

// D021 when the status is a failure; `row` is the first row that is meant.
inline void check_arrow(const arrow::Status& status, const std::string& file, int64_t row) {
  if (!status.ok()) {
    throw Error("D021",
                fmt::format("{} cannot be read: {}",
                            std::filesystem::path(file).filename().string(), status.message()))
        .at(fmt::format("{}, row {}", file, row + 1))
        .hint("the file is damaged or cut short; fetch or write it again");
  }
}

// The rows of a record batch whose contents have been validated.
class ArrowBatch : public RowBatch {
 public:
  // `logical`: what its columns mean.
  ArrowBatch(std::shared_ptr<arrow::RecordBatch> rows, std::vector<Logical> logical)
      : rows_(std::move(rows)), logical_(std::move(logical)) {}
  int64_t count() const { return rows_->num_rows(); }
  int64_t bytes() const { return arrow::util::TotalBufferSize(*rows_); }
  Json row(int64_t i, const std::vector<std::string>* columns) const override {
    Json object = Json::object();
    for (int column = 0; column < rows_->num_columns(); ++column) {
      const std::string& name = rows_->column_name(column);
      if (columns == nullptr || std::ranges::find(*columns, name) != columns->end()) {
        object[name] =
            arrow_to_json(*rows_->column(column), i, logical_[static_cast<size_t>(column)]);
      }
    }
    return object;
  }

 private:
  std::shared_ptr<arrow::RecordBatch> rows_;
  std::vector<Logical> logical_;
};

inline RawRow row_of_batch(std::shared_ptr<const RowBatch> batch, int64_t in_batch,
                           std::shared_ptr<const std::string> file, int64_t number) {
  RawRow row;
  row.batch = std::move(batch);
  row.in_batch = in_batch;
  row.file = std::move(file);
  row.number = number;
  return row;
}

}  // namespace sft
