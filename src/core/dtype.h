// Element types, and the two 16-bit floats as plain structs layout-equal to those of CUDA.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sft {

enum class DType : uint8_t {
  f32,
  f16,
  bf16,
  i32,
  i64,
  u8,
  // Packed: codes in blocks, with scales. What each is made of: src/formats.
  nf4,         // bitsandbytes' 4 bits, a float32 scale for 64 values
  fp4,         // the same with its other codes
  nf4_nested,  // and with scales of 8 bits (double quantisation)
  fp4_nested,
  i8_rows,  // int8, a float32 a row: its largest magnitude
  f8_rows,  // float8 e4m3, a float32 scale a row
  q8_0,     // ggml's blocks, as a GGUF file has them
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
  f8_blocks,  // float8 e4m3, a float32 scale for each 128 x 128 of a matrix
  mxfp4,      // OCP's 4 bits, a power of two for 32 values of a column (formats/mxfp4.h)
};

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
    default:
      return 0;  // less than a byte, or not the same for all: bytes_of in core/tensor.h
  }
}

// Weights in a packed format are read only, and decoded where they are used.
constexpr bool is_packed(DType t) { return t >= DType::nf4; }

// How a packed format lies in memory: codes in blocks of consecutive values, row after row; scales
// inside the blocks, or behind all codes from the next multiple of 16 bytes on.
struct Packing {
  enum class Scales : uint8_t {
    inside,
    block,   // a float32 for each block
    nested,  // a byte for each block, a float32 for 256 of them, and a float32 offset
    row,     // a float32 for each row
    tile,    // a float32 for each kScaleTile x kScaleTile of a matrix
    power,   // a byte for each block: an exponent of two
  };
  int64_t values, bytes;  // of a block
  Scales scales;
};
const Packing& packing_of(DType t);  // of a packed one
inline constexpr int64_t kScaleTile = 128;

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
