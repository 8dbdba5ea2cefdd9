#include "data/tokens/token_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <optional>

#include "core/strings.h"

namespace sft {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kRows = 128;           // that a thread takes at a time, at least
constexpr int64_t kChunksAThread = 4;    // in flight
constexpr double kSecondsToReport = 10;  // between lines that say how far the pass is

struct Chunk {
  int64_t number = 0;
  int64_t begin = 0, end = 0;   // rows of the table, or the numbers of `rows`
  std::vector<SourceRow> rows;  // where they are read in order
  std::vector<Example> kept;
  std::vector<int64_t> kept_numbers;
  DataStatistics stats;
  std::exception_ptr error;
};

class TokenPass {
 public:
  TokenPass(const RowSource& source, const RowTable* table, const RowPreparer& preparer,
            const DataContext& context,
            const std::function<void(const Example&, int64_t number)>& keep)
      : source_(source),
        table_(table),
        stream_(source),
        preparer_(preparer),
        context_(context),
        keep_(keep),
        most_chunks_(kChunksAThread * context.pool.size()) {
    if (source.ordered) {
      wanted_ = source.order;
      std::ranges::sort(wanted_);
    }
  }

  DataStatistics run() {
    context_.pool.run([&](int) { work(); });
    if (error_) {
      std::rethrow_exception(error_);
    }
    return stats_;
  }

 private:
  bool is_wanted(int64_t row) const {
    return !source_.ordered || std::ranges::binary_search(wanted_, row);
  }

  void work() {
    Tokenizer::Scratch scratch(context_.tokenizer);
    for (Chunk chunk; claim(chunk); chunk = {}) {
      prepare(chunk, scratch);
      deliver(std::move(chunk));
    }
  }

  // Waits while the oldest chunk is too far behind; whoever has that one is at work.
  bool claim(Chunk& chunk) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return ended_ || claimed_ - committed_ < most_chunks_; });
    if (ended_) {
      return false;
    }
    try {
      chunk.begin = next_row_;
      if (table_ != nullptr) {
        while (next_row_ < table_->count() && next_row_ - chunk.begin < kRows) {
          next_row_ = table_->chunk_end(next_row_);
        }
      } else {
        read_rows(chunk.rows);
      }
    } catch (...) {
      chunk.error = std::current_exception();
      ended_ = true;
    }
    chunk.end = next_row_;
    chunk.number = claimed_++;
    if (chunk.begin == chunk.end && !chunk.error) {
      --claimed_;
      ended_ = true;
      moved_.notify_all();
      return false;
    }
    return true;
  }

  void read_rows(std::vector<SourceRow>& rows) {
    SourceRow row;
    while (static_cast<int64_t>(rows.size()) < kRows && stream_.next(row.raw)) {
      ++next_row_;
      row.columns = &stream_.columns();
      rows.push_back(std::move(row));
      row = {};
    }
  }

  void prepare(Chunk& chunk, Tokenizer::Scratch& scratch) const {
    // Rows before one that cannot be read come first, so an error there is the one to show.
    try {
      SourceRow read;
      for (int64_t i = chunk.begin; i < chunk.end; ++i) {
        if (!is_wanted(i)) {
          continue;
        }
        const SourceRow* row = &read;
        if (table_ != nullptr) {
          table_->read(i, read);
        } else {
          row = &chunk.rows[static_cast<size_t>(i - chunk.begin)];
        }
        ++chunk.stats.rows_read;
        RenderedRow rendered = preparer_.render(*row, scratch);
        if (preparer_.finish(rendered, chunk.stats)) {
          chunk.kept.push_back(std::move(rendered.example));
          chunk.kept_numbers.push_back(i);
        }
      }
    } catch (...) {
      chunk.error = std::current_exception();
    }
    chunk.rows.clear();
  }

  void deliver(Chunk chunk) {
    const std::lock_guard lock(mutex_);
    const int64_t number = chunk.number;
    waiting_.emplace(number, std::move(chunk));
    for (auto next = waiting_.find(committed_); next != waiting_.end() && !error_;
         next = waiting_.find(committed_)) {
      try {
        commit(next->second);
      } catch (...) {
        error_ = std::current_exception();
      }
      waiting_.erase(next);
      ++committed_;
    }
    ended_ = ended_ || error_ != nullptr;
    moved_.notify_all();
  }

  void commit(const Chunk& chunk) {
    if (chunk.error) {
      std::rethrow_exception(chunk.error);
    }
    for (size_t i = 0; i < chunk.kept.size(); ++i) {
      keep_(chunk.kept[i], chunk.kept_numbers[i]);
    }
    stats_ += chunk.stats;
    const auto now = Clock::now();
    if (std::chrono::duration<double>(now - said_).count() > kSecondsToReport) {
      said_ = now;
      const double seconds = std::chrono::duration<double>(now - start_).count();
      context_.log.note(fmt::format(
          "tokenising: {} rows{} in {:.0f} s, {} tokens a second", with_commas(stats_.rows_read),
          table_ == nullptr ? "" : " of " + with_commas(table_->count()), seconds,
          with_commas(static_cast<int64_t>(static_cast<double>(stats_.tokens) / seconds))));
    }
  }

  const RowSource& source_;
  const RowTable* table_;
  RowStream stream_;
  const RowPreparer& preparer_;
  const DataContext& context_;
  const std::function<void(const Example&, int64_t)>& keep_;
  const int64_t most_chunks_;
  std::vector<int64_t> wanted_;  // sorted

  std::mutex mutex_;
  std::condition_variable moved_;
  int64_t next_row_ = 0, claimed_ = 0, committed_ = 0;
  bool ended_ = false;
  std::map<int64_t, Chunk> waiting_;
  DataStatistics stats_;
  std::exception_ptr error_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point said_ = start_;
};

}  // namespace

DataStatistics run_token_pass(const RowSource& source, const RowTable* table,
                              const RowPreparer& preparer, const DataContext& context,
                              const std::function<void(const Example&, int64_t number)>& keep) {
  return TokenPass(source, table, preparer, context, keep).run();
}

}  // namespace sft
