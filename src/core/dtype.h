// Element types, and the two 16-bit floats as plain structs layout-equal to those of CUDA.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sft {

enum class DType : uint8_t { f32, f16, bf16, i32, i64, u8 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::i64:
      return 8;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr bool is_floating(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16;
}

// PyTorch's spelling: "float32", "bfloat16", ...
std::string_view name_of(DType t);
// Accepts PyTorch's ("bfloat16") and safetensors' ("BF16") spellings.
std::optional<DType> parse_dtype(std::string_view name);

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

inline float to_float(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
// Round to nearest, ties to even; a NaN stays a (quiet) NaN.
inline BFloat16 to_bfloat16(float x) {
  const auto u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffU) > 0x7f800000U) {
    return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  }
  return {static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16)};
}
float to_float(Float16 x);
Float16 to_float16(float x);  // round to nearest, ties to even

}  // namespace sft
