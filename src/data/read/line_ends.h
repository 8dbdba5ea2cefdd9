// Ends of lines as Python reads them: a line feed, a carriage return, or both. Used by the readers
// of text files.
#pragma once

#include <string>
#include <string_view>

namespace sft {

// Where the first line of a text ends: at a line feed, a carriage return that none follows, or the
// text's end. (Of a line that both end, the return is part of what is given.)
inline size_t end_of_line(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t at = line.find('\r');
  return at != std::string_view::npos && at + 1 < line.size() ? at : line.size();
}
// Whether some line of a text ends by a carriage return alone.
bool has_lone_return(std::string_view text);
// With a line feed at the end of every line.
std::string with_plain_line_ends(std::string_view text);

// A text whose lines all end by a line feed: the one given, which must live as long, or a copy of
// it where that needs one. Not to be moved.
class PlainLines {
 public:
  explicit PlainLines(std::string_view text)
      : copy_(has_lone_return(text) ? with_plain_line_ends(text) : ""),
        text_(copy_.empty() ? text : std::string_view(copy_)) {}
  PlainLines(const PlainLines&) = delete;
  PlainLines& operator=(const PlainLines&) = delete;
  std::string_view text() const { return text_; }

 private:
  std::string copy_;
  std::string_view text_;
};

}  // namespace sft
