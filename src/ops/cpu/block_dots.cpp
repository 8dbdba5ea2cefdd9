// Rows in ggml's blocks times a vector of 8-bit codes (row_dots.h). The codes of 16 values at a
// time lie in vectors of the compiler's own (no intrinsics): the loops of simd.h would take the
// narrowest vector that holds 16 bytes for all that follows. What adds up products is 16 floats,
// one vector for x86-64-v4 and two below it, so each function is there twice.
#include <cstring>

#include "core/error.h"
#include "ops/cpu/row_dots.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

using Bytes = const uint8_t*;

using Bytes16 = uint8_t __attribute__((vector_size(16)));
using Signed16 = int8_t __attribute__((vector_size(16)));
using Codes = int16_t __attribute__((vector_size(32)));
using Bits = uint16_t __attribute__((vector_size(32)));
using Whole16 = int32_t __attribute__((vector_size(64)));
using Float16x = float __attribute__((vector_size(64)));
using Codes8 = int16_t __attribute__((vector_size(16)));
using Whole8 = int32_t __attribute__((vector_size(32)));
using Float8x = float __attribute__((vector_size(32)));

template <class T>
SFT_INLINE void load(const void* from, T& to) {
  std::memcpy(&to, from, sizeof(T));
}

SFT_INLINE float read_half(Bytes p) {
  _Float16 value{};
  std::memcpy(&value, p, 2);
  return static_cast<float>(value);
}

template <class Vector>
SFT_INLINE float sum_of(const Vector& v) {
  float sum = 0.0F;
  for (size_t i = 0; i < sizeof(Vector) / sizeof(float); ++i) {
    sum += v[i];
  }
  return sum;
}

// Sums by lane, added up once a row: v += scale * products.
struct WideLanes {
  Float16x v{};
  SFT_INLINE void add(const Codes& products, float scale) {
    v += scale * __builtin_convertvector(__builtin_convertvector(products, Whole16), Float16x);
  }
  SFT_INLINE float total() const { return sum_of(v); }
};
struct NarrowLanes {
  Float8x low{}, high{};
  SFT_INLINE void add(const Codes& products, float scale) {
    Codes8 a, b;
    std::memcpy(&a, &products, sizeof(a));
    std::memcpy(&b, reinterpret_cast<const std::byte*>(&products) + sizeof(a), sizeof(b));
    low += scale * __builtin_convertvector(__builtin_convertvector(a, Whole8), Float8x);
    high += scale * __builtin_convertvector(__builtin_convertvector(b, Whole8), Float8x);
  }
  SFT_INLINE float total() const { return sum_of(low) + sum_of(high); }
};

// lanes += scale * the products of 32 codes with x's; the sum of two is below 2^15.
template <class Lanes>
SFT_INLINE void add_block(Lanes& lanes, const Codes& low, const Codes& high, const int16_t* x,
                          float scale) {
  Codes a, b;
  load(x, a);
  load(x + 16, b);
  lanes.add(low * a + high * b, scale);
}

// The codes of bytes from p on; halves of bytes.
SFT_INLINE void load_bytes(Bytes p, Codes& to) {
  Bytes16 bytes;
  load(p, bytes);
  to = __builtin_convertvector(bytes, Codes);
}

// Adds 16 where the lane's bit of `bits` is set.
SFT_INLINE void add_fifth(uint16_t bits, Codes& codes) {
  constexpr Bits kLane = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                          1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  const Bits all = Bits{} + bits;
  codes |= static_cast<Codes>((all & kLane) != 0) & 16;
}

// Each format: kValues of a block in kBytes, and `block`, which adds one to the lanes and returns
// what is added beside them; `at` is the number of x's block that it begins with.

struct Eight {  // Q8_0
  static constexpr int64_t kValues = 32, kBytes = 34;
  template <class Lanes>
  SFT_INLINE static float block(Bytes p, const RoundedRow& x, int64_t at, Lanes& lanes) {
    Signed16 low, high;
    load(p + 2, low);
    load(p + 18, high);
    add_block(lanes, __builtin_convertvector(low, Codes), __builtin_convertvector(high, Codes),
              x.codes(at), read_half(p) * x.scale(at));
    return 0.0F;
  }
};

// Q4_0, Q4_1, Q5_0 and Q5_1: halves of bytes, the low ones first, with a fifth bit each where there
// is one. A value is scale * (code - kLess) + minimum.
template <bool kFifth, bool kMinimum, int kLess>
struct Halves {
  static constexpr int64_t kHead = kMinimum ? 4 : 2;
  static constexpr int64_t kValues = 32, kBytes = kHead + (kFifth ? 4 : 0) + 16;
  template <class Lanes>
  SFT_INLINE static float block(Bytes p, const RoundedRow& x, int64_t at, Lanes& lanes) {
    Codes both;
    load_bytes(p + kBytes - 16, both);
    Codes low = both & 15;
    Codes high = both >> 4;
    if constexpr (kFifth) {
      uint16_t bits[2];
      std::memcpy(bits, p + kHead, sizeof(bits));
      add_fifth(bits[0], low);
      add_fifth(bits[1], high);
    }
    const float scale = read_half(p);
    add_block(lanes, low, high, x.codes(at), scale * x.scale(at));
    const float minimum = kMinimum ? read_half(p + 2) : 0.0F;
    return (minimum - scale * static_cast<float>(kLess)) * x.sum(at);
  }
};

// The eight scales and minima of 6 bits in 12 bytes.
struct GroupScales {
  uint8_t scale[8], minimum[8];
  SFT_INLINE explicit GroupScales(Bytes p) {
    for (int j = 0; j < 4; ++j) {
      scale[j] = p[j] & 63;
      minimum[j] = p[j + 4] & 63;
      scale[j + 4] = static_cast<uint8_t>((p[j + 8] & 15) | (p[j] >> 6) << 4);
      minimum[j + 4] = static_cast<uint8_t>(p[j + 8] >> 4 | (p[j + 4] >> 6) << 4);
    }
  }
};

// Q4_K, and Q5_K with a fifth bit of each value: eight groups of 32, two of them in the halves of
// 32 bytes.
template <bool kFifth>
struct Groups {
  static constexpr int64_t kValues = 256, kBytes = kFifth ? 176 : 144;
  template <class Lanes>
  SFT_INLINE static float block(Bytes p, const RoundedRow& x, int64_t at, Lanes& lanes) {
    const float d = read_half(p);
    const float least = read_half(p + 2);
    const GroupScales scales(p + 4);
    float beside = 0.0F;
    for (int pair = 0; pair < 4; ++pair) {
      Codes first, second;
      load_bytes(p + (kFifth ? 48 : 16) + pair * 32, first);
      load_bytes(p + (kFifth ? 48 : 16) + pair * 32 + 16, second);
      for (int half = 0; half < 2; ++half) {
        const int group = 2 * pair + half;
        Codes low = half == 0 ? first & 15 : first >> 4;
        Codes high = half == 0 ? second & 15 : second >> 4;
        if constexpr (kFifth) {
          Codes a, b;
          load_bytes(p + 16, a);
          load_bytes(p + 32, b);
          low |= (a >> static_cast<int16_t>(group) & 1) << 4;
          high |= (b >> static_cast<int16_t>(group) & 1) << 4;
        }
        const int64_t of_x = at + group;
        add_block(lanes, low, high, x.codes(of_x),
                  d * static_cast<float>(scales.scale[group]) * x.scale(of_x));
        beside += static_cast<float>(scales.minimum[group]) * x.sum(of_x);
      }
    }
    return -least * beside;
  }
};

// Q6_K: 16 groups of 16, each with a scale; four bits of a value and two that lie apart.
struct Six {
  static constexpr int64_t kValues = 256, kBytes = 210;
  template <class Lanes>
  SFT_INLINE static float block(Bytes p, const RoundedRow& x, int64_t at, Lanes& lanes) {
    const auto* const scales = reinterpret_cast<const int8_t*>(p + 192);
    const float d = read_half(p + 208);
    for (int half = 0; half < 2; ++half) {
      for (int side = 0; side < 2; ++side) {  // of 32 values
        Codes fours[2], twos;
        load_bytes(p + half * 64 + side * 16, fours[0]);
        load_bytes(p + half * 64 + 32 + side * 16, fours[1]);
        load_bytes(p + 128 + half * 32 + side * 16, twos);
        for (int quarter = 0; quarter < 4; ++quarter) {
          const Codes& both = fours[quarter % 2];
          const Codes four = quarter < 2 ? both & 15 : both >> 4;
          const Codes two = (twos >> static_cast<int16_t>(2 * quarter) & 3) << 4;
          const int64_t of_x = at + half * 4 + quarter;
          Codes codes;
          load(x.codes(of_x) + side * 16, codes);
          lanes.add(((four | two) - 32) * codes,
                    d * static_cast<float>(scales[half * 8 + quarter * 2 + side]) * x.scale(of_x));
        }
      }
    }
    return 0.0F;
  }
};

template <class Format, class Lanes>
SFT_INLINE void dots(Bytes rows, int64_t count, int64_t n, const RoundedRow& x, float* out) {
  for (int64_t row = 0; row < count; ++row) {
    Lanes lanes;
    float beside = 0.0F;
    for (int64_t at = 0; at < n; at += Format::kValues, rows += Format::kBytes) {
      beside += Format::block(rows, x, at / RoundedRow::kBlock, lanes);
    }
    out[row] = lanes.total() + beside;
  }
}

using Dots = void (*)(Bytes, int64_t, int64_t, const RoundedRow&, float*);

// A function for each level: templates cannot be made for several (simd.h).
#if defined(__x86_64__) && !defined(SFT_SANITIZED)
#define SFT_DOTS(name, ...)                                                                \
  [[gnu::target("arch=x86-64-v4")]] void name##_v4(Bytes rows, int64_t count, int64_t n,   \
                                                   const RoundedRow& x, float* out) {      \
    dots<__VA_ARGS__, WideLanes>(rows, count, n, x, out);                                  \
  }                                                                                        \
  [[gnu::target("arch=x86-64-v3")]] void name##_v3(Bytes rows, int64_t count, int64_t n,   \
                                                   const RoundedRow& x, float* out) {      \
    dots<__VA_ARGS__, NarrowLanes>(rows, count, n, x, out);                                \
  }                                                                                        \
  void name##_any(Bytes rows, int64_t count, int64_t n, const RoundedRow& x, float* out) { \
    dots<__VA_ARGS__, NarrowLanes>(rows, count, n, x, out);                                \
  }                                                                                        \
  Dots name() {                                                                            \
    return __builtin_cpu_supports("x86-64-v4")   ? name##_v4                               \
           : __builtin_cpu_supports("x86-64-v3") ? name##_v3                               \
                                                 : name##_any;                             \
  }
#else
#define SFT_DOTS(name, ...)                                                                \
  void name##_any(Bytes rows, int64_t count, int64_t n, const RoundedRow& x, float* out) { \
    dots<__VA_ARGS__, NarrowLanes>(rows, count, n, x, out);                                \
  }                                                                                        \
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
