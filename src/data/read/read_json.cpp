// JSON Lines, an array of objects, or an object of columns: told apart by what the file begins
// with.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/json_text.h"
#include "core/strings.h"
#include "data/read/compressed.h"
#include "data/read/line_ends.h"
#include "data/read/python_json.h"
#include "data/read/row_file.h"
#include "text/unicode.h"

namespace sft {

namespace {

std::string_view without_bom(std::string_view text) {
  return text.starts_with("\xef\xbb\xbf") ? text.substr(3) : text;
}

class JsonLinesReader : public RowReader {
 public:
  explicit JsonLinesReader(DataFile file)
      : file_(std::move(file)),
        rest_(without_bom(file_.text())),
        name_(std::make_shared<const std::string>(file_.path().string())) {}

  bool next(RawRow& row) override {
    while (!rest_.empty()) {
      const size_t end = end_of_line(rest_);
      const std::string_view line = trim(rest_.substr(0, end));
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++line_;
      if (!line.empty()) {
        row = {.text = std::string(line), .by_line = true, .file = name_, .number = line_};
        return true;
      }
    }
    return false;
  }

 private:
  DataFile file_;
  std::string_view rest_;
  std::shared_ptr<const std::string> name_;
  int64_t line_ = 0;
};

// {"prompt": [...], "completion": [...]} -> rows; null when the object is not made of columns.
Json rows_of_columns(const Json& object) {
  if (object.empty()) {
    return nullptr;
  }
  for (const Json& column : object) {
    if (!column.is_array() || column.size() != object.begin()->size()) {
      return nullptr;
    }
  }
  if (object.size() == 1 && std::ranges::all_of(*object.begin(), &Json::is_object)) {
    return *object.begin();  // {"data": [{...}, {...}]}
  }
  Json rows = Json::array();
  for (size_t i = 0; i < object.begin()->size(); ++i) {
    Json row = Json::object();
    for (const auto& [name, column] : object.items()) {
      row[name] = column[i];
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// Where the object that the text begins with ends; 0 when it does not.
size_t end_of_object(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      i = end_of_string(text, i);
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return i + 1;
    }
  }
  return 0;
}

Json parse_or_null(std::string_view text) {
  try {
    return parse_python_json(text);
  } catch (const Json::exception&) {
    return nullptr;
  }
}

// Objects one behind the other, over any number of lines, as rows; null when it is not that.
Json concatenated(std::string_view text) {
  Json rows = Json::array();
  for (text = trim(text); !text.empty(); text = trim(text)) {
    const size_t end = end_of_object(text);
    Json row = end == 0 ? Json() : parse_or_null(text.substr(0, end));
    if (!row.is_object()) {
      return nullptr;
    }
    rows.push_back(std::move(row));
    text.remove_prefix(end);
  }
  return rows;
}

Json parse_document(std::string_view text, const std::string& name) {
  if (too_deep(text)) {
    throw Error("D010", fmt::format("{} is nested more than {} deep", name, kMaxJsonDepth))
        .at(name)
        .hint("the file must be JSON Lines, an array of objects, or an object of columns");
  }
  try {
    return parse_python_json(text);
  } catch (const Json::parse_error& e) {
    if (Json rows = text.starts_with('{') ? concatenated(text) : Json(); !rows.is_null()) {
      return rows;
    }
    const size_t byte = std::min<size_t>(e.byte == 0 ? 0 : e.byte - 1, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(byte), '\n');
    const bool is_utf8 = find_invalid_utf8(text) == std::string_view::npos;
    throw Error("D010", fmt::format("{} is not valid {}", name, is_utf8 ? "JSON" : "UTF-8"))
        .at(fmt::format("{}:{}", name, line))
        .hint(is_utf8 ? "the file must be JSON Lines, an array of objects, or an object of columns"
                      : fmt::format("where it is Latin-1: iconv -f LATIN1 -t UTF-8 {} > utf8.json",
                                    name));
  } catch (const Json::out_of_range&) {
    throw Error("D010", fmt::format("{} has a number that is too large for a double", name))
        .at(name)
        .hint("write a number below 1.8e308");
  }
}

bool is_json(std::string_view text) { return !parse_or_null(text).is_null(); }

bool is_lines(const DataFile& file) {
  const std::string_view text = trim(without_bom(file.text()));
  const std::string_view first_line = trim(text.substr(0, text.find('\n')));
  const bool object_over_lines =
      text.starts_with('{') && !is_json(first_line) &&
      (without_compression(file.path()).extension() == ".json" ||
       std::string_view("{[,").find(first_line.back()) != std::string_view::npos);
  return !text.starts_with('[') && !object_over_lines;
}

Json document_rows(const DataFile& file) {
  Json document = parse_document(trim(without_bom(file.text())), file.path().string());
  if (document.is_object()) {
    Json rows = rows_of_columns(document);
    document = rows.is_null() ? Json::array({std::move(document)}) : std::move(rows);
  }
  return document;
}

// An array of strings is a data set with the one column "text".
RawRow row_of_value(Json value, std::shared_ptr<const std::string> name, int64_t number) {
  RawRow row;
  row.value = value.is_string() ? Json{{"text", std::move(value)}} : std::move(value);
  row.parsed = true;
  row.file = std::move(name);
  row.number = number;
  return row;
}

class JsonRowsReader : public RowReader {
 public:
  JsonRowsReader(Json rows, std::string name)
      : rows_(std::move(rows)), name_(std::make_shared<const std::string>(std::move(name))) {}

  bool next(RawRow& row) override {
    if (next_ >= rows_.size()) {
      return false;
    }
    Json value = std::move(rows_[next_++]);
    row = row_of_value(std::move(value), name_, static_cast<int64_t>(next_));
    return true;
  }

 private:
  Json rows_;
  size_t next_ = 0;
  std::shared_ptr<const std::string> name_;
};

class DocumentRows : public RowFile {
 public:
  DocumentRows(Json rows, std::string name)
      : rows_(std::move(rows)), name_(std::make_shared<const std::string>(std::move(name))) {}

  int64_t count() const override { return static_cast<int64_t>(rows_.size()); }
  void read(int64_t i, RawRow& row) const override {
    row = row_of_value(rows_[static_cast<size_t>(i)], name_, i + 1);
  }
  int64_t chunk_end(int64_t i) const override { return std::min(i + 64, count()); }

 private:
  Json rows_;
  std::shared_ptr<const std::string> name_;
};

}  // namespace

std::unique_ptr<RowReader> open_json(const std::filesystem::path& path) {
  DataFile file(path);
  if (is_lines(file)) {
    return std::make_unique<JsonLinesReader>(std::move(file));
  }
  return std::make_unique<JsonRowsReader>(document_rows(file), path.string());
}

std::unique_ptr<RowFile> open_json_rows(const std::filesystem::path& path, ThreadPool& pool) {
  DataFile file(path);
  if (is_lines(file)) {
    return open_line_file(std::move(file), Lines::json, pool);
  }
  return std::make_unique<DocumentRows>(document_rows(file), path.string());
}

}  // namespace sft
