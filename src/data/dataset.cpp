// How a data set is prepared: its first rows, and which of the three ways: rows made while training
// runs, rows in windows, all rows tokenised first.
#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/strings.h"
#include "data/first_rows.h"
#include "data/rows/lazy_rows.h"
#include "data/rows/row_preparer.h"
#include "data/tokens/window_rows.h"
#include "data/whole_rows.h"

namespace sft {

namespace {

// Fewer rows than this, and no more than kFewBytes, are tokenised at once: nobody waits for that,
// and then their lengths are known.
constexpr int64_t kFewRows = 4096;
constexpr size_t kFirstRows = 64;  // of each data set, looked at to say what is to be expected

bool packs(const DataOptions& options, Part part) {
  return part == Part::train ? options.packing : options.packs_eval();
}

class Preparation {
 public:
  Preparation(const DataOptions& options, Part part, const DataContext& context)
      : options_(options),
        part_(part),
        packing_(packs(options, part)),
        context_(context),
        origin_(std::make_shared<RowOrigin>()) {
    origin_->source = open_source(options, part, context.seed, context.hub, context.pool);
  }

  Prepared run() {
    if (!options_.dataset_streaming) {
      origin_->table = RowTable::open(source(), context_.pool);
    }
    std::vector<SourceRow> first;
    RowStream stream(source());
    read_first(stream, first, kFirstRows);
    origin_->preparer = make_preparer(first);
    if (!preparer().warning().empty()) {
      context_.log.warn(preparer().warning());
    }
    const bool windows = part_ == Part::train &&
                         (options_.dataset_streaming || options_.dataset_order == "windowed");
    Prepared out = windows           ? windowed()
                   : can_wait(first) ? lazy(first)
                                     : prepare_whole(origin_, options_, part_, packing_, context_);
    for (const SourcePart& part : source().parts) {
      out.files.insert(out.files.end(), part.files.files.begin(), part.files.files.end());
    }
    return out;
  }

  void check() {
    std::vector<SourceRow> first;
    RowStream stream(source());
    read_first(stream, first, kFirstRows);
    make_preparer(first);
  }

  std::vector<PlacedRow> first(int64_t limit) {
    std::vector<SourceRow> rows;
    RowStream stream(source());
    read_first(stream, rows, static_cast<size_t>(limit));
    std::vector<PlacedRow> out;
    for (const SourceRow& row : rows) {
      out.push_back({row.raw.place(), row.json()});
    }
    return out;
  }

  std::vector<InspectedRow> inspect(int64_t limit, bool only_kept) {
    std::vector<InspectedRow> out;
    DataStatistics unused;
    Tokenizer::Scratch scratch(context_.tokenizer);
    RowStream stream(source());
    std::vector<SourceRow> rows;
    read_first(stream, rows, kFirstRows);
    const auto made = make_preparer(rows);
    const RowPreparer& preparer = *made;
    while (!rows.empty()) {
      for (const SourceRow& source_row : rows) {
        if (static_cast<int64_t>(out.size()) == limit) {
          return out;
        }
        RenderedRow row = preparer.render(source_row, scratch, Losses::tell);
        const bool kept = preparer.finish(row, unused);
        if (kept || !only_kept || !row.stops.empty()) {
          out.push_back({source_row.raw.place(), std::move(row.text), std::move(row.example), !kept,
                         std::move(row.lost), std::move(row.stops)});
        }
      }
      rows.clear();
      read_rows(stream, rows, kFirstRows);
    }
    return out;
  }

 private:
  const RowSource& source() const { return origin_->source; }
  const RowPreparer& preparer() const { return *origin_->preparer; }

  // From the first rows of the source, and of each data set of a mixture.
  std::shared_ptr<const RowPreparer> make_preparer(std::vector<SourceRow> first) const {
    for (size_t p = 1; p < source().parts.size(); ++p) {
      const SourcePart& part = source().parts[p];
      const RowSource alone{.parts = {part}, .order = {}};
      RowStream stream(alone);
      SourceRow row;
      for (size_t i = 0; i < kFirstRows && stream.next(row.raw); ++i) {
        row.columns = &part.columns;
        first.push_back(std::move(row));
        row = {};
      }
    }
    const std::vector<std::string> none;
    return std::make_shared<RowPreparer>(
        options_, packing_, context_, first,
        origin_->table != nullptr ? origin_->table->columns() : none);
  }

  // The next rows that count, at most so many.
  void read_rows(RowStream& stream, std::vector<SourceRow>& rows, size_t most) {
    if (source().ordered && wanted_.empty()) {
      wanted_ = source().order;
      std::ranges::sort(wanted_);
    }
    SourceRow row;
    while (rows.size() < most && stream.next(row.raw)) {
      if (!source().ordered || std::ranges::binary_search(wanted_, next_row_++)) {
        row.columns = &stream.columns();
        rows.push_back(std::move(row));
        row = {};
      }
    }
  }

  void read_first(RowStream& stream, std::vector<SourceRow>& rows, size_t most) {
    read_rows(stream, rows, most);
    if (rows.empty()) {
      throw Error("D048", fmt::format("{} has no rows", source().describe()))
          .at(source().parts[0].files.files[0].string());
    }
  }

  int64_t count() const {
    return source().ordered ? static_cast<int64_t>(source().order.size()) : origin_->table->count();
  }

  // Whether TRL's order needs only the number of rows, and rows may be made when they are needed.
  bool can_wait(const std::vector<SourceRow>& first) const {
    if (packing_ || origin_->table == nullptr || !options_.max_length || !preparer().trains_all() ||
        options_.train_sampling_strategy == "group_by_length" ||
        options_.train_sampling_strategy == "batch_rebalance" ||
        (count() <= kFewRows && origin_->table->bytes() <= kFewBytes)) {
      return false;
    }
    Tokenizer::Scratch scratch(context_.tokenizer);
    return std::ranges::any_of(first, [&](const SourceRow& row) {
      return !noted_example(preparer(), row, scratch).input_ids.empty();
    });
  }

  // Rows are counted as they are trained; reasoning that is lost should be known before.
  void say_first_losses(const std::vector<SourceRow>& first) const {
    Tokenizer::Scratch scratch(context_.tokenizer);
    const auto losing = std::ranges::count_if(first, [&](const SourceRow& row) {
      return preparer().render(row, scratch, Losses::tell).lost_reasoning;
    });
    if (losing > 0) {
      context_.log.warn(
          fmt::format("in {} of the first {} rows the chat template leaves reasoning out, which is "
                      "then not trained; all are counted at the end",
                      losing, first.size()));
    }
  }

  Prepared lazy(const std::vector<SourceRow>& first) {
    Prepared out;
    out.sources = origin_;
    out.report = preparer().report(part_, source().describe(), count());
    std::vector<int64_t> order = source().order;
    if (options_.shuffle_dataset) {
      std::vector<int64_t> shuffle = shuffled_rows(count(), context_.seed);
      for (int64_t& row : shuffle) {
        row = order.empty() ? row : order[static_cast<size_t>(row)];
      }
      order = std::move(shuffle);
    }
    out.rows = std::make_unique<LazyRows>(origin_->table, origin_->preparer, context_,
                                          std::move(order), *options_.max_length);
    out.statistics.rows_read = out.statistics.rows = count();
    context_.log.note(out.report + "; rows are read while training runs");
    say_first_losses(first);
    return out;
  }

  Prepared windowed() {
    if (!options_.max_length) {
      throw Error("D051", "rows in windows need a max_length").hint("give --max_length");
    }
    Prepared out;
    out.sources = origin_;
    const bool streaming = options_.dataset_streaming;
    if (!streaming && origin_->table == nullptr) {
      throw Error("D067", fmt::format("--dataset_order windowed cannot find rows at random in {}",
                                      source().describe()))
          .hint("write parquet with row groups of at most 16384 rows, or use --dataset_streaming");
    }
    WindowSettings settings{.packing = packing_,
                            .shuffle = !streaming || options_.shuffle_dataset,
                            .seed = context_.seed,
                            .threads = context_.pool.size()};
    if (streaming) {
      settings.epoch_rows = kEndless;
    } else if (!packing_ && preparer().trains_all()) {
      settings.epoch_rows = count();
    }
    auto rows = std::make_unique<WindowRows>(source(), origin_->table, origin_->preparer, options_,
                                             context_, settings);
    out.report = preparer().report(part_, source().describe(), streaming ? 0 : count());
    context_.log.note(out.report);
    context_.log.note(
        streaming
            ? fmt::format("streaming: rows come as the files have them{}",
                          settings.shuffle ? ", shuffled within windows of 1,000 (another order "
                                             "than that of TRL, which draws from a buffer)"
                                           : "")
            : fmt::format("windowed order: rows are shuffled{} within windows of four blocks of "
                          "1,000 neighbouring rows, not over all rows as TRL does; an epoch counts "
                          "as {} rows{}",
                          packing_ ? " and packed" : "", with_commas(rows->size()),
                          settings.epoch_rows == 0 ? ", estimated from the first window" : ""));
    out.rows = std::move(rows);
    return out;
  }

  const DataOptions& options_;
  const Part part_;
  const bool packing_;
  const DataContext& context_;
  std::shared_ptr<RowOrigin> origin_;
  std::vector<int64_t> wanted_;  // sorted, of the rows that `read_rows` gives
  int64_t next_row_ = 0;
};

}  // namespace

Prepared prepare_dataset(const DataOptions& options, Part part, const DataContext& context) {
  return Preparation(options, part, context).run();
}

void check_dataset(const DataOptions& options, Part part, const DataContext& context) {
  Preparation(options, part, context).check();
}

bool is_padding_free(const DataOptions& options) {
  return options.padding_free || (options.packing && options.packing_strategy != "wrapped");
}

std::vector<PlacedRow> first_rows(const DataOptions& options, Part part, const DataContext& context,
                                  int64_t limit) {
  return Preparation(options, part, context).first(limit);
}

std::vector<InspectedRow> inspect_rows(const DataOptions& options, Part part,
                                       const DataContext& context, int64_t limit, bool only_kept) {
  return Preparation(options, part, context).inspect(limit, only_kept);
}

}  // namespace sft
