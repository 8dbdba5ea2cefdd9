#include "data/rows/lazy_rows.h"

namespace sft {

int64_t LazyRows::size() const {
  return order_.empty() ? table_->count() : static_cast<int64_t>(order_.size());
}

Example LazyRows::example(int64_t i) const {
  SourceRow row;
  table_->read(order_.empty() ? i : order_[static_cast<size_t>(i)], row);
  auto scratch = scratches_.take();
  Example example = noted_example(*preparer_, row, *scratch);
  scratches_.give(std::move(scratch));
  return example;
}

std::string LazyRows::place(int64_t i) const {
  SourceRow row;
  table_->read(order_.empty() ? i : order_[static_cast<size_t>(i)], row);
  return row.raw.place();
}

Example noted_example(const RowPreparer& preparer, const SourceRow& row,
                      Tokenizer::Scratch& scratch) {
  RenderedRow rendered = preparer.render(row, scratch);
  DataStatistics stats;
  const bool kept = preparer.finish(rendered, stats);
  Example out = kept ? std::move(rendered.example) : Example();
  out.notes = {.rows = 1,
               .empty = kept ? 0 : 1,
               .truncated = stats.rows_truncated,
               .tokens_truncated = stats.tokens_truncated,
               .prefix_mismatch = stats.rows_with_prefix_mismatch,
               .second_bos = stats.rows_with_second_bos,
               .lost_reasoning = stats.rows_with_lost_reasoning,
               .mask_ignored = stats.rows_with_mask_ignored,
               .conversations = stats.conversations};
  return out;
}

}  // namespace sft
