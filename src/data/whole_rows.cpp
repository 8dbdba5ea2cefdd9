#include "data/whole_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/strings.h"
#include "core/torch_random.h"
#include "data/tokens/token_cache.h"
#include "data/tokens/token_pass.h"
#include "data/tokens/token_store.h"

namespace sft {

namespace {

constexpr double kSecondsThatPay = 1;  // a shorter pass is not worth a file

// The documents that a row was packed of before it came here, as rows of their own.
std::vector<Example> documents_of(const Example& row) {
  std::vector<Example> out;
  auto id = row.input_ids.begin();
  auto label = row.labels.begin();
  for (const int32_t length : row.documents) {
    out.push_back(
        {.input_ids = {id, id + length}, .labels = {label, label + length}, .documents = {}});
    id += length;
    label += length;
  }
  return out;
}

// Rows again of documents that were stored one by one; nothing where each is a row. `stored` has
// the source row of each, in order.
std::optional<PackPlan> rows_of_documents(const std::vector<int64_t>& stored,
                                          const TokenStore& store) {
  if (std::ranges::adjacent_find(stored) == stored.end()) {
    return std::nullopt;
  }
  PackPlan plan;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (i == 0 || stored[i] != stored[i - 1]) {
      plan.row_begins.push_back(static_cast<int64_t>(i));
    }
    const auto row = static_cast<int64_t>(i);
    plan.pieces.push_back({row, 0, store.length(row)});
  }
  plan.row_begins.push_back(static_cast<int64_t>(stored.size()));
  return plan;
}

class WholeRows {
 public:
  WholeRows(std::shared_ptr<const RowOrigin> origin, const DataOptions& options, Part part,
            bool packing, const DataContext& context)
      : origin_(std::move(origin)),
        options_(options),
        part_(part),
        packing_(packing),
        context_(context) {}

  Prepared run() {
    Prepared out;
    out.sources = origin_;
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
    if (origin_->table != nullptr) {
      store.set_places([origin = origin_, stored](int64_t n) {
        SourceRow row;
        origin->table->read(stored[static_cast<size_t>(n)], row);
        return row.raw.place();
      });
    }
    out.chat = out.statistics.conversations > 0;
    out.report = preparer().report(part_, source().describe(), out.statistics.rows_read);
    out.rows = arrange(std::move(store), std::move(stored), out.statistics);
    say(out);
    return out;
  }

 private:
  const RowSource& source() const { return origin_->source; }
  const RowPreparer& preparer() const { return *origin_->preparer; }

  // Nothing where the data are so few that another pass over them costs nothing.
  std::optional<TokenCache> open_cache() const {
    const bool few = origin_->table != nullptr && origin_->table->bytes() <= kFewBytes;
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
    stats = run_token_pass(source(), origin_->table.get(), preparer(), context_,
                           [&](const Example& row, int64_t number) {
                             const auto keep = [&](const Example& document) {
                               stored.push_back(number);
                               or_in_memory([&] { store.append(document); });
                             };
                             if (packing_ || row.documents.empty()) {
                               keep(row);
                             } else {
                               std::ranges::for_each(documents_of(row), keep);
                             }
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

  // The rows of the source's order among those that were stored, `stored` of them.
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

  // The split's order, then that of shuffle_dataset.
  template <class Rows>
  void order(Rows& rows, const std::vector<int64_t>& stored) const {
    if (source().ordered) {
      rows.select(split_order(stored));
    }
    if (options_.shuffle_dataset) {
      rows.select(shuffled_rows(rows.size(), context_.seed));
    }
  }

  std::unique_ptr<PreparedDataset> arrange(TokenStore store, std::vector<int64_t> stored,
                                           DataStatistics& stats) const {
    if (std::optional<PackPlan> plan = rows_of_documents(stored, store)) {
      auto rows = std::make_unique<PackedStore>(std::move(store), std::move(*plan), true);
      stored.erase(std::ranges::unique(stored).begin(), stored.end());
      order(*rows, stored);
      return rows;
    }
    order(store, stored);
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
    if (options_.shuffle_dataset) {  // once more, as in TRL
      packed->select(shuffled_rows(packed->size(), context_.seed));
    }
    return packed;
  }

  void say(const Prepared& out) const {
    const DataStatistics& stats = out.statistics;
    const Logger& log = context_.log;
    log.note(out.report);
    say_dropped(stats, log);
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

  std::shared_ptr<const RowOrigin> origin_;
  const DataOptions& options_;
  const Part part_;
  const bool packing_;
  const DataContext& context_;
};

}  // namespace

std::vector<int64_t> shuffled_rows(int64_t rows, uint64_t seed) {
  NumpyGenerator generator(seed);
  return numpy_permutation(rows, generator);
}

Prepared prepare_whole(std::shared_ptr<const RowOrigin> origin, const DataOptions& options,
                       Part part, bool packing, const DataContext& context) {
  return WholeRows(std::move(origin), options, part, packing, context).run();
}

}  // namespace sft
