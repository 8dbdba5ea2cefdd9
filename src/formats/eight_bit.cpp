#include "formats/eight_bit.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "formats/convert.h"

namespace sft {

namespace {

constexpr float kInt8Most = 127.0F, kFloat8Most = 448.0F;

const float* scales_of(const Tensor& t) {
  return reinterpret_cast<const float*>(t.as<std::byte>() + scales_at(t.dtype, t.shape));
}

int64_t row_length(const Tensor& t) {
  return t.shape[0] == 0 ? 0 : t.shape.elements() / t.shape[0];
}

}  // namespace

namespace {

constexpr float float8(uint8_t x) {
  const float sign = (x & 0x80U) != 0 ? -1.0F : 1.0F;
  const uint32_t exponent = x >> 3 & 15U, mantissa = x & 7U;
  if ((x & 0x7fU) == 0x7fU) {
    return std::numeric_limits<float>::quiet_NaN();
  }
  if (exponent == 0) {
    return sign * static_cast<float>(mantissa) * 0x1p-9F;
  }
  return sign * std::bit_cast<float>((exponent + 120U) << 23 | mantissa << 20);
}

constexpr std::array<float, 256> kFloat8 = [] {
  std::array<float, 256> all{};
  for (size_t x = 0; x < all.size(); ++x) {
    all[x] = float8(static_cast<uint8_t>(x));
  }
  return all;
}();

}  // namespace

float from_float8(uint8_t x) { return kFloat8[x]; }

uint8_t to_float8(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint8_t>(bits >> 24 & 0x80U);
  const float magnitude = std::abs(x);
  if (std::isnan(x)) {
    return sign | 0x7fU;
  }
  if (magnitude >= kFloat8Most) {
    return sign | 0x7eU;
  }
  if (magnitude < 0x1p-6F) {  // multiples of 2^-9
    return sign | static_cast<uint8_t>(std::nearbyint(magnitude * 0x1p9F));
  }
  const uint32_t m = bits & 0x7fffffffU;
  const uint32_t rounded = m + 0x7ffffU + (m >> 20 & 1U);  // three bits of mantissa stay
  return sign | static_cast<uint8_t>((rounded >> 20) - (120U << 3));
}

namespace {

// A row's factor, or a tile's.
float factor(const Tensor& t, int64_t row, int64_t column) {
  switch (t.dtype) {
    case DType::i8_rows:
      return scales_of(t)[row] * (1.0F / kInt8Most);
    case DType::f8_rows:
      return scales_of(t)[row];
    default:
      return scales_of(t)[row / kScaleTile * scale_tiles(t.shape[1]) + column / kScaleTile];
  }
}

}  // namespace

void decode_eight_bit(const Tensor& packed, int64_t begin, int64_t end, float* to) {
  const auto* const codes = packed.as<uint8_t>();
  const int64_t length = row_length(packed);
  const int64_t stretch = packed.dtype == DType::f8_blocks ? kScaleTile : length;
  for (int64_t i = begin; i < end;) {
    const int64_t row = i / length, column = i % length;
    const int64_t last = std::min({end, (row + 1) * length, i - column % stretch + stretch});
    const float scale = factor(packed, row, column);
    for (; i < last; ++i) {
      const float code = packed.dtype == DType::i8_rows
                             ? static_cast<float>(static_cast<int8_t>(codes[i]))
                             : kFloat8[codes[i]];
      to[i - begin] = code * scale;
    }
  }
}

namespace {

void encode_rows(const float* values, int64_t begin, int64_t end, Tensor& packed) {
  auto* const codes = packed.as<uint8_t>();
  auto* const scales = const_cast<float*>(scales_of(packed));
  const int64_t length = row_length(packed);
  std::vector<float> x(static_cast<size_t>(length));
  for (int64_t row = begin; row < end; ++row) {
    std::copy_n(values + row * length, length, x.begin());
    if (packed.dtype == DType::i8_rows) {
      std::ranges::transform(x, x.begin(), [](float v) { return to_float(to_float16(v)); });
    }
    float most = 0.0F;
    for (const float v : x) {
      most = std::max(most, std::abs(v));
    }
    uint8_t* const to = codes + row * length;
    if (packed.dtype == DType::i8_rows) {
      scales[row] = most;
      const float inverse = most > 0.0F ? 1.0F / most * kInt8Most : 0.0F;  // as torch divides
      std::ranges::transform(x, to, [&](float v) {
        return static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(v * inverse)));
      });
    } else {
      scales[row] = most / kFloat8Most;
      const float inverse = most > 0.0F ? kFloat8Most / most : 0.0F;
      std::ranges::transform(x, to, [&](float v) { return to_float8(v * inverse); });
    }
  }
}

}  // namespace

void encode_eight_bit(const float* values, Tensor& packed, ThreadPool* pool) {
  split_work(pool, packed.shape[0], 16,
             [&](int64_t begin, int64_t end) { encode_rows(values, begin, end, packed); });
}

}  // namespace sft
