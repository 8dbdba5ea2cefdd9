// Numbers as people, launchers and files write them, and the ranges they may lie in. Everything
// that turns text or JSON into a number does it here; whoever asks says what the number is in the
// error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "core/json_fwd.h"

namespace sft {

// The largest count, size or step that an option may be, unless it says otherwise: products of two
// of them fit 64 bits.
inline constexpr int64_t kMostCount = (int64_t{1} << 31) - 1;
// torch and numpy take seeds up to here.
inline constexpr int64_t kMostSeed = (int64_t{1} << 32) - 1;
inline constexpr int64_t kMostThreads = 4096;

// A decimal whole number, all of the text, between `low` and `high`; nothing otherwise. One "+" or
// "-" may come before it.
std::optional<int64_t> whole_number(std::string_view text, int64_t low = INT64_MIN,
                                    int64_t high = INT64_MAX);
// A finite number, all of the text.
std::optional<double> real_number(std::string_view text);
// A number that is well written and that no int64_t (`whole`) or double can hold.
bool is_beyond_numbers(std::string_view text, bool whole);

// The same of a JSON value: 8 and 8.0 are whole, 3.9, "8" and true are not.
std::optional<int64_t> json_whole(const Json& value, int64_t low, int64_t high);
std::optional<double> json_real(const Json& value, double low, double high);

// Nothing when the product does not fit. Factors are not negative.
std::optional<int64_t> product(std::initializer_list<int64_t> factors);

}  // namespace sft
