// Small helpers on text that several layers need.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

std::vector<std::string> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);  // ASCII

// Optimal string alignment distance (insert, delete, replace, swap of neighbours).
int edit_distance(std::string_view a, std::string_view b);
// The candidate nearest to `word`, or "" when none is within max(2, length / 3) edits.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

// As a shell takes it for one word: in quotes where it needs them.
std::string shell_word(std::string_view text);

// 1234567 -> "1,234,567".
std::string with_commas(long long n);
// 1536 -> "1.5 KiB".
std::string human_bytes(double bytes);
// 4350 -> "1 h 12 min", at most two units; "?" when it is not finite.
std::string human_seconds(double seconds);

}  // namespace sft
