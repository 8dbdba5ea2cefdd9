#include "core/dtype.h"

#include <array>
#include <utility>

namespace sft {

namespace {
struct Names {
  DType dtype;
  std::string_view torch, safetensors;
};
constexpr std::array<Names, 22> kNames{{{DType::f32, "float32", "F32"},
                                        {DType::f16, "float16", "F16"},
                                        {DType::bf16, "bfloat16", "BF16"},
                                        {DType::i32, "int32", "I32"},
                                        {DType::i64, "int64", "I64"},
                                        {DType::u8, "uint8", "U8"},
                                        {DType::nf4, "nf4", ""},
                                        {DType::fp4, "fp4", ""},
                                        {DType::nf4_nested, "nf4, nested", ""},
                                        {DType::fp4_nested, "fp4, nested", ""},
                                        {DType::i8_rows, "int8 by rows", ""},
                                        {DType::f8_rows, "float8 by rows", ""},
                                        {DType::q8_0, "Q8_0", ""},
                                        {DType::q4_0, "Q4_0", ""},
                                        {DType::q4_1, "Q4_1", ""},
                                        {DType::q5_0, "Q5_0", ""},
                                        {DType::q5_1, "Q5_1", ""},
                                        {DType::q4_k, "Q4_K", ""},
                                        {DType::q5_k, "Q5_K", ""},
                                        {DType::q6_k, "Q6_K", ""},
                                        {DType::f8_blocks, "float8 by blocks", ""},
                                        {DType::mxfp4, "MXFP4", ""}}};

using Scales = Packing::Scales;
// In the order of DType, from nf4 on.
constexpr std::array<Packing, 16> kPackings{{{64, 32, Scales::block},
                                             {64, 32, Scales::block},
                                             {64, 32, Scales::nested},
                                             {64, 32, Scales::nested},
                                             {1, 1, Scales::row},
                                             {1, 1, Scales::row},
                                             {32, 34, Scales::inside},
                                             {32, 18, Scales::inside},
                                             {32, 20, Scales::inside},
                                             {32, 22, Scales::inside},
                                             {32, 24, Scales::inside},
                                             {256, 144, Scales::inside},
                                             {256, 176, Scales::inside},
                                             {256, 210, Scales::inside},
                                             {1, 1, Scales::tile},
                                             {32, 16, Scales::power}}};
}  // namespace

std::string_view name_of(DType t) {
  for (const Names& n : kNames) {
    if (n.dtype == t) {
      return n.torch;
    }
  }
  return "unknown";
}

const Packing& packing_of(DType t) {
  return kPackings.at(static_cast<size_t>(t) - static_cast<size_t>(DType::nf4));
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Names& n : kNames) {
    if (!is_packed(n.dtype) && (name == n.torch || name == n.safetensors)) {
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
