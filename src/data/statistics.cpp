#include "data/statistics.h"

#include <fmt/format.h>

#include <array>

#include "core/json.h"
#include "core/strings.h"

namespace sft {

namespace {

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
                                 &DataStatistics::conversations,
                                 &DataStatistics::tokens,
                                 &DataStatistics::tokens_trained};

}  // namespace

DataStatistics& DataStatistics::operator+=(const DataStatistics& other) {
  for (const auto member : kCounted) {
    this->*member += other.*member;
  }
  packed_rows += other.packed_rows;
  return *this;
}

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

void say_dropped(const DataStatistics& stats, const Logger& log) {
  if (const int64_t dropped = stats.rows_read - stats.rows; dropped > 0) {
    log.warn(fmt::format(
        "{} of {} rows are left out: {} with nothing to train, {} empty, {} without "
        "an assistant turn",
        with_commas(dropped), with_commas(stats.rows_read), with_commas(stats.rows_fully_masked),
        with_commas(stats.rows_empty), with_commas(stats.rows_without_assistant)));
  }
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

}  // namespace sft
