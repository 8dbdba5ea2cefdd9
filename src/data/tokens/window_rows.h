// Rows in windows, for training that starts at once although rows are packed or dropped. Made by
// prepare_dataset for --dataset_order windowed and for streaming.
#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "data/rows/row_preparer.h"

namespace sft {

struct WindowSettings {
  bool packing = false;
  bool shuffle = true;  // the blocks of a pass, the rows of a window, and its packed rows
  uint64_t seed = 42;
  int threads = 1;
  int64_t epoch_rows = 0;  // what size() shall be; 0: estimated from the first window
};

// A pass over the data goes through blocks of at most 1,000 neighbouring rows, in an order that
// `seed` and the pass decide; four blocks are a window. Without a table rows are read in order, and
// 1,000 of them are a window. Row for row the same on every rank and with any number of threads.
class WindowRows : public PreparedDataset, public RowWindows {
 public:
  WindowRows(const RowSource& source, std::shared_ptr<const RowTable> table,
             std::shared_ptr<const RowPreparer> preparer, const DataOptions& options,
             const DataContext& context, WindowSettings settings);

  int64_t size() const override { return size_; }
  // A row of the first windows.
  Example example(int64_t i) const override;
  int64_t length(int64_t) const override { return *options_.max_length; }
  std::optional<int64_t> bound() const override { return options_.max_length; }
  const RowWindows* windows() const override { return this; }
  std::vector<Example> window(int64_t w) const override;

 private:
  struct Block {
    int64_t begin, end;
  };
  int64_t windows_a_pass() const;
  std::vector<SourceRow> read_window(int64_t w) const;
  std::vector<SourceRow> read_blocks(int64_t w) const;
  std::vector<SourceRow> read_in_order(int64_t w) const;
  std::vector<Example> prepare(std::vector<SourceRow> rows) const;
  std::vector<Example> pack(std::vector<Example> rows) const;
  void make_blocks();

  const RowSource& source_;
  std::shared_ptr<const RowTable> table_;
  std::shared_ptr<const RowPreparer> preparer_;
  const DataOptions& options_;
  WindowSettings settings_;
  mutable Scratches scratches_;
  mutable ThreadPool pool_;
  std::vector<Block> blocks_;
  std::vector<int64_t> wanted_;  // sorted rows, where the source is ordered
  int64_t size_ = 0;
  std::vector<Example> first_;  // window 0

  mutable std::mutex mutex_;  // one window at a time
  mutable std::unique_ptr<RowStream> stream_;
  mutable int64_t next_window_ = 0;  // of the stream
};

}  // namespace sft
