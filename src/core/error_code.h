// The stable name of one kind of failure: a letter that says where the cause lies, and three digits
// ("D031"). A literal converts where a code is wanted, and one of another form does not compile.
// What each code means stands in core/error_codes; `sft explain D031` prints it.
#pragma once

#include <string_view>

namespace sft {

class Code {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): "D031" is a code where one is wanted
  consteval Code(const char (&text)[5]) {
    if (std::string_view("CDMGSNX").find(text[0]) == std::string_view::npos) {
      throw "a code begins with one of the letters C D M G S N X";
    }
    for (int i = 0; i < kLength; ++i) {
      if (i > 0 && (text[i] < '0' || text[i] > '9')) {
        throw "a code is a letter and three digits";
      }
      text_[i] = text[i];
    }
  }

  constexpr char letter() const { return text_[0]; }
  constexpr std::string_view text() const { return {text_, kLength}; }
  friend constexpr bool operator==(const Code& a, const Code& b) { return a.text() == b.text(); }

 private:
  static constexpr int kLength = 4;
  char text_[kLength] = {};
};

}  // namespace sft
