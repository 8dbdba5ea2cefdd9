#include "data/tokens/window_rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/torch_random.h"
#include "data/rows/lazy_rows.h"
#include "data/tokens/pack.h"

namespace sft {

namespace {

constexpr int64_t kBlockRows = 1000;
constexpr int64_t kBlocksAWindow = 4;
constexpr int64_t kWorkRows = 16;

// One more seed for each window of a run, far from those of the passes.
uint64_t window_seed(uint64_t seed, int64_t w) {
  return seed * 0x9E3779B97F4A7C15U + 0x85EBCA6BU + static_cast<uint64_t>(w);
}

template <class T>
void shuffle(std::vector<T>& things, TorchGenerator& generator) {
  const auto order = torch_randperm(static_cast<int64_t>(things.size()), generator);
  std::vector<T> out;
  out.reserve(things.size());
  for (const int64_t i : order) {
    out.push_back(std::move(things[static_cast<size_t>(i)]));
  }
  things = std::move(out);
}

}  // namespace

WindowRows::WindowRows(const RowSource& source, std::shared_ptr<const RowTable> table,
                       std::shared_ptr<const RowPreparer> preparer, const DataOptions& options,
                       const DataContext& context, WindowSettings settings)
    : source_(source),
      table_(std::move(table)),
      preparer_(std::move(preparer)),
      options_(options),
      settings_(settings),
      scratches_(context.tokenizer),
      pool_(settings.threads) {
  if (source.ordered) {
    wanted_ = source.order;
    std::ranges::sort(wanted_);
  }
  if (table_ != nullptr) {
    make_blocks();
  }
  std::vector<SourceRow> rows = read_window(0);
  const auto source_rows = static_cast<int64_t>(rows.size());
  first_ = prepare(std::move(rows));
  if (first_.empty()) {
    preparer_->fail_untrained(source_rows, {});
  }
  size_ = settings.epoch_rows;
  if (size_ == 0) {
    const auto all =
        static_cast<double>(source.ordered ? wanted_.size() : static_cast<size_t>(table_->count()));
    const double share = static_cast<double>(first_.size()) / static_cast<double>(source_rows);
    size_ = std::max<int64_t>(1, static_cast<int64_t>(std::llround(all * share)));
  }
}

void WindowRows::make_blocks() {
  const int64_t rows = table_->count();
  for (int64_t begin = 0; begin < rows;) {
    int64_t end = std::min(table_->chunk_end(begin), begin + kBlockRows);
    while (end < rows && table_->chunk_end(end) - begin <= kBlockRows) {
      end = table_->chunk_end(end);
    }
    blocks_.push_back({begin, end});
    begin = end;
  }
}

int64_t WindowRows::windows_a_pass() const {
  return (static_cast<int64_t>(blocks_.size()) + kBlocksAWindow - 1) / kBlocksAWindow;
}

Example WindowRows::example(int64_t i) const {
  return first_[static_cast<size_t>(i) % first_.size()];
}

std::vector<Example> WindowRows::window(int64_t w) const {
  if (w == 0) {
    return first_;
  }
  const std::lock_guard lock(mutex_);
  std::vector<Example> rows = prepare(read_window(w));
  if (settings_.shuffle) {
    TorchGenerator generator(window_seed(settings_.seed, w) ^ 0x5A5A5A5AU);
    shuffle(rows, generator);
  }
  return rows;
}

std::vector<SourceRow> WindowRows::read_window(int64_t w) const {
  std::vector<SourceRow> rows = table_ != nullptr ? read_blocks(w) : read_in_order(w);
  if (settings_.shuffle) {
    TorchGenerator generator(window_seed(settings_.seed, w));
    shuffle(rows, generator);
  }
  return rows;
}

std::vector<SourceRow> WindowRows::read_blocks(int64_t w) const {
  const int64_t pass = w / windows_a_pass();
  std::vector<int64_t> order(blocks_.size());
  std::iota(order.begin(), order.end(), 0);
  if (settings_.shuffle) {
    TorchGenerator generator(settings_.seed + static_cast<uint64_t>(pass));
    order = torch_randperm(static_cast<int64_t>(blocks_.size()), generator);
  }
  const int64_t first = w % windows_a_pass() * kBlocksAWindow;
  const auto last = std::min(first + kBlocksAWindow, static_cast<int64_t>(blocks_.size()));
  std::vector<std::vector<SourceRow>> read(static_cast<size_t>(last - first));
  pool_.for_each(last - first, [&](int64_t b, int) {
    const Block& block = blocks_[static_cast<size_t>(order[static_cast<size_t>(first + b)])];
    auto& rows = read[static_cast<size_t>(b)];
    for (int64_t i = block.begin; i < block.end; ++i) {
      if (!source_.ordered || std::ranges::binary_search(wanted_, i)) {
        table_->read(i, rows.emplace_back());
      }
    }
  });
  std::vector<SourceRow> rows;
  for (auto& block : read) {
    std::ranges::move(block, std::back_inserter(rows));
  }
  return rows;
}

// Called for windows in increasing order; those that were left out are read and forgotten.
std::vector<SourceRow> WindowRows::read_in_order(int64_t w) const {
  if (w < next_window_) {
    stream_.reset();
    next_window_ = 0;
  }
  std::vector<SourceRow> rows;
  for (; next_window_ <= w; ++next_window_) {
    rows.clear();
    if (stream_ == nullptr) {
      stream_ = std::make_unique<RowStream>(source_);
    }
    SourceRow row;
    while (static_cast<int64_t>(rows.size()) < kBlockRows && stream_->next(row.raw)) {
      row.columns = &stream_->columns();
      rows.push_back(std::move(row));
      row = {};
    }
    if (static_cast<int64_t>(rows.size()) < kBlockRows) {
      stream_.reset();  // the next window is the first of another pass
    }
  }
  return rows;
}

std::vector<Example> WindowRows::prepare(std::vector<SourceRow> rows) const {
  const auto n = static_cast<int64_t>(rows.size());
  std::vector<Example> made(rows.size());
  std::vector<std::exception_ptr> errors(rows.size());
  pool_.for_each((n + kWorkRows - 1) / kWorkRows, [&](int64_t item, int) {
    auto scratch = scratches_.take();
    for (int64_t i = item * kWorkRows; i < std::min(n, (item + 1) * kWorkRows); ++i) {
      const auto at = static_cast<size_t>(i);
      try {
        made[at] = noted_example(*preparer_, rows[at], *scratch);
      } catch (...) {
        errors[at] = std::current_exception();
      }
    }
    scratches_.give(std::move(scratch));
  });
  for (const std::exception_ptr& error : errors) {
    if (error) {
      std::rethrow_exception(error);
    }
  }
  RowNotes notes;
  for (Example& row : made) {
    notes += std::exchange(row.notes, {});
  }
  std::erase_if(made, [](const Example& row) { return row.input_ids.empty(); });
  if (settings_.packing) {
    made = pack(std::move(made));
  }
  if (!made.empty()) {
    made.front().notes += notes;
  }
  return made;
}

std::vector<Example> WindowRows::pack(std::vector<Example> rows) const {
  const Packing strategy = parse_packing(options_.packing_strategy);
  std::vector<int64_t> lengths;
  RowNotes cut;
  for (const Example& row : rows) {
    lengths.push_back(static_cast<int64_t>(row.input_ids.size()));
    cut.truncated += strategy == Packing::bfd && lengths.back() > *options_.max_length ? 1 : 0;
  }
  const PackPlan plan = plan_packing(lengths, *options_.max_length, strategy);
  cut.tokens_truncated = plan.tokens_cut;
  std::vector<Example> packed(static_cast<size_t>(plan.rows()));
  for (int64_t i = 0; i < plan.rows(); ++i) {
    Example& out = packed[static_cast<size_t>(i)];
    for (const Piece& piece : plan.row(i)) {
      const Example& row = rows[static_cast<size_t>(piece.example)];
      const auto copy = [&](const std::vector<int32_t>& from, std::vector<int32_t>& to) {
        to.insert(to.end(), from.begin() + piece.begin, from.begin() + piece.begin + piece.length);
      };
      copy(row.input_ids, out.input_ids);
      copy(row.labels, out.labels);
      if (strategy != Packing::wrapped) {
        out.documents.push_back(static_cast<int32_t>(piece.length));
      }
    }
  }
  if (!packed.empty()) {
    packed.front().notes = cut;
  }
  return packed;
}

}  // namespace sft
