// A fast 128-bit hash of contents, for naming caches. Not cryptographic: it tells versions of the
// same thing apart, and nobody gains by a collision in his own cache.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sft {

class ContentHash {
 public:
  // Each text counts with its length, so that "ab", "c" and "a", "bc" differ.
  ContentHash& add(std::string_view text);
  ContentHash& add(int64_t number);
  // Of numbers, by their bytes.
  template <class T>
    requires std::is_integral_v<T>
  ContentHash& add(std::span<const T> numbers) {
    return add(
        std::string_view(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()));
  }
  template <class T>
    requires std::is_integral_v<T>
  ContentHash& add(const std::vector<T>& numbers) {
    return add(std::span<const T>(numbers));
  }
  std::string hex() const;  // 32 digits
  uint64_t low() const { return a_; }

 private:
  void mix(uint64_t word);
  uint64_t a_ = 0x9E3779B97F4A7C15U, b_ = 0xC2B2AE3D27D4EB4FU;
};

}  // namespace sft
