// libsft_arrow.so: rows of parquet and arrow files. Loaded by read_arrow.cpp through the one
// function below; everything else stays hidden.
#include <memory>

#include "data/read/arrow/arrow_file.h"

namespace sft {

namespace {

constexpr int64_t kBatchRows = 1024;

class ArrowReader : public RowReader {
 public:
  explicit ArrowReader(const std::filesystem::path& path)
      : name_(std::make_shared<const std::string>(path.string())),
        pool_(std::make_shared<BoundedPool>(path.string())) {
    if (path.extension() == ".parquet") {
      open_parquet();
    } else {
      open_ipc();
    }
  }

  bool next(RawRow& row) override {
    while (batch_ == nullptr || at_ >= batch_->count()) {
      at_ = 0;
      batch_.reset();
      if (auto rows = next_batch()) {
        auto logical = parquet_ == nullptr ? logical_types(*rows->schema())
                                           : logical_types(*rows->schema(), parquet_->manifest());
        batch_ = std::make_shared<const ArrowBatch>(pool_, std::move(rows), std::move(logical));
      } else {
        return false;
      }
    }
    row = row_of_batch(batch_, at_, name_, row_ + 1);
    ++at_;
    ++row_;
    return true;
  }

 private:
  void open_parquet() {
    parquet::arrow::FileReaderBuilder builder;
    builder.memory_pool(pool_.get());
    check(builder.OpenFile(*name_, /*memory_map=*/true, parquet::ReaderProperties(pool_.get())));
    parquet::ArrowReaderProperties properties(/*use_threads=*/false);
    properties.set_batch_size(kBatchRows);
    builder.properties(properties);
    check(builder.Build(&parquet_));
    auto batches = parquet_->GetRecordBatchReader();
    check(batches.status());
    batches_ = std::move(*batches);
  }

  void open_ipc() {
    auto file = arrow::io::MemoryMappedFile::Open(*name_, arrow::io::FileMode::READ);
    check(file.status());
    arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
    options.memory_pool = pool_.get();
    options.use_threads = false;
    auto with_index = arrow::ipc::RecordBatchFileReader::Open(*file, options);
    if (with_index.ok()) {
      indexed_ = *with_index;
      return;
    }
    check((*file)->Seek(0));
    auto stream = arrow::ipc::RecordBatchStreamReader::Open(*file, options);
    check(stream.status());
    batches_ = *stream;
  }

  std::shared_ptr<arrow::RecordBatch> next_batch() {
    std::shared_ptr<arrow::RecordBatch> batch;
    if (batches_ != nullptr) {
      check(batches_->ReadNext(&batch));
    } else if (next_indexed_ < indexed_->num_record_batches()) {
      auto read = indexed_->ReadRecordBatch(next_indexed_++);
      check(read.status());
      batch = *read;
    }
    if (batch != nullptr) {
      check(batch->ValidateFull());
    }
    return batch;
  }

  void check(const arrow::Status& status) const { check_arrow(status, *name_, row_); }

  std::shared_ptr<const std::string> name_;
  std::shared_ptr<BoundedPool> pool_;
  std::unique_ptr<parquet::arrow::FileReader> parquet_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::ipc::RecordBatchFileReader> indexed_;
  int next_indexed_ = 0;
  std::shared_ptr<const ArrowBatch> batch_;
  int64_t at_ = 0, row_ = 0;
};

}  // namespace

}  // namespace sft

extern "C" __attribute__((visibility("default"))) sft::RowReader* sft_open_arrow(const char* path) {
  try {
    return std::make_unique<sft::ArrowReader>(path).release();
  } catch (const parquet::ParquetException& e) {
    throw sft::Error("D021", fmt::format("{} cannot be read: {}", path, e.what()))
        .at(path)
        .hint("the file is damaged or cut short; fetch or write it again");
  }
}
