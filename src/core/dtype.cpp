#include "core/dtype.h"

#include <array>
#include <utility>

namespace sft {

namespace {
struct Names {
  DType dtype;
  std::string_view torch, safetensors;
};
constexpr std::array<Names, 6> kNames{{{DType::f32, "float32", "F32"},
                                       {DType::f16, "float16", "F16"},
                                       {DType::bf16, "bfloat16", "BF16"},
                                       {DType::i32, "int32", "I32"},
                                       {DType::i64, "int64", "I64"},
                                       {DType::u8, "uint8", "U8"}}};
}  // namespace

std::string_view name_of(DType t) {
  for (const Names& n : kNames) {
    if (n.dtype == t) {
      return n.torch;
    }
  }
  return "unknown";
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Names& n : kNames) {
    if (name == n.torch || name == n.safetensors) {
      return n.dtype;
    }
  }
  return std::nullopt;
}

float to_float(Float16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000U} << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fU;
  const uint32_t mantissa = x.bits & 0x3ffU;
  if (exponent == 0x1fU) {
    return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  }
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

Float16 to_float16(float x) {
  const auto u = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000U);
  const uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) {
    return {static_cast<uint16_t>(sign | 0x7e00U)};
  }
  if (magnitude >= 0x477ff000U) {  // rounds to 65536 or more
    return {static_cast<uint16_t>(sign | 0x7c00U)};
  }
  if (magnitude < 0x38800000U) {  // subnormal: let the addition round to a multiple of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000U))};
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U) - (112U << 23);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

}  // namespace sft
