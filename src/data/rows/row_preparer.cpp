#include "data/rows/row_preparer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/strings.h"
#include "data/rows/other_kinds.h"

namespace sft {

namespace {

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

}  // namespace

std::unique_ptr<Tokenizer::Scratch> Scratches::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Tokenizer::Scratch>(tokenizer_);
}

void Scratches::give(std::unique_ptr<Tokenizer::Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

RowPreparer::RowPreparer(const DataOptions& options, bool packing, const DataContext& context,
                         std::span<const SourceRow> first, std::span<const std::string> columns)
    : options_(options), packing_(packing) {
  check_options(options, packing);
  std::vector<Json> rows;
  for (const SourceRow& row : first) {
    rows.push_back(row.json());
  }
  first_row_ = preview(rows[0]);
  first_place_ = first[0].raw.place();
  shape_.emplace(rows, first_place_, ShapeOptions(options), columns);
  if (shape_->has(RowKind::prompt_completion) || shape_->has(RowKind::messages_and_completion)) {
    warning_ = unwanted_completions(rows);
  }
  if (options.skips_preparation() && !shape_->has(RowKind::tokens)) {
    throw Error("D054", "skip_prepare_dataset needs rows with input_ids").at(first_place_);
  }
  renderer_.emplace(*shape_, options, context.tokenizer, context.chat_template, context.vocab);
}

bool RowPreparer::trains_all() const {
  return !shape_->has(RowKind::tokens) && !options_.assistant_only_loss &&
         !(shape_->has_completions() && options_.completion_only_loss.value_or(true));
}

bool RowPreparer::finish(RenderedRow& row, DataStatistics& stats) const {
  Example& example = row.example;
  stats.rows_with_prefix_mismatch += row.prefix_mismatch ? 1 : 0;
  stats.rows_with_second_bos += row.second_bos ? 1 : 0;
  stats.rows_with_lost_reasoning += row.lost_reasoning ? 1 : 0;
  stats.rows_with_mask_ignored += row.mask_ignored ? 1 : 0;
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
  if (options_.max_length && !packing_) {
    const auto length = static_cast<long>(example.input_ids.size());
    const long excess = length - static_cast<long>(*options_.max_length);
    if (excess > 0) {
      const long begin = options_.truncation_mode == "keep_end" ? 0 : length - excess;
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
  stats.conversations += row.conversation ? 1 : 0;
  stats.tokens += static_cast<int64_t>(example.input_ids.size());
  stats.tokens_trained += trained();
  return true;
}

std::string RowPreparer::report(Part part, const std::string& source, int64_t rows) const {
  return fmt::format("{} data: {}: {} rows, {}; trained: {}",
                     part == Part::train ? "training" : "evaluation", source, with_commas(rows),
                     shape_->report(), renderer_->trained_part());
}

void RowPreparer::fail_untrained(int64_t rows, const DataStatistics& stats) const {
  throw Error("D049",
              fmt::format("nothing would be trained: of {} rows {} are empty, {} have no assistant "
                          "turn, and in the others every label is masked{}; the first row is {}",
                          rows, stats.rows_empty, stats.rows_without_assistant,
                          stats.rows_truncated > 0
                              ? fmt::format(" once cut to max_length {}", *options_.max_length)
                              : "",
                          first_row_))
      .at(first_place_)
      .hint(fmt::format("what is trained is {}; look at rows with `sft inspect`",
                        renderer_->trained_part()));
}

}  // namespace sft
