// Any row of a parquet or arrow file: parquet by decoding the row's group, arrow where it lies.
#include <list>
#include <mutex>
#include <vector>

#include "data/read/arrow/arrow_file.h"
#include "data/read/row_file.h"

namespace sft {

namespace {

constexpr int64_t kMostRowsInGroup = 16 * 1024;
constexpr int64_t kDecodedBytes = 64 << 20;  // kept of one file
constexpr int64_t kUncompressed = 1 << 20;   // an arrow batch that allocates more is compressed

// Which of the consecutive ranges that end at `ends` holds row i.
size_t range_of(const std::vector<int64_t>& ends, int64_t i) {
  return static_cast<size_t>(std::ranges::upper_bound(ends, i) - ends.begin());
}

int64_t begin_of(const std::vector<int64_t>& ends, size_t range) {
  return range == 0 ? 0 : ends[range - 1];
}

class ParquetRows : public RowFile {
 public:
  explicit ParquetRows(std::string path)
      : name_(std::make_shared<const std::string>(path)),
        pool_(std::make_shared<BoundedPool>(path)) {
    auto file = arrow::io::MemoryMappedFile::Open(path, arrow::io::FileMode::READ);
    check_arrow(file.status(), path, 0);
    file_ = *file;
    metadata_ = parquet::ReadMetaData(file_);
    int64_t rows = 0;
    for (int g = 0; g < metadata_->num_row_groups(); ++g) {
      const int64_t in_group = metadata_->RowGroup(g)->num_rows();
      largest_ = std::max(largest_, in_group);
      ends_.push_back(rows += in_group);
    }
  }

  int64_t largest_group() const { return largest_; }
  int64_t count() const override { return ends_.empty() ? 0 : ends_.back(); }
  int64_t chunk_end(int64_t i) const override { return ends_[range_of(ends_, i)]; }
  std::vector<std::string> columns() const override {
    std::vector<std::string> names;
    const auto* root = metadata_->schema()->group_node();
    for (int i = 0; i < root->field_count(); ++i) {
      names.push_back(root->field(i)->name());
    }
    return names;
  }
  void read(int64_t i, RawRow& row) const override {
    const size_t group = range_of(ends_, i);
    row = row_of_batch(decoded(group), i - begin_of(ends_, group), name_, i + 1);
  }

 private:
  struct Decoded {
    size_t group = 0;
    int64_t bytes = 0;
    std::once_flag once{};
    std::shared_ptr<const RowBatch> rows{};
  };

  std::shared_ptr<const RowBatch> decoded(size_t group) const {
    std::shared_ptr<Decoded> entry = entry_of(group);
    std::call_once(entry->once, [&] {
      auto rows = decode(group);
      const std::lock_guard lock(mutex_);
      entry->rows = rows;
      entry->bytes = rows->bytes();
      forget_oldest();
    });
    return entry->rows;
  }

  void forget_oldest() const {
    int64_t bytes = 0;
    size_t kept = 0;
    for (auto entry = recent_.begin(); entry != recent_.end(); ++kept) {
      bytes += (*entry)->bytes;
      entry = bytes > kDecodedBytes && kept >= 2 ? recent_.erase(entry) : std::next(entry);
    }
  }

  // The entry of the group, now the last to be forgotten.
  std::shared_ptr<Decoded> entry_of(size_t group) const {
    const std::lock_guard lock(mutex_);
    const auto found =
        std::ranges::find_if(recent_, [&](const auto& entry) { return entry->group == group; });
    if (found != recent_.end()) {
      recent_.splice(recent_.begin(), recent_, found);
    } else {
      recent_.push_front(std::make_shared<Decoded>());
      recent_.front()->group = group;
    }
    return recent_.front();
  }

  std::shared_ptr<const ArrowBatch> decode(size_t group) const try {
    const int64_t first = begin_of(ends_, group);
    parquet::arrow::FileReaderBuilder builder;
    builder.memory_pool(pool_.get());
    check_arrow(builder.Open(file_, parquet::ReaderProperties(pool_.get()), metadata_), *name_,
                first);
    builder.properties(parquet::ArrowReaderProperties(/*use_threads=*/false));
    std::unique_ptr<parquet::arrow::FileReader> reader;
    check_arrow(builder.Build(&reader), *name_, first);
    auto table = reader->ReadRowGroup(static_cast<int>(group));
    check_arrow(table.status(), *name_, first);
    auto batch = (*table)->CombineChunksToBatch(pool_.get());
    check_arrow(batch.status(), *name_, first);
    check_arrow((*batch)->ValidateFull(), *name_, first);
    if ((*batch)->num_rows() != ends_[group] - first) {
      check_arrow(arrow::Status::Invalid("a row group has fewer rows than it says"), *name_, first);
    }
    return std::make_shared<const ArrowBatch>(
        pool_, *batch, logical_types(*(*batch)->schema(), reader->manifest()));
  } catch (const parquet::ParquetException& e) {
    check_arrow(arrow::Status::Invalid(e.what()), *name_, begin_of(ends_, group));
    return nullptr;
  }

  std::shared_ptr<const std::string> name_;
  std::shared_ptr<BoundedPool> pool_;
  std::shared_ptr<arrow::io::MemoryMappedFile> file_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  std::vector<int64_t> ends_;  // of the row groups, in rows
  int64_t largest_ = 0;
  mutable std::mutex mutex_;
  mutable std::list<std::shared_ptr<Decoded>> recent_;  // last used first
};

// The batches of an arrow file stay where the file is mapped.
class ArrowRows : public RowFile {
 public:
  explicit ArrowRows(std::string path)
      : pool_(std::make_shared<BoundedPool>(path)),
        name_(std::make_shared<const std::string>(path)) {
    auto file = arrow::io::MemoryMappedFile::Open(path, arrow::io::FileMode::READ);
    check_arrow(file.status(), path, 0);
    arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
    options.memory_pool = pool_.get();
    options.use_threads = false;
    if (auto indexed = arrow::ipc::RecordBatchFileReader::Open(*file, options); indexed.ok()) {
      for (int b = 0; !compressed() && b < (*indexed)->num_record_batches(); ++b) {
        add((*indexed)->ReadRecordBatch(b));
      }
      return;
    }
    check_arrow((*file)->Seek(0), path, 0);
    auto stream = arrow::ipc::RecordBatchStreamReader::Open(*file, options);
    check_arrow(stream.status(), path, 0);
    while (!compressed() && add((*stream)->Next())) {
    }
  }

  bool compressed() const { return pool_->bytes_allocated() > kUncompressed; }
  int64_t count() const override { return ends_.empty() ? 0 : ends_.back(); }
  int64_t chunk_end(int64_t i) const override { return ends_[range_of(ends_, i)]; }
  std::vector<std::string> columns() const override {
    return batches_.empty() ? std::vector<std::string>{}
                            : batches_[0]->raw->schema()->field_names();
  }
  void read(int64_t i, RawRow& row) const override {
    const size_t b = range_of(ends_, i);
    const int64_t first = begin_of(ends_, b);
    const Batch& batch = *batches_[b];
    std::call_once(batch.checked, [&] { check_arrow(batch.raw->ValidateFull(), *name_, first); });
    row = row_of_batch(batch.rows, i - first, name_, i + 1);
  }

 private:
  struct Batch {
    std::shared_ptr<arrow::RecordBatch> raw;
    std::shared_ptr<const RowBatch> rows;
    mutable std::once_flag checked{};
  };

  bool add(const arrow::Result<std::shared_ptr<arrow::RecordBatch>>& read) {
    check_arrow(read.status(), *name_, count());
    if (*read == nullptr) {
      return false;
    }
    if ((*read)->num_rows() > 0) {
      check_arrow((*read)->Validate(), *name_, count());
      ends_.push_back(count() + (*read)->num_rows());
      batches_.push_back(std::make_unique<Batch>(
          *read,
          std::make_shared<const ArrowBatch>(pool_, *read, logical_types(*(*read)->schema()))));
    }
    return true;
  }

  std::shared_ptr<BoundedPool> pool_;
  std::shared_ptr<const std::string> name_;
  std::vector<std::unique_ptr<const Batch>> batches_;
  std::vector<int64_t> ends_;
};

}  // namespace

}  // namespace sft

extern "C" __attribute__((visibility("default"))) sft::RowFile* sft_open_arrow_rows(
    const char* path) {
  try {
    if (std::filesystem::path(path).extension() == ".parquet") {
      auto rows = std::make_unique<sft::ParquetRows>(path);
      return rows->largest_group() > sft::kMostRowsInGroup ? nullptr : rows.release();
    }
    auto rows = std::make_unique<sft::ArrowRows>(path);
    return rows->compressed() ? nullptr : rows.release();
  } catch (const parquet::ParquetException& e) {
    sft::check_arrow(arrow::Status::Invalid(e.what()), path, 0);
    return nullptr;
  }
}
