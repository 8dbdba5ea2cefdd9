// Files of one row a line: counting at the speed of memory, and finding any row.
//
// The file is cut into blocks. Of each the index holds how many rows and lines begin before it; the
// row itself is found by walking the lines of its block.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "core/strings.h"
#include "data/read/line_ends.h"
#include "data/read/row_file.h"

namespace sft {

namespace {

constexpr size_t kBlock = 64 * 1024;
constexpr int64_t kChunkRows = 128;

// Line ends in [begin, end) of a text, those that a line may follow which is blank, and carriage
// returns that no line feed follows, which end a line as well.
struct Ends {
  int64_t all = 0, before_blank = 0, lone_returns = 0;
};

// All sums fit a byte for 255 characters, which lets the compiler work on whole vectors.
Ends count_ends(const char* text, size_t begin, size_t end) {
  Ends out;
  while (begin < end) {
    const size_t stop = std::min(begin + 192, end);
    uint8_t all = 0, blank = 0, lone = 0;
    for (size_t i = begin; i < stop; ++i) {
      const auto is_end = static_cast<uint8_t>(text[i] == '\n');
      all = static_cast<uint8_t>(all + is_end);
      blank = static_cast<uint8_t>(
          blank + (is_end & static_cast<uint8_t>(static_cast<unsigned char>(text[i + 1]) <= ' ')));
      lone = static_cast<uint8_t>(lone + (static_cast<uint8_t>(text[i] == '\r') &
                                          static_cast<uint8_t>(text[i + 1] != '\n')));
    }
    out.all += all;
    out.before_blank += blank;
    out.lone_returns += lone;
    begin = stop;
  }
  return out;
}

class LineFile : public RowFile {
 public:
  LineFile(DataFile file, Lines lines, ThreadPool& pool)
      : file_(std::move(file)),
        text_(file_.text()),
        lines_(lines),
        name_(std::make_shared<const std::string>(file_.path().string())) {
    if (lines == Lines::json && text_.starts_with("\xef\xbb\xbf")) {
      text_.remove_prefix(3);
    }
    if (count_lines(pool) > 0) {
      plain_ = with_plain_line_ends(text_);
      text_ = plain_;
      count_lines(pool);
    }
  }

  int64_t count() const override { return starts_.back().rows; }

  void read(int64_t i, RawRow& row) const override {
    const auto after = std::ranges::upper_bound(starts_, i, {}, &Start::rows);
    const auto block = static_cast<size_t>(after - starts_.begin()) - 1;
    int64_t skip = i - starts_[block].rows;
    int64_t line = starts_[block].lines;
    for (size_t at = first_line(block);; ++line) {
      const size_t end = std::min(text_.find('\n', at), text_.size());
      const std::string_view found = text_.substr(at, end - at);
      if (is_row(found) && skip-- == 0) {
        row = row_of_line(found, lines_, name_);
        row.number = line + 1;
        return;
      }
      at = end + 1;
    }
  }

  int64_t chunk_end(int64_t i) const override {
    return std::min((i / kChunkRows + 1) * kChunkRows, count());
  }

 private:
  static constexpr size_t kGroup = 64;  // blocks that a thread counts at a time

  struct Start {
    int64_t rows = 0, lines = 0;  // that begin before the block
  };

  // Fills the index; the number of carriage returns by which lines end.
  int64_t count_lines(ThreadPool& pool) {
    const size_t blocks = (text_.size() + kBlock - 1) / kBlock;
    starts_.assign(blocks + 1, {});
    std::atomic<int64_t> lone_returns{0};
    pool.for_each(static_cast<int64_t>((blocks + kGroup - 1) / kGroup), [&](int64_t group, int) {
      const size_t begin = static_cast<size_t>(group) * kGroup;
      for (size_t b = begin; b < std::min(begin + kGroup, blocks); ++b) {
        lone_returns += count_block(b, starts_[b + 1]);
      }
    });
    for (size_t b = 0; b < blocks; ++b) {
      starts_[b + 1].rows += starts_[b].rows;
      starts_[b + 1].lines += starts_[b].lines;
    }
    return lone_returns;
  }

  bool is_row(std::string_view line) const { return lines_ == Lines::text || !trim(line).empty(); }

  // Where the first line that begins in the block begins; at most the text's size.
  size_t first_line(size_t block) const {
    const size_t at = block * kBlock;
    return at == 0 ? 0 : std::min(text_.find('\n', at - 1), text_.size() - 1) + 1;
  }

  // The rows and lines that begin in the block; returns its carriage returns by which lines end.
  int64_t count_block(size_t block, Start& out) const {
    const size_t begin = block * kBlock;
    const size_t end = std::min(begin + kBlock, text_.size());
    // A line begins after a line end, unless that is the last character.
    const Ends ends = count_ends(text_.data(), begin == 0 ? 0 : begin - 1, end - 1);
    out = {ends.all, ends.all};
    if (begin == 0) {
      ++out.rows;
      ++out.lines;
    }
    const bool blank_first = begin == 0 && static_cast<unsigned char>(text_[0]) <= ' ';
    if (lines_ == Lines::json && (ends.before_blank > 0 || blank_first)) {
      out.rows = 0;
      for (size_t at = first_line(block); at < end;) {
        const size_t stop = std::min(text_.find('\n', at), text_.size());
        out.rows += is_row(text_.substr(at, stop - at)) ? 1 : 0;
        at = stop + 1;
      }
    }
    return ends.lone_returns;
  }

  DataFile file_;
  std::string plain_;  // its text, where some lines end by a carriage return alone
  std::string_view text_;
  Lines lines_;
  std::shared_ptr<const std::string> name_;
  std::vector<Start> starts_;
};

}  // namespace

RawRow row_of_line(std::string_view line, Lines lines, std::shared_ptr<const std::string> file) {
  RawRow row;
  row.by_line = true;
  row.file = std::move(file);
  if (lines == Lines::json) {
    row.text = trim(line);
    return row;
  }
  if (line.ends_with('\r')) {
    line.remove_suffix(1);
  }
  row.value = Json{{"text", line}};
  row.parsed = true;
  return row;
}

std::unique_ptr<RowFile> open_line_file(DataFile file, Lines lines, ThreadPool& pool) {
  return std::make_unique<LineFile>(std::move(file), lines, pool);
}

}  // namespace sft
