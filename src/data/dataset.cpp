#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/strings.h"
#include "data/render.h"
#include "data/shapes.h"
#include "data/token_store.h"
#include "data/torch_random.h"

namespace sft {

namespace {

constexpr size_t kBlockRows = 4096;  // read ahead of the workers
constexpr int64_t kWorkRows = 16;    // a worker's bite
constexpr size_t kRowsToDecide = 64;

struct RowTask {
  RawRow raw;
  const std::vector<std::string>* columns = nullptr;
  int64_t index = 0;  // among all rows of the source
  RenderedRow out;
  std::exception_ptr error;

  Json json() const {
    Json row = raw.json();
    if (columns == nullptr || columns->empty()) {
      return row;
    }
    Json kept = Json::object();
    for (const std::string& column : *columns) {
      if (!row.contains(column)) {
        throw Error("D066",
                    fmt::format("this row has no column \"{}\", which the mixture selects", column))
            .at(raw.place());
      }
      kept[column] = std::move(row[column]);
    }
    return kept;
  }
};

bool packs(const DataOptions& options, Part part) {
  return part == Part::train ? options.packing : options.packs_eval();
}

void check_options(const DataOptions& options, bool packing) {
  if (options.truncation_mode != "keep_start" && options.truncation_mode != "keep_end") {
    throw Error("D052", fmt::format("there is no truncation_mode \"{}\"", options.truncation_mode))
        .hint("use keep_start or keep_end");
  }
  if (options.max_length && *options.max_length <= 0) {
    throw Error("D051", fmt::format("max_length must be positive, not {}", *options.max_length));
  }
  if (packing && !options.max_length) {
    throw Error("D051", "packing needs a max_length").hint("give --max_length, for example 1024");
  }
  if (options.padding_free && !options.packing && options.max_length) {
    throw Error("D053", fmt::format("padding_free without packing does not enforce max_length {}",
                                    *options.max_length))
        .hint("give --max_length none to train rows of any length, or --packing");
  }
}

// Cuts the row to max_length and says whether it is kept; counts what happens to it.
bool finish_row(RenderedRow& row, const DataOptions& options, bool packing, DataStatistics& stats) {
  Example& example = row.example;
  stats.rows_with_prefix_mismatch += row.prefix_mismatch ? 1 : 0;
  stats.rows_with_second_bos += row.second_bos ? 1 : 0;
  if (example.input_ids.empty()) {
    ++stats.rows_empty;
    return false;
  }
  if (row.without_assistant) {
    ++stats.rows_without_assistant;
    return false;
  }
  const auto trained = [&] {
    return std::ranges::count_if(example.labels, [](int32_t label) { return label != kIgnored; });
  };
  if (options.max_length && !packing) {
    const auto length = static_cast<long>(example.input_ids.size());
    const long excess = length - static_cast<long>(*options.max_length);
    if (excess > 0) {
      const long begin = options.truncation_mode == "keep_end" ? 0 : length - excess;
      for (auto* values : {&example.input_ids, &example.labels}) {
        values->erase(values->begin() + begin, values->begin() + begin + excess);
      }
      ++stats.rows_truncated;
      stats.tokens_truncated += excess;
    }
    if (trained() == 0) {
      ++stats.rows_fully_masked;
      return false;
    }
  }
  ++stats.rows;
  stats.tokens += static_cast<int64_t>(example.input_ids.size());
  stats.tokens_trained += trained();
  return true;
}

class Preparation {
 public:
  Preparation(const DataOptions& options, Part part, const DataContext& context)
      : options_(options),
        part_(part),
        packing_(packs(options, part)),
        context_(context),
        source_(open_source(options, part, context.seed, context.hub)),
        stream_(source_) {
    check_options(options, packing_);
    if (source_.ordered) {
      wanted_ = source_.order;
      std::ranges::sort(wanted_);
    }
  }

  Prepared run() {
    Prepared out;
    TokenStore store;
    std::vector<int64_t> stored;  // the source row of each stored one
    while (read_block()) {
      understand();
      render_block();
      for (RowTask& task : block_) {
        if (task.error) {
          std::rethrow_exception(task.error);
        }
        if (finish_row(task.out, options_, packing_, out.statistics)) {
          store.append(task.out.example);
          stored.push_back(task.index);
        }
      }
    }
    out.statistics.rows_read = rows_rendered_;
    check_something_trains(out.statistics);
    out.report =
        fmt::format("{} data: {}: {} rows, {}; trained: {}",
                    part_ == Part::train ? "training" : "evaluation", source_.describe(),
                    with_commas(rows_rendered_), shape_->report(), renderer_->trained_part());
    if (source_.ordered) {
      store.select(split_order(stored));
    }
    out.rows = arrange(std::move(store), out.statistics);
    say(out);
    return out;
  }

  std::vector<InspectedRow> inspect(int64_t limit, bool only_kept) {
    std::vector<InspectedRow> out;
    DataStatistics unused;
    Tokenizer::Scratch scratch(context_.tokenizer);
    while (static_cast<int64_t>(out.size()) < limit && read_block()) {
      understand();
      for (RowTask& task : block_) {
        if (static_cast<int64_t>(out.size()) == limit) {
          break;
        }
        RenderedRow row = renderer_->render(task.json(), task.raw.place(), scratch);
        const bool kept = finish_row(row, options_, packing_, unused);
        if (kept || !only_kept) {
          out.push_back({task.raw.place(), std::move(row.text), std::move(row.example), !kept});
        }
      }
    }
    return out;
  }

 private:
  bool read_block() {
    block_.clear();
    RowTask task;
    while (block_.size() < kBlockRows && stream_.next(task.raw)) {
      task.index = next_index_++;
      if (!source_.ordered || std::ranges::binary_search(wanted_, task.index)) {
        task.columns = &stream_.columns();
        block_.push_back(std::move(task));
        task = {};
      }
    }
    if (block_.empty() && !shape_) {
      throw Error("D048", fmt::format("{} has no rows", source_.describe()))
          .at(source_.parts[0].files.files[0].string());
    }
    return !block_.empty();
  }

  void understand() {
    if (shape_) {
      return;
    }
    std::vector<Json> rows;
    for (size_t i = 0; i < std::min(kRowsToDecide, block_.size()); ++i) {
      rows.push_back(block_[i].json());
    }
    shape_.emplace(rows, block_[0].raw.place(), options_.dataset_text_field);
    if (skips_preparation() && shape_->kind() != RowKind::tokens) {
      throw Error("D054", "skip_prepare_dataset needs rows with input_ids")
          .at(block_[0].raw.place());
    }
    renderer_.emplace(*shape_, options_, context_.tokenizer, context_.chat_template,
                      context_.vocab);
    first_row_ = preview(rows[0]);
    first_place_ = block_[0].raw.place();
  }

  bool skips_preparation() const {
    return options_.dataset_kwargs.is_object() &&
           options_.dataset_kwargs.value("skip_prepare_dataset", Json(false)) == true;
  }

  void render_block() {
    const auto rows = static_cast<int64_t>(block_.size());
    scratches_.resize(static_cast<size_t>(context_.pool.size()));
    context_.pool.for_each((rows + kWorkRows - 1) / kWorkRows, [&](int64_t item, int thread) {
      auto& scratch = scratches_[static_cast<size_t>(thread)];
      if (!scratch) {
        scratch.emplace(context_.tokenizer);
      }
      for (int64_t i = item * kWorkRows; i < std::min(rows, (item + 1) * kWorkRows); ++i) {
        RowTask& task = block_[static_cast<size_t>(i)];
        try {
          task.out = renderer_->render(task.json(), task.raw.place(), *scratch);
        } catch (...) {
          task.error = std::current_exception();  // thrown in the rows' order, whoever met it
        }
      }
    });
    rows_rendered_ += rows;
  }

  std::vector<int64_t> split_order(const std::vector<int64_t>& stored) const {
    std::vector<int64_t> order;
    for (const int64_t row : source_.order) {
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

  void check_something_trains(const DataStatistics& stats) const {
    if (stats.tokens_trained > 0) {
      return;
    }
    throw Error(
        "D049",
        fmt::format("nothing would be trained: of {} rows {} are empty, {} have no assistant "
                    "turn, and in the others every label is masked{}; the first row is {}",
                    rows_rendered_, stats.rows_empty, stats.rows_without_assistant,
                    stats.rows_truncated > 0
                        ? fmt::format(" once cut to max_length {}", *options_.max_length)
                        : "",
                    first_row_))
        .at(first_place_)
        .hint(fmt::format("what is trained is {}; look at rows with `sft inspect`",
                          renderer_->trained_part()));
  }

  void say(const Prepared& out) const {
    const DataStatistics& stats = out.statistics;
    const Logger& log = context_.log;
    log.note(out.report);
    if (const int64_t dropped = rows_rendered_ - stats.rows; dropped > 0) {
      log.warn(fmt::format(
          "{} of {} rows are left out: {} with nothing to train, {} empty, {} without "
          "an assistant turn",
          with_commas(dropped), with_commas(rows_rendered_), with_commas(stats.rows_fully_masked),
          with_commas(stats.rows_empty), with_commas(stats.rows_without_assistant)));
    }
    if (stats.rows_truncated > 0) {
      log.warn(
          fmt::format("{} of {} rows are longer than max_length {} and are cut: {} tokens lost",
                      with_commas(stats.rows_truncated), with_commas(rows_rendered_),
                      *options_.max_length, with_commas(stats.tokens_truncated)));
    }
    if (stats.rows_with_prefix_mismatch > 0) {
      log.warn(
          fmt::format("in {} rows the prompt is tokenised otherwise when it stands alone; the "
                      "completion is taken to begin where the two part",
                      with_commas(stats.rows_with_prefix_mismatch)));
    }
    if (stats.rows_with_second_bos > 0) {
      log.note(fmt::format("{} rows already begin with {}, and get no second one",
                           with_commas(stats.rows_with_second_bos),
                           context_.tokenizer.bos_token()));
    }
    if (stats.packed_rows > 0) {
      log.note(fmt::format(
          "packed ({}) into {} rows of at most {} tokens{}", options_.packing_strategy,
          with_commas(stats.packed_rows), *options_.max_length,
          options_.packing_strategy == "wrapped" ? "; attention crosses documents, as in TRL"
                                                 : ""));
    }
  }

  const DataOptions& options_;
  const Part part_;
  const bool packing_;
  const DataContext& context_;
  const RowSource source_;
  RowStream stream_;
  std::vector<int64_t> wanted_;  // sorted
  std::vector<RowTask> block_;
  std::vector<std::optional<Tokenizer::Scratch>> scratches_;
  int64_t next_index_ = 0, rows_rendered_ = 0;
  std::optional<Shape> shape_;
  std::optional<Renderer> renderer_;
  std::string first_row_, first_place_;
};

}  // namespace

Prepared prepare_dataset(const DataOptions& options, Part part, const DataContext& context) {
  return Preparation(options, part, context).run();
}

bool is_padding_free(const DataOptions& options) {
  return options.padding_free || (options.packing && options.packing_strategy != "wrapped");
}

std::vector<InspectedRow> inspect_rows(const DataOptions& options, Part part,
                                       const DataContext& context, int64_t limit, bool only_kept) {
  return Preparation(options, part, context).inspect(limit, only_kept);
}

}  // namespace sft
