// Ends of lines as Python reads them: a line feed, a carriage return, or both. Used by the readers
// of text files.
#pragma once

#include <string>
#include <string_view>

namespace sft {

// The first line that a line feed ends, with it.
inline std::string_view first_line_of(std::string_view text) {
  const size_t end = text.find('\n');
  return end == std::string_view::npos ? text : text.substr(0, end + 1);
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
