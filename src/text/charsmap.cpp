#include "text/charsmap.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "core/error.h"
#include "text/unicode.h"

namespace sft {
namespace {

[[noreturn]] void damaged(const std::string& where, std::string_view what) {
  throw Error("M118", fmt::format("the precompiled_charsmap of {} {}", where, what))
      .hint("the tokenizer file is damaged; fetch it again");
}

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') {
    return c - 'A';
  }
  if (c >= 'a' && c <= 'z') {
    return c - 'a' + 26;
  }
  if (c >= '0' && c <= '9') {
    return c - '0' + 52;
  }
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string decode_base64(std::string_view text, const std::string& where) {
  while (!text.empty() && text.back() == '=') {
    text.remove_suffix(1);
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) {
      damaged(where, "is not base64");
    }
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return bytes;
}

// The fields of a unit of the double array, as the format packs them.
uint32_t label_of(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }
uint32_t value_of(uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

Charsmap::Charsmap(std::string_view base64, const std::string& where) {
  const std::string bytes = decode_base64(base64, where);
  uint32_t size = 0;  // of the double array in bytes, little-endian as all of it
  if (bytes.size() < sizeof(size)) {
    damaged(where, fmt::format("has {} bytes", bytes.size()));
  }
  std::memcpy(&size, bytes.data(), sizeof(size));
  if (size % 4 != 0 || size == 0 || size > bytes.size() - sizeof(size)) {
    damaged(where, fmt::format("says that its table has {} of {} bytes", size, bytes.size()));
  }
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof(size), size);
  replacements_ = bytes.substr(sizeof(size) + size);
  if (find_invalid_utf8(replacements_) != std::string::npos) {
    damaged(where, "has replacements that are not UTF-8");
  }
}

// A table that leads outside of itself ends the search there: nothing is in it, then.
std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  uint32_t at = offset_of(units_[0]);
  for (const char c : text) {
    const uint32_t byte = static_cast<unsigned char>(c);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label_of(units_[at]) != byte) {
      return std::nullopt;
    }
    const uint32_t unit = units_[at];
    at ^= offset_of(unit);
    if (!has_leaf(unit)) {
      continue;
    }
    const uint32_t value = at < units_.size() ? value_of(units_[at]) : UINT32_MAX;
    if (value > replacements_.size() ||
        (value < replacements_.size() && is_continuation(replacements_[value]))) {
      return std::nullopt;
    }
    const std::string_view rest = std::string_view(replacements_).substr(value);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

}  // namespace sft
