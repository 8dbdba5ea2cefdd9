// The characters whose upper or title case is more than one character (Unicode's SpecialCasing,
// unconditional part). Used by jinja_text.cpp.
#pragma once

namespace sft::jinja {

struct SpecialCase {
  char32_t from;
  char32_t upper[3], title[3];  // padded with 0
};

const SpecialCase* special_case(char32_t c);  // null for the ordinary ones

}  // namespace sft::jinja
