// Plain text: one row a line, in the column "text"; empty lines are rows too, and a
// carriage return ends a line, as in `datasets`.
#include "data/read/compressed.h"
#include "data/read/line_ends.h"
#include "data/read/reader.h"

namespace sft {

namespace {

class TextReader : public RowReader {
 public:
  explicit TextReader(const std::filesystem::path& path)
      : file_(path),
        lines_(file_.text()),
        rest_(lines_.text()),
        name_(std::make_shared<const std::string>(path.string())) {}

  bool next(RawRow& row) override {
    if (rest_.empty()) {
      return false;
    }
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    row = {.value = Json{{"text", line}},
           .parsed = true,
           .by_line = true,
           .file = name_,
           .number = ++line_};
    return true;
  }

 private:
  DataFile file_;
  PlainLines lines_;
  std::string_view rest_;
  std::shared_ptr<const std::string> name_;
  int64_t line_ = 0;
};

}  // namespace

std::unique_ptr<RowReader> open_text(const std::filesystem::path& path) {
  return std::make_unique<TextReader>(path);
}

}  // namespace sft
