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

#include "core/budget.h"
#include "core/error.h"
#include "core/strings.h"
#include "data/read/arrow/arrow_json.h"
#include "data/read/reader.h"

namespace sft {

// The memory that one file's decoded contents take, bounded by the file's size (D026): pages that
// unpack to gigabytes and dictionaries that are written out take next to nothing in the file.
class BoundedPool : public arrow::MemoryPool {
 public:
  explicit BoundedPool(const std::string& file) {
    std::error_code unknown;
    const auto size = std::filesystem::file_size(file, unknown);
    limit_ = kSmallFile + (unknown ? 0 : kFactor * static_cast<int64_t>(size));
  }

  arrow::Status Allocate(int64_t size, int64_t alignment, uint8_t** out) override {
    ARROW_RETURN_NOT_OK(check(size));
    return pool_->Allocate(size, alignment, out);
  }
  arrow::Status Reallocate(int64_t old_size, int64_t new_size, int64_t alignment,
                           uint8_t** data) override {
    ARROW_RETURN_NOT_OK(check(new_size - old_size));
    return pool_->Reallocate(old_size, new_size, alignment, data);
  }
  void Free(uint8_t* data, int64_t size, int64_t alignment) override {
    pool_->Free(data, size, alignment);
  }
  int64_t bytes_allocated() const override { return pool_->bytes_allocated(); }
  int64_t total_bytes_allocated() const override { return pool_->total_bytes_allocated(); }
  int64_t num_allocations() const override { return pool_->num_allocations(); }
  int64_t max_memory() const override { return pool_->max_memory(); }
  std::string backend_name() const override { return pool_->backend_name(); }

 private:
  static constexpr int64_t kSmallFile = 256 << 20, kFactor = 100;

  arrow::Status check(int64_t more) const {
    const int64_t left = limit_ - pool_->bytes_allocated();
    return more <= left ? arrow::Status::OK()
                        : arrow::Status::OutOfMemory("it needs more memory than ",
                                                     human_bytes(static_cast<double>(limit_)));
  }

  std::unique_ptr<arrow::MemoryPool> pool_ =
      std::make_unique<arrow::ProxyMemoryPool>(arrow::default_memory_pool());
  int64_t limit_ = 0;
};

// D021 when the status is a failure, D026 when the file asks for too much; `row` is the first row
// that is meant.
inline void check_arrow(const arrow::Status& status, const std::string& file, int64_t row) {
  if (status.IsOutOfMemory()) {
    throw Error("D026",
                fmt::format("{} unpacks to far more than its size: {}",
                            std::filesystem::path(file).filename().string(), status.message()))
        .at(fmt::format("{}, row {}", file, row + 1))
        .hint("no real data set does; if this one is yours, write it in smaller row groups");
  }
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
  ArrowBatch(std::shared_ptr<BoundedPool> pool, std::shared_ptr<arrow::RecordBatch> rows,
             std::vector<Logical> logical)
      : pool_(std::move(pool)), rows_(std::move(rows)), logical_(std::move(logical)) {}
  int64_t count() const { return rows_->num_rows(); }
  int64_t bytes() const { return arrow::util::TotalBufferSize(*rows_); }
  Json row(int64_t i, const std::vector<std::string>* columns) const override {
    constexpr BudgetLimits kRow{.steps = 32 << 20, .bytes = 512LL << 20};
    Budget budget("D026", "a row", kRow, "no real row holds that much; cut it into several");
    Json object = Json::object();
    for (int column = 0; column < rows_->num_columns(); ++column) {
      const std::string& name = rows_->column_name(column);
      if (columns == nullptr || std::ranges::find(*columns, name) != columns->end()) {
        object[name] =
            arrow_to_json(*rows_->column(column), i, logical_[static_cast<size_t>(column)], budget);
      }
    }
    return object;
  }

 private:
  std::shared_ptr<BoundedPool> pool_;  // which outlives what it gave
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
