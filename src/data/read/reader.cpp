#include "data/read/reader.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/contained.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/strings.h"
#include "data/find/glob.h"
#include "data/read/python_json.h"
#include "text/unicode.h"

namespace sft {

namespace {

constexpr std::array kFormats = {
    FileFormat{"parquet", "parquet", open_arrow}, FileFormat{"arrow", "arrow", open_arrow},
    FileFormat{"json", "jsonl", open_json},       FileFormat{"json", "json", open_json},
    FileFormat{"csv", "csv", open_csv},           FileFormat{"text", "txt", open_text},
    FileFormat{"csv", "tsv", open_tsv},           FileFormat{"json", "ndjson", open_json},
};

const char* kind_at(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? name_of_mode(info.st_mode) : "nothing";
}

}  // namespace

std::string RawRow::place() const {
  return by_line ? fmt::format("{}:{}", *file, number) : fmt::format("{}, row {}", *file, number);
}

Json RawRow::row_of_batch(const std::vector<std::string>* columns) const {
  try {
    return batch->row(in_batch, columns);
  } catch (Error& e) {
    throw e.at(place());
  }
}

Json RawRow::json(const std::vector<std::string>* columns) const {
  Json row = batch != nullptr ? row_of_batch(columns) : value;
  if (!parsed && batch == nullptr) {
    if (too_deep(text)) {
      throw Error("D010", fmt::format("this row is nested more than {} deep", kMaxJsonDepth))
          .at(place())
          .hint("repair or remove it");
    }
    try {
      row = parse_python_json(text);
    } catch (const Json::parse_error& e) {
      const bool is_utf8 = find_invalid_utf8(text) == std::string_view::npos;
      throw Error("D010", what_is_wrong(text, e))
          .at(place())
          .hint(is_utf8 ? "every line of a .jsonl file is one complete JSON object; repair or "
                          "remove this one"
                        : fmt::format("save it as UTF-8, where it is Latin-1 with: iconv -f "
                                      "LATIN1 -t UTF-8 {} > utf8.jsonl",
                                      *file));
    } catch (const Json::out_of_range&) {
      throw Error("D010", "this row has a number that is too large for a double")
          .at(place())
          .hint("write a number below 1.8e308");
    }
  }
  if (!row.is_object()) {
    throw Error("D011", fmt::format("a row must be a JSON object, this one is {} {}",
                                    row.is_array() ? "an" : "a", row.type_name()))
        .at(place())
        .hint("write rows as objects with named columns, for example {\"text\": \"...\"}");
  }
  return row;
}

std::span<const FileFormat> file_formats() { return kFormats; }

const FileFormat* format_of(const std::filesystem::path& path) {
  // The last ending that is one: "train.jsonl.gz" and "train.json.bak" are JSON.
  const std::vector<std::string> endings = split(to_lower(path.filename().string()), '.');
  for (size_t i = endings.size(); i-- > 1;) {
    const auto* found = std::ranges::find(kFormats, endings[i], &FileFormat::extension);
    if (found != kFormats.end()) {
      return found;
    }
  }
  return nullptr;
}

std::unique_ptr<RowReader> open_reader(const std::filesystem::path& path) {
  check_is_data(path);
  if (!is_file(path)) {
    throw Error("D001", is_there(path)
                            ? fmt::format("{} is {}, not a data file", path.string(), kind_at(path))
                            : fmt::format("there is no data file {}", path.string()))
        .at(path.string());
  }
  if (const FileFormat* format = format_of(path)) {
    return format->open(path);
  }
  std::string known;
  for (const FileFormat& format : kFormats) {
    known += fmt::format("{}.{}", known.empty() ? "" : ", ", format.extension);
  }
  throw Error("D003", fmt::format("{} is in no format that can be read", path.filename().string()))
      .at(path.string())
      .hint(fmt::format("formats are told by the extension: {}; each may be followed by .gz, "
                        ".zst, .bz2 or .xz",
                        known));
}

}  // namespace sft
