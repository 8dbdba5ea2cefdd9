#include "formats/eight_bit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace sft {

namespace {

constexpr float kInt8Most = 127.0F, kFloat8Most = 448.0F;

// Of one that is read or written.
float* row_scales(const Tensor& t) {
  return reinterpret_cast<float*>(static_cast<std::byte*>(t.data) + scales_at(t.dtype, t.shape));
}

int64_t row_length(const Tensor& t) {
  return t.shape[0] == 0 ? 0 : t.shape.elements() / t.shape[0];
}

}  // namespace

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

float from_float8(uint8_t x) {
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

void decode_eight_bit(const Tensor& packed, int64_t begin, int64_t end, float* to) {
  const auto* const codes = packed.as<uint8_t>();
  const float* const scales = row_scales(packed);
  const int64_t length = row_length(packed);
  for (int64_t i = begin; i < end; ++i) {
    const float code = packed.dtype == DType::i8_rows
                           ? static_cast<float>(static_cast<int8_t>(codes[i]))
                           : from_float8(codes[i]);
    to[i - begin] = code * scales[i / length];
  }
}

void encode_eight_bit(const float* values, Tensor& packed) {
  auto* const codes = packed.as<uint8_t>();
  const int64_t length = row_length(packed);
  const bool whole_numbers = packed.dtype == DType::i8_rows;
  for (int64_t row = 0; row < packed.shape[0]; ++row) {
    const float* const x = values + row * length;
    float most = 0.0F;
    for (int64_t i = 0; i < length; ++i) {
      most = std::max(most, std::abs(x[i]));
    }
    const float limit = whole_numbers ? kInt8Most : kFloat8Most;
    row_scales(packed)[row] = most / limit;
    const float inverse = most > 0.0F ? limit / most : 0.0F;
    for (int64_t i = 0; i < length; ++i) {
      const float scaled = x[i] * inverse;
      codes[row * length + i] =
          whole_numbers ? static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(scaled)))
                        : to_float8(scaled);
    }
  }
}

}  // namespace sft
