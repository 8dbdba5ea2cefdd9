// How a data set is prepared: which of the three ways (rows made while training runs, rows in
// windows, all rows tokenised first), and what is said about it.
#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/strings.h"
#include "core/torch_random.h"
#include "data/rows/lazy_rows.h"
#include "data/rows/row_preparer.h"
#include "data/tokens/token_cache.h"
#include "data/tokens/token_pass.h"
#include "data/tokens/token_store.h"
#include "data/tokens/window_rows.h"

namespace sft {

namespace {

// Fewer rows and bytes than this are tokenised at once: nobody waits for that, and then their
// lengths are known.
constexpr int64_t kFewRows = 4096;
constexpr int64_t kFewBytes = 8 << 20;
constexpr double kSecondsThatPay = 1;  // a shorter pass is not worth a file
constexpr size_t kFirstRows = 64;      // of each data set, looked at to say what is to be expected

bool packs(const DataOptions& options, Part part) {
  return part == Part::train ? options.packing : options.packs_eval();
}

// The members of the statistics that a token pass counts.
constexpr std::array kCounted = {&DataStatistics::rows_read,
                                 &DataStatistics::rows,
                                 &DataStatistics::rows_empty,
                                 &DataStatistics::rows_without_assistant,
                                 &DataStatistics::rows_fully_masked,
                                 &DataStatistics::rows_truncated,
                                 &DataStatistics::tokens_truncated,
                                 &DataStatistics::rows_with_prefix_mismatch,
                                 &DataStatistics::rows_with_second_bos,
                                 &DataStatistics::rows_with_lost_reasoning,
                                 &DataStatistics::rows_with_mask_ignored,
                                 &DataStatistics::tokens,
                                 &DataStatistics::tokens_trained};

Json about_statistics(const DataStatistics& stats) {
  Json json = Json::array();
  for (const auto member : kCounted) {
    json.push_back(stats.*member);
  }
  return json;
}

DataStatistics statistics_of(const Json& json) {
  DataStatistics stats;
  for (size_t i = 0; i < kCounted.size(); ++i) {
    stats.*kCounted[i] = json.at(i);
  }
  return stats;
}

// What rows are made from; lives as long as they do.
struct Sources {
  RowSource source;
  std::shared_ptr<const RowTable> table;  // null: rows can only be read in order
  std::shared_ptr<const RowPreparer> preparer;
};

// What was done to rows that were kept.
void say_changes(const DataStatistics& stats, const DataOptions& options,
                 const Tokenizer& tokenizer, const Logger& log) {
  if (stats.rows_truncated > 0) {
    log.warn(fmt::format("{} of {} rows are longer than max_length {} and are cut: {} tokens lost",
                         with_commas(stats.rows_truncated), with_commas(stats.rows_read),
                         *options.max_length, with_commas(stats.tokens_truncated)));
  }
  if (stats.rows_with_prefix_mismatch > 0) {
    log.warn(
        fmt::format("in {} rows the prompt is tokenised otherwise when it stands alone; the "
                    "completion is taken to begin where the two part",
                    with_commas(stats.rows_with_prefix_mismatch)));
  }
  if (stats.rows_with_lost_reasoning > 0) {
    log.warn(fmt::format(
        "in {} of {} rows the chat template leaves reasoning out, which is then not trained; sft "
        "inspect shows where, and --chat_template_path takes another template",
        with_commas(stats.rows_with_lost_reasoning), with_commas(stats.rows_read)));
  }
  if (stats.rows_with_second_bos > 0) {
    log.note(fmt::format("{} rows already begin with {}, and get no second one",
                         with_commas(stats.rows_with_second_bos), tokenizer.bos_token()));
  }
  if (stats.rows_with_mask_ignored > 0) {
    log.warn(
        fmt::format("the completion_mask of {} rows is left out of account, as in TRL: all their "
                    "tokens are trained; --completion_only_loss true trains what it marks",
                    with_commas(stats.rows_with_mask_ignored)));
  }
}

class Preparation {
 public:
  Preparation(const DataOptions& options, Part part, const DataContext& context)
      : options_(options),
        part_(part),
        packing_(packs(options, part)),
        context_(context),
        sources_(std::make_shared<Sources>()) {
    sources_->source = open_source(options, part, context.seed, context.hub, context.pool);
  }

  Prepared run() {
    if (!options_.dataset_streaming) {
      sources_->table = RowTable::open(source(), context_.pool);
    }
    std::vector<SourceRow> first;
    RowStream stream(source());
    read_first(stream, first, kFirstRows);
    sources_->preparer = make_preparer(first);
    if (!preparer().warning().empty()) {
      context_.log.warn(preparer().warning());
    }
    const bool windows = part_ == Part::train &&
                         (options_.dataset_streaming || options_.dataset_order == "windowed");
    Prepared out = windows ? windowed() : can_wait(first) ? lazy(first) : whole();
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
  const RowSource& source() const { return sources_->source; }
  const RowPreparer& preparer() const { return *sources_->preparer; }

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
        sources_->table != nullptr ? sources_->table->columns() : none);
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
    return source().ordered ? static_cast<int64_t>(source().order.size())
                            : sources_->table->count();
  }

  // Whether TRL's order needs only the number of rows, and rows may be made when they are needed.
  bool can_wait(const std::vector<SourceRow>& first) const {
    if (packing_ || sources_->table == nullptr || !options_.max_length ||
        !preparer().trains_all() || options_.train_sampling_strategy == "group_by_length" ||
        options_.train_sampling_strategy == "batch_rebalance" ||
        (count() <= kFewRows && sources_->table->bytes() <= kFewBytes)) {
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
    out.sources = sources_;
    out.chat = preparer().conversational();
    out.report = preparer().report(part_, source().describe(), count());
    std::vector<int64_t> order = source().order;
    if (options_.shuffle_dataset) {
      std::vector<int64_t> shuffle = shuffled(count());
      for (int64_t& row : shuffle) {
        row = order.empty() ? row : order[static_cast<size_t>(row)];
      }
      order = std::move(shuffle);
    }
    out.rows = std::make_unique<LazyRows>(sources_->table, sources_->preparer, context_,
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
    out.sources = sources_;
    const bool streaming = options_.dataset_streaming;
    if (!streaming && sources_->table == nullptr) {
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
    auto rows = std::make_unique<WindowRows>(source(), sources_->table, sources_->preparer,
                                             options_, context_, settings);
    out.chat = preparer().conversational();
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

  Prepared whole() {
    Prepared out;
    TokenStore store;
    std::vector<int64_t> stored;  // the source row of each stored one
    std::optional<TokenCache> cache = open_cache();
    auto file = cache && !options_.overwrite_cache ? cache->find(&context_.pool) : nullptr;
    if (file != nullptr) {
      out.statistics = statistics_of(file->about());
      stored.assign(file->numbers().begin(), file->numbers().end());
      context_.log.note("the tokenised data are in the cache");
      store = TokenStore::of_file(std::move(file));
    } else {
      tokenise(store, stored, out.statistics, cache);
    }
    cache.reset();
    if (sources_->table != nullptr) {
      store.set_places([sources = sources_, stored](int64_t n) {
        SourceRow row;
        sources->table->read(stored[static_cast<size_t>(n)], row);
        return row.raw.place();
      });
    }
    out.chat = preparer().conversational();
    out.report = preparer().report(part_, source().describe(), out.statistics.rows_read);
    if (source().ordered) {
      store.select(split_order(stored));
    }
    out.rows = arrange(std::move(store), out.statistics);
    say(out);
    return out;
  }

  // Nothing where the data are so few that another pass over them costs nothing.
  std::optional<TokenCache> open_cache() const {
    const bool few = sources_->table != nullptr && sources_->table->bytes() <= kFewBytes;
    if (few || context_.cache_folder.empty() || !options_.data_cache) {
      return std::nullopt;
    }
    return std::make_optional<TokenCache>(
        context_.cache_folder, token_cache_key(source(), options_, part_, packing_, context_),
        context_.log);
  }

  void tokenise(TokenStore& store, std::vector<int64_t>& stored, DataStatistics& stats,
                const std::optional<TokenCache>& cache) const {
    const auto or_in_memory = [&](const auto& write) {
      try {
        write();
      } catch (const Error& e) {
        context_.log.warn(
            fmt::format("the tokenised data are not kept for the next run: {}", e.message()));
      }
    };
    if (cache) {
      store.spill_to([&] { return cache->writer(); });
    }
    const auto start = std::chrono::steady_clock::now();
    stats = run_token_pass(source(), sources_->table.get(), preparer(), context_,
                           [&](const Example& row, int64_t number) {
                             stored.push_back(number);
                             or_in_memory([&] { store.append(row); });
                           });
    if (stats.tokens_trained == 0) {
      preparer().fail_untrained(stats.rows_read, stats);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (took.count() > kSecondsThatPay) {
      context_.log.note(fmt::format("tokenised {} rows, {} tokens, in {:.1f} s",
                                    with_commas(stats.rows_read), with_commas(stats.tokens),
                                    took.count()));
    }
    if (store.can_save() && (took.count() > kSecondsThatPay || store.spilled())) {
      or_in_memory([&] {
        store.save(stored, about_statistics(stats), [&] { return cache->find(&context_.pool); });
        cache->prune(options_.data_cache_gb << 30);
      });
    }
  }

  std::vector<int64_t> split_order(const std::vector<int64_t>& stored) const {
    std::vector<int64_t> order;
    for (const int64_t row : source().order) {
      const auto found = std::ranges::lower_bound(stored, row);
      if (found != stored.end() && *found == row) {
        order.push_back(found - stored.begin());
      }
    }
    return order;
  }

  std::vector<int64_t> shuffled(int64_t rows) const {
    NumpyGenerator generator(context_.seed);
    return numpy_permutation(rows, generator);
  }

  std::unique_ptr<PreparedDataset> arrange(TokenStore store, DataStatistics& stats) const {
    // TRL shuffles once, and once more after packing.
    if (options_.shuffle_dataset) {
      store.select(shuffled(store.size()));
    }
    if (!packing_) {
      return std::make_unique<TokenStore>(std::move(store));
    }
    const Packing strategy = parse_packing(options_.packing_strategy);
    const std::vector<int64_t> lengths = store.lengths();
    PackPlan plan = plan_packing(lengths, *options_.max_length, strategy);
    stats.packed_rows = plan.rows();
    if (strategy == Packing::bfd) {
      stats.rows_truncated = std::ranges::count_if(
          lengths, [&](int64_t length) { return length > *options_.max_length; });
      stats.tokens_truncated = plan.tokens_cut;
    }
    auto packed = std::make_unique<PackedStore>(std::move(store), std::move(plan),
                                                strategy != Packing::wrapped);
    if (options_.shuffle_dataset) {
      packed->select(shuffled(packed->size()));
    }
    return packed;
  }

  void say(const Prepared& out) const {
    const DataStatistics& stats = out.statistics;
    const Logger& log = context_.log;
    log.note(out.report);
    if (const int64_t dropped = stats.rows_read - stats.rows; dropped > 0) {
      log.warn(fmt::format(
          "{} of {} rows are left out: {} with nothing to train, {} empty, {} without "
          "an assistant turn",
          with_commas(dropped), with_commas(stats.rows_read), with_commas(stats.rows_fully_masked),
          with_commas(stats.rows_empty), with_commas(stats.rows_without_assistant)));
    }
    say_changes(stats, options_, context_.tokenizer, log);
    if (stats.packed_rows > 0) {
      log.note(fmt::format(
          "packed ({}) into {} rows of at most {} tokens{}", options_.packing_strategy,
          with_commas(stats.packed_rows), *options_.max_length,
          options_.packing_strategy == "wrapped" ? "; attention crosses documents, as in TRL"
                                                 : ""));
      if (part_ == Part::eval && !is_padding_free(options_) &&
          options_.packing_strategy != "wrapped") {
        log.note(
            "the packed test rows do not see each other; TRL's would, because packing itself is "
            "off (--packing or --padding_free keeps them apart there too)");
      }
    }
  }

  const DataOptions& options_;
  const Part part_;
  const bool packing_;
  const DataContext& context_;
  std::shared_ptr<Sources> sources_;
  std::vector<int64_t> wanted_;  // sorted, of the rows that `read_rows` gives
  int64_t next_row_ = 0;
};

}  // namespace

DataStatistics& DataStatistics::operator+=(const DataStatistics& other) {
  for (const auto member : kCounted) {
    this->*member += other.*member;
  }
  packed_rows += other.packed_rows;
  return *this;
}

Prepared prepare_dataset(const DataOptions& options, Part part, const DataContext& context) {
  return Preparation(options, part, context).run();
}

void check_dataset(const DataOptions& options, Part part, const DataContext& context) {
  Preparation(options, part, context).check();
}

void say_notes(const RowNotes& notes, const DataOptions& options, const Tokenizer& tokenizer,
               const Logger& log) {
  if (notes.empty > 0) {
    log.warn(fmt::format("{} of {} rows had nothing to train", with_commas(notes.empty),
                         with_commas(notes.rows)));
  }
  DataStatistics stats;
  stats.rows_read = notes.rows;
  stats.rows_truncated = notes.truncated;
  stats.tokens_truncated = notes.tokens_truncated;
  stats.rows_with_prefix_mismatch = notes.prefix_mismatch;
  stats.rows_with_second_bos = notes.second_bos;
  stats.rows_with_lost_reasoning = notes.lost_reasoning;
  stats.rows_with_mask_ignored = notes.mask_ignored;
  say_changes(stats, options, tokenizer, log);
}

bool is_padding_free(const DataOptions& options) {
  return options.padding_free || (options.packing && options.packing_strategy != "wrapped");
}

std::vector<InspectedRow> inspect_rows(const DataOptions& options, Part part,
                                       const DataContext& context, int64_t limit, bool only_kept) {
  return Preparation(options, part, context).inspect(limit, only_kept);
}

}  // namespace sft
