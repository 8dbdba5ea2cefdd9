#include "core/numbers.h"

#include <charconv>
#include <cmath>
#include <system_error>

#include "core/json.h"

namespace sft {
namespace {

template <class T>
struct Parsed {
  T value{};
  bool well_written = false, fits = false;
};

template <class T>
Parsed<T> parse(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) {
    text.remove_prefix(1);
  }
  Parsed<T> out;
  const char* last = text.data() + text.size();
  const auto [end, failure] = std::from_chars(text.data(), last, out.value);
  out.well_written = !text.empty() && end == last && failure != std::errc::invalid_argument;
  out.fits = out.well_written && failure == std::errc();
  return out;
}

// from_chars cannot hold 1e-400 either, but that is nearly 0 and not too large.
bool is_tiny(std::string_view text) {
  return text.find("e-") != text.npos || text.find("E-") != text.npos;
}

}  // namespace

std::optional<int64_t> whole_number(std::string_view text, int64_t low, int64_t high) {
  const auto parsed = parse<int64_t>(text);
  return parsed.fits && parsed.value >= low && parsed.value <= high ? std::optional(parsed.value)
                                                                    : std::nullopt;
}

std::optional<double> real_number(std::string_view text) {
  const auto parsed = parse<double>(text);
  if (parsed.well_written && !parsed.fits && is_tiny(text)) {
    return 0.0;
  }
  return parsed.fits && std::isfinite(parsed.value) ? std::optional(parsed.value) : std::nullopt;
}

bool is_beyond_numbers(std::string_view text, bool whole) {
  if (whole) {
    const auto parsed = parse<int64_t>(text);
    return parsed.well_written && !parsed.fits;
  }
  const auto parsed = parse<double>(text);
  return parsed.well_written && !parsed.fits && !is_tiny(text);
}

std::optional<int64_t> json_whole(const Json& value, int64_t low, int64_t high) {
  int64_t number = 0;
  if (value.is_number_unsigned()) {
    const auto positive = value.get<uint64_t>();
    if (positive > static_cast<uint64_t>(INT64_MAX)) {
      return std::nullopt;
    }
    number = static_cast<int64_t>(positive);
  } else if (value.is_number_integer()) {
    number = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const auto real = value.get<double>();
    if (real != std::floor(real) || std::abs(real) > 0x1p53) {
      return std::nullopt;
    }
    number = static_cast<int64_t>(real);
  } else {
    return std::nullopt;
  }
  return number >= low && number <= high ? std::optional(number) : std::nullopt;
}

std::optional<double> json_real(const Json& value, double low, double high) {
  if (!value.is_number()) {
    return std::nullopt;
  }
  const auto number = value.get<double>();
  return number >= low && number <= high ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> product(std::initializer_list<int64_t> factors) {
  int64_t out = 1;
  for (const int64_t factor : factors) {
    if (__builtin_mul_overflow(out, factor, &out)) {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace sft
