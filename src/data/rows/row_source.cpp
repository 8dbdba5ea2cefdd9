#include "data/rows/row_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/contained.h"
#include "core/error.h"
#include "core/torch_random.h"

namespace sft {

namespace {

// Opens the files of the part for that, and keeps them open where they can be read at random.
int64_t count_rows(SourcePart& part, ThreadPool& pool) {
  int64_t rows = 0;
  bool all = true;
  part.opened.clear();
  for (const auto& path : part.files.files) {
    part.opened.push_back(open_row_file(path, pool));
    if (part.opened.back() != nullptr) {
      rows += part.opened.back()->count();
      continue;
    }
    all = false;
    RawRow row;
    for (const auto reader = open_reader(path); reader->next(row);) {
      ++rows;
    }
  }
  if (!all) {
    part.opened.clear();
  }
  return rows;
}

std::vector<SourcePart> single_source(const DataOptions& options, Part part,
                                      const HubEnvironment& hub) {
  if (!options.dataset_name) {
    throw Error("C031", "no data set is given")
        .hint(
            "give --dataset_name (a file, a folder or a hub id), or `datasets:` in the YAML file");
  }
  const std::string& split =
      part == Part::train ? options.dataset_train_split : options.dataset_test_split;
  std::vector<SourcePart> out;
  for (DatasetFiles& files : resolve_splits(
           {*options.dataset_name, options.dataset_config, "", {}, options.trust_dataset_card},
           options.test_split_size ? options.dataset_train_split : split, hub)) {
    out.push_back({.files = std::move(files), .columns = {}});
  }
  return out;
}

std::string text_member(const Json& entry, const char* key, const std::string& missing) {
  if (!entry.contains(key) || entry[key].is_null()) {
    return missing;
  }
  if (!entry[key].is_string()) {
    throw Error("D065", fmt::format("`{}` of a data set in the mixture must be text, not {}", key,
                                    to_text(entry[key])));
  }
  return entry[key].get<std::string>();
}

struct MixtureEntry {
  SourcePart part;
  std::optional<double> fraction;
};

MixtureEntry mixture_entry(const Json& entry, bool trusts_card, const HubEnvironment& hub) {
  static const std::vector<std::string> kKeys = {"path",  "name",    "data_dir", "data_files",
                                                 "split", "columns", "fraction"};
  if (!entry.is_object() || text_member(entry, "path", "").empty()) {
    throw Error("D065", fmt::format("a data set in the mixture has no `path`: {}", to_text(entry)))
        .hint("datasets: [{path: ..., name: ..., split: train, columns: [...], fraction: 0.5}]");
  }
  for (const auto& [key, value] : entry.items()) {
    if (std::ranges::find(kKeys, key) == kKeys.end()) {
      throw Error("D065", fmt::format("a data set in the mixture has no key `{}`", key))
          .hint(fmt::format("the keys are {}", fmt::join(kKeys, ", ")));
    }
  }
  DatasetSource source{text_member(entry, "path", ""),
                       {},
                       text_member(entry, "data_dir", ""),
                       entry.value("data_files", Json()),
                       trusts_card};
  if (const std::string name = text_member(entry, "name", ""); !name.empty()) {
    source.config = name;
  }
  MixtureEntry out;
  out.part.files = resolve_dataset(source, text_member(entry, "split", "train"), hub);
  if (const Json columns = entry.value("columns", Json()); columns.is_array()) {
    for (const Json& column : columns) {
      out.part.columns.push_back(column.is_string() ? column.get<std::string>() : to_text(column));
    }
  }
  if (const Json fraction = entry.value("fraction", Json()); !fraction.is_null()) {
    if (!fraction.is_number() || !(fraction.get<double>() >= 0)) {
      throw Error("D065", fmt::format("`fraction` must be a number of at least 0, not {}",
                                      to_text(fraction)));
    }
    out.fraction = fraction.get<double>();
  }
  return out;
}

// Python's round: halves go to the even neighbour.
int64_t round_even(double x) { return static_cast<int64_t>(std::nearbyint(x)); }

// Fractions are shares of the mixture, which is as large as it can be without repeating any row.
void apply_fractions(std::vector<MixtureEntry>& entries, ThreadPool& pool) {
  const auto given = std::ranges::count_if(entries, [](auto& e) { return e.fraction.has_value(); });
  if (given == 0) {
    return;
  }
  double sum = 0;
  for (const MixtureEntry& entry : entries) {
    sum += entry.fraction.value_or(0);
  }
  if (static_cast<size_t>(given) != entries.size() || sum <= 0) {
    throw Error("D065",
                "`fraction` must be given for all data sets of a mixture or for none, and "
                "not all may be 0");
  }
  double total = INFINITY;
  for (MixtureEntry& entry : entries) {
    RowRange& rows = entry.part.rows;
    rows.end = std::min(rows.end, count_rows(entry.part, pool));
    if (*entry.fraction > 0) {
      total = std::min(total, static_cast<double>(rows.end - rows.begin) / (*entry.fraction / sum));
    }
  }
  for (MixtureEntry& entry : entries) {
    RowRange& rows = entry.part.rows;
    rows.end = rows.begin + round_even(*entry.fraction / sum * total);
  }
}

void apply_slice(SourcePart& part, ThreadPool& pool) {
  if (!part.files.slice.empty()) {
    part.rows = slice_range(part.files.slice, count_rows(part, pool));
  }
}

void split_off_test(RowSource& source, double test_size, Part part, uint64_t seed,
                    ThreadPool& pool) {
  int64_t rows = 0;
  for (SourcePart& p : source.parts) {
    rows += std::min(p.rows.end, count_rows(p, pool)) - p.rows.begin;
  }
  TrainTestSplit split = train_test_split(rows, test_size, seed);
  source.order = part == Part::train ? std::move(split.train) : std::move(split.test);
  source.ordered = true;
}

// "2 files: a.jsonl, b.jsonl"; a file that lies elsewhere, by a link or a name, with its whole
// path.
std::string names_of(const std::vector<std::filesystem::path>& files) {
  constexpr size_t kShown = 4;
  std::string out = fmt::format("{} file{}:", files.size(), files.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(kShown, files.size()); ++i) {
    const bool is_apart =
        !why_outside(files[i].parent_path(), files[i].filename().string()).empty();
    out += fmt::format("{} {}", i == 0 ? "" : ",",
                       is_apart ? std::filesystem::weakly_canonical(files[i]).string()
                                : files[i].filename().string());
  }
  return files.size() > kShown ? out + fmt::format(" and {} more", files.size() - kShown) : out;
}

}  // namespace

RowSource open_source(const DataOptions& options, Part part, uint64_t seed,
                      const HubEnvironment& hub, ThreadPool& pool) {
  RowSource source;
  if (options.datasets.is_array() && !options.datasets.empty()) {
    std::vector<MixtureEntry> entries;
    for (const Json& entry : options.datasets) {
      entries.push_back(mixture_entry(entry, options.trust_dataset_card, hub));
      apply_slice(entries.back().part, pool);
    }
    apply_fractions(entries, pool);
    for (MixtureEntry& entry : entries) {
      source.parts.push_back(std::move(entry.part));
    }
    if (part == Part::eval && !options.test_split_size) {
      throw Error("D008", "a mixture has no test split of its own")
          .hint("give --test_split_size, for example 0.05, or leave evaluation out");
    }
  } else {
    source.parts = single_source(options, part, hub);
    for (SourcePart& p : source.parts) {
      apply_slice(p, pool);
    }
  }
  if (options.test_split_size) {
    split_off_test(source, *options.test_split_size, part, seed, pool);
  }
  return source;
}

std::string RowSource::describe() const {
  std::string out;
  for (const SourcePart& part : parts) {
    out += out.empty() ? "" : " + ";
    const DatasetFiles& files = part.files;
    if (files.files.size() == 1 && files.files[0] == files.name) {
      out += files.name;
      continue;
    }
    out += fmt::format("{} ({}split {}, {})", files.name,
                       files.config.empty() ? "" : fmt::format("config {}, ", files.config),
                       files.split, names_of(files.files));
  }
  return out;
}

bool RowStream::next(RawRow& row) {
  for (; part_ < source_.parts.size(); ++part_, file_ = 0, row_in_part_ = 0) {
    const SourcePart& part = source_.parts[part_];
    while (row_in_part_ < part.rows.end &&
           (reader_ != nullptr || file_ < part.files.files.size())) {
      if (reader_ == nullptr) {
        reader_ = open_reader(part.files.files[file_++]);
      }
      if (!reader_->next(row)) {
        reader_.reset();
      } else if (row_in_part_++ >= part.rows.begin) {
        return true;
      }
    }
    reader_.reset();
    if (part_ + 1 == source_.parts.size()) {
      return false;
    }
  }
  return false;
}

}  // namespace sft
