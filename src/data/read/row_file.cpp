#include "data/read/row_file.h"

#include "core/contained.h"

namespace sft {

std::unique_ptr<RowFile> open_row_file(const std::filesystem::path& path, ThreadPool& pool) {
  check_is_data(path);
  const FileFormat* format = format_of(path);
  if (format == nullptr || !std::filesystem::is_regular_file(path)) {
    open_reader(path);  // says what is wrong
    return nullptr;
  }
  if (format->open == open_json) {
    return open_json_rows(path, pool);
  }
  if (format->open == open_text) {
    return open_line_file(DataFile(path), Lines::text, pool);
  }
  if (format->open == open_csv || format->open == open_tsv) {
    return open_csv_rows(path, format->open == open_csv ? ',' : '\t');
  }
  return format->open == open_arrow ? open_arrow_rows(path) : nullptr;
}

}  // namespace sft
