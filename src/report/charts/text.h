// Text and numbers as charts and pages show them.
#pragma once

#include <string>
#include <string_view>

namespace sft {

// Safe between tags and within quoted attributes of HTML and SVG. Control characters, and bytes
// that are not UTF-8, become U+FFFD.
std::string html_text(std::string_view text);

// A few significant digits, as short as they can be: 1.13, 0.0002, 161k where `compact`.
std::string short_number(double value, int digits = 4);
// 161k, 2.4M; as short_number below 10,000.
std::string compact_number(double value);
// A coordinate of a picture, to a hundredth of a pixel.
std::string coordinate(double value);
// "14:32:05", of unix seconds, in UTC.
std::string clock_time(double unix_seconds);
// "2026-11-30 14:32:05", likewise.
std::string date_and_time(double unix_seconds);

}  // namespace sft
