#include "core/content_hash.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace sft {

void ContentHash::mix(uint64_t word) {
  __extension__ using uint128 = unsigned __int128;
  const uint128 product = static_cast<uint128>(a_ ^ word) * 0xD6E8FEB86659FD93U;
  const uint64_t old = b_;
  b_ = std::rotl(b_ ^ static_cast<uint64_t>(product), 23) * 0xA0761D6478BD642FU + word;
  a_ = static_cast<uint64_t>(product >> 64) + old;
}

ContentHash& ContentHash::add(std::string_view text) {
  add(static_cast<int64_t>(text.size()));
  while (!text.empty()) {
    uint64_t word = 0;
    const size_t bytes = text.size() < sizeof word ? text.size() : sizeof word;
    std::memcpy(&word, text.data(), bytes);
    mix(word);
    text.remove_prefix(bytes);
  }
  return *this;
}

ContentHash& ContentHash::add(int64_t number) {
  mix(static_cast<uint64_t>(number));
  return *this;
}

std::string ContentHash::hex() const {
  ContentHash end = *this;
  end.mix(0x5851F42D4C957F2DU);
  end.mix(a_);
  return fmt::format("{:016x}{:016x}", end.a_, end.b_);
}

}  // namespace sft
