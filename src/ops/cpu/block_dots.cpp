// Rows in ggml's blocks times a vector of 8-bit codes (row_dots.h), eight of its blocks at a time:
// the codes of 256 values are laid out as bytes, whole numbers are multiplied and added up, and
// their sums meet the scales in one vector. What unpacks codes is written in vectors of the
// compiler's own (no intrinsics): left to itself it takes the narrowest one that holds a block.
#include <cstring>
#include <type_traits>

#include "core/error.h"
#include "ops/cpu/row_dots.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

using Bytes = const uint8_t*;

constexpr int kBlock = static_cast<int>(RoundedRow::kBlock);
constexpr int kChunk = static_cast<int>(RoundedRow::kChunk);
static_assert(kChunk == 8 && kBlock == 32);

using Bytes16 = uint8_t __attribute__((vector_size(16)));
using Bytes32 = uint8_t __attribute__((vector_size(32)));
using Bytes8 = uint8_t __attribute__((vector_size(8)));
using Halves8 = int16_t __attribute__((vector_size(16)));
using Whole8 = int32_t __attribute__((vector_size(32)));
using Float8x = float __attribute__((vector_size(32)));

template <class T>
SFT_INLINE void load(const void* from, T& to) {
  std::memcpy(&to, from, sizeof(T));
}

SFT_INLINE int16_t half_bits(Bytes p) {
  int16_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

// float16 in every lane, denormals too; what is not finite comes out as 65536 and more.
SFT_INLINE void widen_halves(const Halves8& bits, Float8x& to) {
  const Whole8 wide = __builtin_convertvector(bits, Whole8) << 13 & static_cast<int>(0x8fffe000U);
  load(&wide, to);
  to *= 0x1p112F;
}

// What eight blocks of a row stand for: scale * ((code - offset) . x) - minimum * (sum of x), an
// offset that belongs to the format.
struct Chunk {
  alignas(64) uint8_t codes[kChunk * kBlock];
  Float8x scale, minimum;
};

// The halves of 16 bytes: the low ones first.
SFT_INLINE void lay_halves(Bytes p, Bytes32& codes) {
  Bytes16 both;
  load(p, both);
  const Bytes16 low = both & 15;
  const Bytes16 high = both >> 4;
  codes = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                  16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
}

// Adds 16 to a code whose bit among the 32 from p on is set.
SFT_INLINE void add_fifth(Bytes p, Bytes32& codes) {
  using Words8 = uint32_t __attribute__((vector_size(32)));
  // From the half that a byte goes to: processors move none across.
  constexpr Bytes32 kByte = {0,  0,  0,  0,  0,  0,  0,  0,  1,  1,  1,  1,  1,  1,  1,  1,
                             18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19};
  constexpr Bytes32 kBit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                            1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint32_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  const Words8 all = {bits, bits, bits, bits, bits, bits, bits, bits};
  Bytes32 bytes, fifth;
  load(&all, bytes);
  const auto set = (__builtin_shuffle(bytes, kByte) & kBit) == kBit;
  load(&set, fifth);
  codes |= fifth & 16;
}

// The bits kMask of each byte of `bytes` << left, or >> -left; there are no shifts of bytes, so
// those of 16 bits are taken.
template <uint8_t kMask>
SFT_INLINE void move_bits(const Bytes32& bytes, int left, Bytes32& to) {
  using Words16 = uint16_t __attribute__((vector_size(32)));
  Words16 words;
  load(&bytes, words);
  words = left < 0 ? words >> -left : words << left;
  load(&words, to);
  to &= kMask;
}

// Each format: kValues of a block in kBytes, kOffset, whether there are minima, and `unpack`, which
// lays out `count` blocks of 32; the scales of others are 0.

struct Eight {  // Q8_0
  static constexpr int64_t kValues = 32, kBytes = 34;
  static constexpr int kOffset = 128;
  static constexpr bool kMinimum = false;
  SFT_INLINE static void unpack(Bytes p, int count, Chunk& chunk) {
    Halves8 scales{};
#pragma GCC unroll 8
    for (int b = 0; b < count; ++b, p += kBytes) {
      Bytes32 codes;
      load(p + 2, codes);
      codes ^= 128;
      std::memcpy(chunk.codes + b * kBlock, &codes, sizeof(codes));
      scales[b] = half_bits(p);
    }
    widen_halves(scales, chunk.scale);
  }
};

// Q4_0, Q4_1, Q5_0 and Q5_1: halves of bytes, the low ones first, with a fifth bit each where there
// is one. A value is scale * (code - kLess) + minimum.
template <bool kFifth, bool kHasMinimum, int kLess>
struct Halves {
  static constexpr bool kMinimum = kHasMinimum;
  static constexpr int64_t kHead = kMinimum ? 4 : 2;
  static constexpr int64_t kValues = 32, kBytes = kHead + (kFifth ? 4 : 0) + 16;
  static constexpr int kOffset = kLess;
  SFT_INLINE static void unpack(Bytes p, int count, Chunk& chunk) {
    Halves8 scales{}, minima{};
#pragma GCC unroll 8
    for (int b = 0; b < count; ++b, p += kBytes) {
      Bytes32 codes;
      lay_halves(p + kBytes - 16, codes);
      if constexpr (kFifth) {
        add_fifth(p + kHead, codes);
      }
      std::memcpy(chunk.codes + b * kBlock, &codes, sizeof(codes));
      scales[b] = half_bits(p);
      if constexpr (kMinimum) {
        minima[b] = half_bits(p + 2);
      }
    }
    widen_halves(scales, chunk.scale);
    if constexpr (kMinimum) {
      widen_halves(minima, chunk.minimum);
      chunk.minimum = -chunk.minimum;
    }
  }
};

// Q4_K, and Q5_K with a fifth bit of each value: eight groups of 32, two of them in the halves of
// 32 bytes; scales and minima are of 6 bits, in 12 bytes.
template <bool kFifth>
struct Groups {
  static constexpr int64_t kValues = 256, kBytes = kFifth ? 176 : 144;
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  SFT_INLINE static void unpack(Bytes p, int /*count*/, Chunk& chunk) {
    Bytes32 fifth{};
    if constexpr (kFifth) {
      load(p + 16, fifth);
    }
    for (int pair = 0; pair < 4; ++pair) {
      Bytes32 both;
      load(p + (kFifth ? 48 : 16) + pair * 32, both);
      Bytes32 low = both & 15;
      Bytes32 high = both >> 4;
      if constexpr (kFifth) {
        Bytes32 bits;
        move_bits<16>(fifth, 4 - 2 * pair, bits);
        low |= bits;
        move_bits<16>(fifth, 3 - 2 * pair, bits);
        high |= bits;
      }
      std::memcpy(chunk.codes + (2 * pair) * kBlock, &low, sizeof(low));
      std::memcpy(chunk.codes + (2 * pair + 1) * kBlock, &high, sizeof(high));
    }
    uint32_t words[3];
    std::memcpy(words, p + 4, sizeof(words));
    const Halves8 halves = {half_bits(p), half_bits(p + 2)};
    Float8x both;
    widen_halves(halves, both);
    constexpr uint32_t kSix = 0x3f3f3f3fU, kFour = 0x0f0f0f0fU, kTwo = 0x30303030U;
    whole_floats(words[0] & kSix, (words[2] & kFour) | (words[0] >> 2 & kTwo), chunk.scale);
    whole_floats(words[1] & kSix, (words[2] >> 4 & kFour) | (words[1] >> 2 & kTwo), chunk.minimum);
    chunk.scale *= both[0];
    chunk.minimum *= both[1];
  }

 private:
  // Eight bytes.
  SFT_INLINE static void whole_floats(uint32_t first, uint32_t last, Float8x& to) {
    const uint64_t both = uint64_t{first} | uint64_t{last} << 32;
    Bytes8 bytes;
    load(&both, bytes);
    to = __builtin_convertvector(__builtin_convertvector(bytes, Whole8), Float8x);
  }
};

// Q6_K: 16 groups of 16, each with a scale; four bits of a value and two that lie apart.
struct Six {
  static constexpr int64_t kValues = 256, kBytes = 210;
  static constexpr int kOffset = 32;
  static constexpr bool kMinimum = false;
  SFT_INLINE static void unpack(Bytes p, int /*count*/, Chunk& chunk) {
    for (int half = 0; half < 2; ++half) {
      Bytes32 fours[2], twos;
      load(p + half * 64, fours[0]);
      load(p + half * 64 + 32, fours[1]);
      load(p + 128 + half * 32, twos);
      for (int quarter = 0; quarter < 4; ++quarter) {
        const Bytes32 four = quarter < 2 ? fours[quarter % 2] & 15 : fours[quarter % 2] >> 4;
        Bytes32 codes;
        move_bits<48>(twos, 4 - 2 * quarter, codes);
        codes |= four;
        std::memcpy(chunk.codes + (half * 4 + quarter) * kBlock, &codes, sizeof(codes));
      }
    }
    Float8x d;
    widen_halves(Halves8{} + half_bits(p + 208), d);
    chunk.scale = d;
  }
  // Of the first halves of the blocks, or of the second ones.
  SFT_INLINE static void scales_of(Bytes p, int half, Whole8& scales) {
    Halves8 both;  // a block's two scales
    load(p + 192, both);
    const Halves8 one = half == 0 ? both << 8 >> 8 : both >> 8;
    scales = __builtin_convertvector(one, Whole8);
  }
};

// Adds up products of whole numbers, which processors do four at a time; unrolled, the loop would
// not be seen as that.
template <int kCount, class Code>
SFT_INLINE int32_t whole_dot(const uint8_t* codes, const Code* x) {
  int32_t sum = 0;
#pragma GCC unroll 1
  for (int i = 0; i < kCount; ++i) {
    sum += codes[i] * x[i];
  }
  return sum;
}

// lanes += the products of `count` blocks of a row at p, with x's from block `at` on.
template <class Format, class Code>
SFT_INLINE void add_chunk(Bytes p, int count, const RoundedRow& x, int64_t at, Float8x& lanes) {
  constexpr int64_t kBytes = kChunk * kBlock / Format::kValues * Format::kBytes;
  fetch_ahead(p, kBytes);
  Chunk chunk;
  Format::unpack(p, count, chunk);
  const Code* const codes = x.codes<Code>(at);
  Whole8 first_halves, second_halves, whole{};
  load(x.code_sums(0, at), first_halves);
  load(x.code_sums(1, at), second_halves);
  Float8x of_x;
  load(x.scales(at), of_x);
  if constexpr (std::is_same_v<Format, Six>) {
    Whole8 low{}, high{}, low_scales, high_scales;
    for (int b = 0; b < count; ++b) {
      low[b] = whole_dot<kBlock / 2>(chunk.codes + b * kBlock, codes + b * kBlock);
      high[b] = whole_dot<kBlock / 2>(chunk.codes + b * kBlock + kBlock / 2,
                                      codes + b * kBlock + kBlock / 2);
    }
    Six::scales_of(p, 0, low_scales);
    Six::scales_of(p, 1, high_scales);
    whole = low_scales * (low - Format::kOffset * first_halves) +
            high_scales * (high - Format::kOffset * second_halves);
  } else {
    for (int b = 0; b < count; ++b) {
      whole[b] = whole_dot<kBlock>(chunk.codes + b * kBlock, codes + b * kBlock);
    }
    whole -= Format::kOffset * (first_halves + second_halves);
  }
  lanes += chunk.scale * of_x * __builtin_convertvector(whole, Float8x);
  if constexpr (Format::kMinimum) {
    lanes -= chunk.minimum * of_x * __builtin_convertvector(first_halves + second_halves, Float8x);
  }
}

template <class Format, class Code>
SFT_INLINE void dots(Bytes rows, int64_t count, int64_t n, const RoundedRow& x, float* out) {
  const int64_t blocks = n / kBlock;
  const int64_t chunk_bytes = kChunk * kBlock / Format::kValues * Format::kBytes;
  for (int64_t row = 0; row < count; ++row) {
    Float8x lanes{};
    int64_t at = 0;
    for (; at + kChunk <= blocks; at += kChunk, rows += chunk_bytes) {
      add_chunk<Format, Code>(rows, kChunk, x, at, lanes);
    }
    if (Format::kValues == kBlock && at < blocks) {
      const auto left = static_cast<int>(blocks - at);
      add_chunk<Format, Code>(rows, left, x, at, lanes);
      rows += left * Format::kBytes;
    }
    float sum = 0.0F;
    for (int i = 0; i < kChunk; ++i) {
      sum += lanes[i];
    }
    out[row] = sum;
  }
}

using Dots = void (*)(Bytes, int64_t, int64_t, const RoundedRow&, float*);

// A function for each level: templates cannot be made for several (simd.h). Two levels multiply
// bytes, the others codes of 16 bits.
#define SFT_DOTS_AT(name, attribute, code, ...)                                                \
  attribute void name(Bytes rows, int64_t count, int64_t n, const RoundedRow& x, float* out) { \
    dots<__VA_ARGS__, code>(rows, count, n, x, out);                                           \
  }
#if defined(__x86_64__) && !defined(SFT_SANITIZED)
#define SFT_DOTS(name, ...)                                                                       \
  SFT_DOTS_AT(name##_v4_bytes, [[gnu::target("arch=x86-64-v4,avx512vnni")]], int8_t, __VA_ARGS__) \
  SFT_DOTS_AT(name##_v3_bytes, [[gnu::target("arch=x86-64-v3,avxvnni")]], int8_t, __VA_ARGS__)    \
  SFT_DOTS_AT(name##_v3, [[gnu::target("arch=x86-64-v3")]], int16_t, __VA_ARGS__)                 \
  SFT_DOTS_AT(name##_any, , int16_t, __VA_ARGS__)                                                 \
  Dots name() {                                                                                   \
    if (__builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni")) {            \
      return name##_v4_bytes;                                                                     \
    }                                                                                             \
    if (__builtin_cpu_supports("x86-64-v3")) {                                                    \
      return __builtin_cpu_supports("avxvnni") ? name##_v3_bytes : name##_v3;                     \
    }                                                                                             \
    return name##_any;                                                                            \
  }
#else
#define SFT_DOTS(name, ...)                       \
  SFT_DOTS_AT(name##_any, , int16_t, __VA_ARGS__) \
  Dots name() { return name##_any; }
#endif
SFT_DOTS(dots_q8_0, Eight)
SFT_DOTS(dots_q4_0, Halves<false, false, 8>)
SFT_DOTS(dots_q4_1, Halves<false, true, 0>)
SFT_DOTS(dots_q5_0, Halves<true, false, 16>)
SFT_DOTS(dots_q5_1, Halves<true, true, 0>)
SFT_DOTS(dots_q4_k, Groups<false>)
SFT_DOTS(dots_q5_k, Groups<true>)
SFT_DOTS(dots_q6_k, Six)

Dots dots_of(DType type) {
  switch (type) {
    case DType::q8_0:
      return dots_q8_0();
    case DType::q4_0:
      return dots_q4_0();
    case DType::q4_1:
      return dots_q4_1();
    case DType::q5_0:
      return dots_q5_0();
    case DType::q5_1:
      return dots_q5_1();
    case DType::q4_k:
      return dots_q4_k();
    case DType::q5_k:
      return dots_q5_k();
    case DType::q6_k:
      return dots_q6_k();
    default:
      return nullptr;
  }
}

}  // namespace

bool takes_rounded_row(DType type) { return dots_of(type) != nullptr; }

void rounded_dots(const Tensor& weight, int64_t first, int64_t count, const RoundedRow& x,
                  float* out) {
  const int64_t n = weight.shape[1];
  const Packing& packing = packing_of(weight.dtype);
  SFT_ASSERT(n % packing.values == 0);
  const int64_t row_bytes = n / packing.values * packing.bytes;
  dots_of(weight.dtype)(weight.as<uint8_t>() + first * row_bytes, count, n, x, out);
}

}  // namespace sft::cpu
