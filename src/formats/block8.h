// The 256 values that the codes of 8-bit states stand for, times the scale of their tile. The
// dynamic data type of Dettmers, "8-bit approximations for parallelism in deep learning" (2015), as
// bitsandbytes tabulates it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace sft::block8 {

inline constexpr std::size_t kCodes = 256;

// Numbers with the same exponent and leading kMantissa bits are a bucket; kBuckets of them reach
// from below the least value to 1.
inline constexpr int kMantissa = 6;
inline constexpr int kFirstBucket = (127 - 23) << kMantissa;
inline constexpr int kBuckets = (23 << kMantissa) + 1;
inline constexpr int kSteps = 2;  // so many codes above its least one does a bucket reach

struct Book {
  float values[kCodes];  // rising
  // x belongs to a code above c from borders[c] on. Of two values that are equally near it is the
  // even code's, where a search by halves ends, as in bitsandbytes. The last is no number.
  float borders[kCodes];
  uint8_t starts[2 * kBuckets];  // a bucket's least code; those of negative numbers behind
};

// Of first moments, whose sign is never lost, and of second moments.
std::array<Book, 2> books();

}  // namespace sft::block8
