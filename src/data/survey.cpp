#include "data/survey.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <mutex>

#include "core/strings.h"

namespace sft {

namespace {

// What one thread saw.
struct Seen {
  std::vector<int32_t> lengths;  // of documents
  int64_t rows = 0, empty = 0, tokens = 0, trained = 0, longest_row = 0;
  RowNotes notes{};

  void add(const Example& row) {
    ++rows;
    notes += row.notes;
    if (row.input_ids.empty()) {
      ++empty;
      return;
    }
    const auto length = static_cast<int64_t>(row.input_ids.size());
    tokens += length;
    trained += std::ranges::count_if(row.labels, [](int32_t label) { return label != kIgnored; });
    longest_row = std::max(longest_row, length);
    if (row.documents.empty()) {
      lengths.push_back(static_cast<int32_t>(length));
    } else {
      lengths.insert(lengths.end(), row.documents.begin(), row.documents.end());
    }
  }

  void merge(const Seen& other) {
    lengths.insert(lengths.end(), other.lengths.begin(), other.lengths.end());
    rows += other.rows;
    empty += other.empty;
    tokens += other.tokens;
    trained += other.trained;
    longest_row = std::max(longest_row, other.longest_row);
    notes += other.notes;
  }
};

Seen go_through(const PreparedDataset& rows, ThreadPool& pool) {
  Seen all;
  std::mutex mutex;
  pool.parallel_for(
      rows.size(),
      [&](int64_t begin, int64_t end) {
        Seen own;
        for (int64_t i = begin; i < end; ++i) {
          own.add(rows.example(i));
        }
        const std::lock_guard lock(mutex);
        all.merge(own);
      },
      64);
  std::ranges::sort(all.lengths);
  return all;
}

std::vector<LengthBucket> buckets(const std::vector<int32_t>& sorted) {
  std::vector<LengthBucket> out;
  if (sorted.empty()) {
    return out;
  }
  for (int64_t from = std::bit_floor(static_cast<uint64_t>(sorted.front())); from <= sorted.back();
       from *= 2) {
    const auto begin = std::ranges::lower_bound(sorted, from);
    const auto end = std::ranges::lower_bound(sorted, 2 * from);
    out.push_back({from, 2 * from - 1, end - begin});
  }
  return out;
}

double share(int64_t part, int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string percent(double share_of_one) {
  const double value = 100 * share_of_one;
  return value > 0 && value < 0.05 ? "<0.1%" : fmt::format("{:.1f}%", value);
}

std::string bar(double fill, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = fill > 0 ? std::max(1, static_cast<int>(fill * width * 8)) : 0;
  std::string out;
  for (int i = 0; i < eighths / 8; ++i) {
    out += "█";
  }
  return out + kEighths[eighths % 8];
}

}  // namespace

double Survey::truncated_share() const { return share(rows_truncated, documents + rows_dropped); }
double Survey::lost_share() const { return share(tokens_truncated, tokens + tokens_truncated); }
double Survey::trained_share() const { return share(tokens_trained, tokens); }

Survey survey(const Prepared& prepared, const DataOptions& options, ThreadPool& pool) {
  const Seen seen = go_through(*prepared.rows, pool);
  const DataStatistics& counted = prepared.statistics;
  Survey out;
  out.documents = static_cast<int64_t>(seen.lengths.size());
  out.packed_rows = counted.packed_rows;
  // Rows that were counted beforehand are not among the rows any more; those made now are empty.
  out.rows_dropped = seen.empty + std::max<int64_t>(0, counted.rows_read - counted.rows);
  out.rows_read = counted.rows_read > 0 ? counted.rows_read : seen.rows;
  if (counted.rows == 0) {
    out.rows_dropped = seen.empty;
  }
  out.tokens = seen.tokens;
  out.tokens_trained = seen.trained;
  out.rows_truncated = counted.rows_truncated + seen.notes.truncated;
  out.tokens_truncated = counted.tokens_truncated + seen.notes.tokens_truncated;
  out.lengths = buckets(seen.lengths);
  if (!seen.lengths.empty()) {
    out.longest = seen.lengths.back();
    out.median = seen.lengths[seen.lengths.size() / 2];
  }
  out.longest_batch_row = seen.longest_row;
  if (out.packed_rows > 0 && options.max_length) {
    out.packing_efficiency = share(out.tokens, out.packed_rows * *options.max_length);
  }
  return out;
}

Json to_json(const Survey& s) {
  Json lengths = Json::array();
  for (const LengthBucket& bucket : s.lengths) {
    lengths.push_back({{"from", bucket.from}, {"to", bucket.to}, {"rows", bucket.documents}});
  }
  Json out = {{"rows_read", s.rows_read},
              {"rows_dropped", s.rows_dropped},
              {"rows", s.documents},
              {"tokens", s.tokens},
              {"tokens_trained", s.tokens_trained},
              {"trained_share", s.trained_share()},
              {"rows_truncated", s.rows_truncated},
              {"tokens_truncated", s.tokens_truncated},
              {"truncated_share", s.truncated_share()},
              {"lost_share", s.lost_share()},
              {"median_length", s.median},
              {"longest", s.longest},
              {"lengths", std::move(lengths)}};
  if (s.packed_rows > 0) {
    out["packed_rows"] = s.packed_rows;
    out["packing_efficiency"] = s.packing_efficiency;
  }
  return out;
}

std::vector<std::string> describe(const Survey& s, const DataOptions& options, int width,
                                  bool bars) {
  std::vector<std::string> out;
  std::string dropped;
  if (s.rows_dropped > 0) {
    dropped = fmt::format(", {} left out", with_commas(s.rows_dropped));
  }
  out.push_back(fmt::format("rows       {}{}", with_commas(s.rows_read), dropped));
  out.push_back(fmt::format("tokens     {}, {} trained ({})", with_commas(s.tokens),
                            with_commas(s.tokens_trained), percent(s.trained_share())));
  if (!options.max_length) {
    out.emplace_back("truncated  none, max_length is not set");
  } else if (s.rows_truncated == 0) {
    out.push_back(fmt::format("truncated  none at max_length {}", *options.max_length));
  } else {
    out.push_back(fmt::format("truncated  {} rows ({}) at max_length {}: {} tokens lost ({})",
                              with_commas(s.rows_truncated), percent(s.truncated_share()),
                              *options.max_length, with_commas(s.tokens_truncated),
                              percent(s.lost_share())));
  }
  if (s.packed_rows > 0) {
    out.push_back(fmt::format("packed     {} rows of at most {} tokens, {} filled",
                              with_commas(s.packed_rows), *options.max_length,
                              percent(s.packing_efficiency)));
  }
  out.push_back(fmt::format("lengths    median {}, longest {} tokens", with_commas(s.median),
                            with_commas(s.longest)));
  int64_t most = 1;
  for (const LengthBucket& bucket : s.lengths) {
    most = std::max(most, bucket.documents);
  }
  const int room = std::clamp(width - 40, 8, 50);
  for (const LengthBucket& bucket : s.lengths) {
    const std::string range = fmt::format("{}-{}", bucket.from, bucket.to);
    std::string line = fmt::format("{:>16} {:>11} {:>6}", range, with_commas(bucket.documents),
                                   percent(share(bucket.documents, s.documents)));
    if (bars && bucket.documents > 0) {
      line += "  " + bar(share(bucket.documents, most), room);
    }
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace sft
