// Comma- or tab-separated values with a header line, quoted as in RFC 4180. Every cell is text; an
// empty cell that is not quoted is null.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "core/error.h"
#include "data/read/compressed.h"
#include "data/read/row_file.h"

namespace sft {

namespace {

class CsvReader : public RowReader {
 public:
  CsvReader(const std::filesystem::path& path, char separator)
      : file_(std::make_shared<const DataFile>(path)),
        text_(file_->text()),
        separator_(separator),
        name_(std::make_shared<const std::string>(path.string())) {
    if (text_.starts_with("\xef\xbb\xbf")) {
      at_ = 3;
    }
    std::set<std::string> seen;
    for (Json& cell : record()) {
      std::string column = cell.is_null() ? "" : cell.get<std::string>();
      if (!seen.insert(column).second) {
        throw fail(fmt::format("the header names the column \"{}\" twice", column));
      }
      columns_.push_back(std::move(column));
    }
  }

  bool next(RawRow& row) override {
    while (at_ < text_.size()) {
      const int64_t line = line_;
      row_line_ = line;
      std::vector<Json> cells = record();
      if (cells.size() == 1 && cells[0].is_null()) {
        continue;  // an empty line
      }
      if (cells.size() != columns_.size()) {
        throw fail(
            fmt::format("this row has {} cells, the header has {}", cells.size(), columns_.size()));
      }
      Json object = Json::object();
      for (size_t i = 0; i < cells.size(); ++i) {
        object[columns_[i]] = std::move(cells[i]);
      }
      row = {.value = std::move(object),
             .parsed = true,
             .by_line = true,
             .file = name_,
             .number = line};
      return true;
    }
    return false;
  }

  struct Position {
    size_t at;
    int64_t line;
  };
  Position position() const { return {at_, line_}; }
  void go_to(Position position) {
    at_ = position.at;
    line_ = position.line;
  }

 private:
  std::vector<Json> record() {
    std::vector<Json> cells;
    while (true) {
      cells.push_back(at_ < text_.size() && text_[at_] == '"' ? quoted() : plain());
      if (at_ >= text_.size()) {
        return cells;
      }
      const char end = text_[at_++];
      if (end == separator_) {
        continue;
      }
      if (end == '\r' && at_ < text_.size() && text_[at_] == '\n') {
        ++at_;
      }
      ++line_;
      return cells;
    }
  }

  Json plain() {
    const char ends[] = {separator_, '\n', '\r', '\0'};
    const size_t end = std::min(text_.find_first_of(ends, at_), text_.size());
    const std::string_view cell = text_.substr(at_, end - at_);
    at_ = end;
    return cell.empty() ? Json() : Json(cell);
  }

  Json quoted() {
    std::string cell;
    ++at_;
    while (true) {
      const size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) {
        throw fail("a quoted cell begins in this row and never ends");
      }
      const std::string_view part = text_.substr(at_, quote - at_);
      line_ += std::count(part.begin(), part.end(), '\n');
      cell += part;
      at_ = quote + 1;
      if (at_ >= text_.size() || text_[at_] != '"') {
        break;
      }
      cell += '"';
      ++at_;
    }
    const char after = at_ < text_.size() ? text_[at_] : '\n';
    if (after != separator_ && after != '\n' && after != '\r') {
      throw fail("a quoted cell is followed by more text");
    }
    return cell;
  }

  Error fail(std::string message) const {
    return Error("D012", std::move(message))
        .at(fmt::format("{}:{}", *name_, row_line_))
        .hint(
            "quote cells that hold separators, quotes or line breaks, and double the quotes "
            "inside");
  }

  std::shared_ptr<const DataFile> file_;
  std::string_view text_;
  char separator_;
  std::shared_ptr<const std::string> name_;
  std::vector<std::string> columns_;
  size_t at_ = 0;
  int64_t line_ = 1, row_line_ = 1;
};

constexpr int64_t kEvery = 64;

class CsvRows : public RowFile {
 public:
  CsvRows(const std::filesystem::path& path, char separator)
      : reader_(std::make_unique<CsvReader>(path, separator)) {
    CsvReader walker(*reader_);
    RawRow row;
    for (CsvReader::Position position = walker.position(); walker.next(row);
         position = walker.position()) {
      if (count_++ % kEvery == 0) {
        positions_.push_back(position);
      }
    }
  }

  int64_t count() const override { return count_; }
  void read(int64_t i, RawRow& row) const override {
    CsvReader walker(*reader_);
    walker.go_to(positions_[static_cast<size_t>(i / kEvery)]);
    for (int64_t skip = i % kEvery; skip >= 0; --skip) {
      walker.next(row);
    }
  }
  int64_t chunk_end(int64_t i) const override { return std::min(i + kEvery, count_); }

 private:
  std::unique_ptr<CsvReader> reader_;
  std::vector<CsvReader::Position> positions_;
  int64_t count_ = 0;
};

}  // namespace

std::unique_ptr<RowFile> open_csv_rows(const std::filesystem::path& path, char separator) {
  return std::make_unique<CsvRows>(path, separator);
}

std::unique_ptr<RowReader> open_csv(const std::filesystem::path& path) {
  return std::make_unique<CsvReader>(path, ',');
}

std::unique_ptr<RowReader> open_tsv(const std::filesystem::path& path) {
  return std::make_unique<CsvReader>(path, '\t');
}

}  // namespace sft
