// Resolves and reads data sets for tests/peers/datasets_layouts.py: one case a line on stdin, as
// JSON, one answer a line on stdout.
#include <iostream>

#include "core/error.h"
#include "data/find/resolve.h"
#include "data/read/reader.h"

namespace sft {
namespace {

int64_t count(const DatasetFiles& files) {
  int64_t rows = 0;
  RawRow row;
  for (const auto& file : files.files) {
    for (const auto reader = open_reader(file); reader->next(row);) {
      ++rows;
    }
  }
  return rows;
}

Json read(const Json& test) {
  DatasetSource source{
      test["name"], {}, test.value("data_dir", ""), test.value("data_files", Json())};
  if (test.contains("config")) {
    source.config = test["config"];
  }
  try {
    Json rows = Json::array();
    for (const DatasetFiles& part : resolve_splits(source, test["split"], {})) {
      const RowRange kept =
          part.slice.empty() ? RowRange{0, INT64_MAX} : slice_range(part.slice, count(part));
      int64_t at = 0;
      RawRow row;
      for (const auto& file : part.files) {
        for (const auto reader = open_reader(file); reader->next(row); ++at) {
          if (at >= kept.begin && at < kept.end) {
            rows.push_back(row.json());
          }
        }
      }
    }
    return {{"rows", rows}};
  } catch (const Error& e) {
    return {{"error", e.message()}, {"code", e.code().text()}};
  }
}

}  // namespace
}  // namespace sft

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << sft::read(sft::Json::parse(line))
                     .dump(-1, ' ', false, sft::Json::error_handler_t::replace)
              << std::endl;
  }
}
