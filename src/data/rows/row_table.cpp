#include "data/rows/row_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace sft {

Json SourceRow::json(const std::vector<std::string>* wanted) const {
  if (columns == nullptr || columns->empty()) {
    return raw.json(wanted);
  }
  Json row = raw.json(columns);
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

std::unique_ptr<RowTable> RowTable::open(const RowSource& source, ThreadPool& pool) {
  auto table = std::make_unique<RowTable>();
  int64_t rows = 0;
  for (const SourcePart& part : source.parts) {
    int64_t in_part = 0;
    for (size_t f = 0; f < part.files.files.size(); ++f) {
      const auto& path = part.files.files[f];
      std::shared_ptr<const RowFile> file =
          f < part.opened.size() ? part.opened[f] : open_row_file(path, pool);
      if (file == nullptr) {
        return nullptr;
      }
      table->add_columns(*file, part.columns);
      table->bytes_ += static_cast<int64_t>(std::filesystem::file_size(path));
      const int64_t begin = std::max(part.rows.begin, in_part);
      const int64_t end = std::min(part.rows.end, in_part + file->count());
      if (begin < end) {
        table->parts_.push_back({file, begin - in_part, rows, rows + end - begin, &part.columns});
        rows += end - begin;
      }
      in_part += file->count();
    }
  }
  return table;
}

void RowTable::add_columns(const RowFile& file, const std::vector<std::string>& wanted) {
  for (std::string& name : file.columns()) {
    const bool counts = wanted.empty() || std::ranges::find(wanted, name) != wanted.end();
    if (counts && std::ranges::find(columns_, name) == columns_.end()) {
      columns_.push_back(std::move(name));
    }
  }
}

int64_t RowTable::count() const { return parts_.empty() ? 0 : parts_.back().end; }

const RowTable::FileRows& RowTable::part_of(int64_t row) const {
  return *std::ranges::upper_bound(parts_, row, {}, &FileRows::end);
}

void RowTable::read(int64_t i, SourceRow& row) const {
  const FileRows& part = part_of(i);
  part.file->read(part.first + i - part.begin, row.raw);
  row.columns = part.columns;
}

int64_t RowTable::chunk_end(int64_t i) const {
  const FileRows& part = part_of(i);
  const int64_t in_file = part.first + i - part.begin;
  return std::min(part.end, i + part.file->chunk_end(in_file) - in_file);
}

}  // namespace sft
