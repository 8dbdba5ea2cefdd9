// Rows that are read, rendered and tokenised when they are asked for, so that training starts
// before the data set has been read. Made by prepare_dataset.
#pragma once

#include <memory>
#include <vector>

#include "data/rows/row_preparer.h"

namespace sft {

class LazyRows : public PreparedDataset {
 public:
  // Rows `order` of the table, all when it is empty. `max_length` is every row's bound. A row
  // without tokens stays, and trains nothing. Keeps everything it is given.
  LazyRows(std::shared_ptr<const RowTable> table, std::shared_ptr<const RowPreparer> preparer,
           const DataContext& context, std::vector<int64_t> order, int64_t max_length)
      : table_(std::move(table)),
        preparer_(std::move(preparer)),
        scratches_(context.tokenizer),
        order_(std::move(order)),
        max_length_(max_length) {}

  int64_t size() const override;
  Example example(int64_t i) const override;
  int64_t length(int64_t) const override { return max_length_; }
  std::string place(int64_t i) const override;
  std::optional<int64_t> bound() const override { return max_length_; }

 private:
  std::shared_ptr<const RowTable> table_;
  std::shared_ptr<const RowPreparer> preparer_;
  mutable Scratches scratches_;
  std::vector<int64_t> order_;
  int64_t max_length_;
};

// The row's example, empty when it is not kept, with its notes.
Example noted_example(const RowPreparer& preparer, const SourceRow& row,
                      Tokenizer::Scratch& scratch);

}  // namespace sft
