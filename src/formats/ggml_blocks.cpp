#include "formats/ggml_blocks.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

#include "core/dtype.h"
#include "formats/convert.h"
#include "formats/mxfp4.h"

namespace sft {

namespace {

using Bytes = const uint8_t*;

// Compiled twice, the second time for processors with AVX2; the numbers are the same.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(SFT_SANITIZED)
#define SFT_DECODER __attribute__((target_clones("avx2", "default")))
#else
#define SFT_DECODER
#endif

inline float read_half(Bytes p) {
  Float16 h{};
  std::memcpy(&h, p, 2);
  return to_float(h);
}

inline uint32_t read_u32(Bytes p) {
  uint32_t value = 0;
  std::memcpy(&value, p, 4);
  return value;
}

template <DType type>
void decode_plain(const std::byte* source, int64_t n, float* destination) {
  convert_to_f32(type, source, n, destination);
}

// Walks the blocks: `block(bytes, floats)` decodes one.
template <int64_t kElements, int64_t kBytes, class Block>
void each_block(const std::byte* source, int64_t n, float* destination, Block block) {
  const auto* p = reinterpret_cast<Bytes>(source);
  for (int64_t i = 0; i < n; i += kElements) {
    block(p, destination + i);
    p += kBytes;
  }
}

SFT_DECODER void decode_q8_0(const std::byte* source, int64_t n, float* destination) {
  each_block<32, 34>(source, n, destination, [](Bytes p, float* out) {
    const float d = read_half(p);
    const auto* q = reinterpret_cast<const int8_t*>(p + 2);
    for (int i = 0; i < 32; ++i) {
      out[i] = d * static_cast<float>(q[i]);
    }
  });
}

SFT_DECODER void decode_q4_0(const std::byte* source, int64_t n, float* destination) {
  each_block<32, 18>(source, n, destination, [](Bytes p, float* out) {
    const float d = read_half(p);
    for (int i = 0; i < 16; ++i) {
      const int byte = p[2 + i];
      out[i] = d * static_cast<float>((byte & 15) - 8);
      out[i + 16] = d * static_cast<float>((byte >> 4) - 8);
    }
  });
}

SFT_DECODER void decode_q4_1(const std::byte* source, int64_t n, float* destination) {
  each_block<32, 20>(source, n, destination, [](Bytes p, float* out) {
    const float d = read_half(p);
    const float m = read_half(p + 2);
    for (int i = 0; i < 16; ++i) {
      const int byte = p[4 + i];
      out[i] = d * static_cast<float>(byte & 15) + m;
      out[i + 16] = d * static_cast<float>(byte >> 4) + m;
    }
  });
}

SFT_DECODER void decode_q5_0(const std::byte* source, int64_t n, float* destination) {
  each_block<32, 22>(source, n, destination, [](Bytes p, float* out) {
    const float d = read_half(p);
    const uint32_t high = read_u32(p + 2);
    for (int i = 0; i < 16; ++i) {
      const int byte = p[6 + i];
      const int low_bit = static_cast<int>(high >> i & 1U) << 4;
      const int high_bit = static_cast<int>(high >> (i + 16) & 1U) << 4;
      out[i] = d * static_cast<float>(((byte & 15) | low_bit) - 16);
      out[i + 16] = d * static_cast<float>(((byte >> 4) | high_bit) - 16);
    }
  });
}

SFT_DECODER void decode_q5_1(const std::byte* source, int64_t n, float* destination) {
  each_block<32, 24>(source, n, destination, [](Bytes p, float* out) {
    const float d = read_half(p);
    const float m = read_half(p + 2);
    const uint32_t high = read_u32(p + 4);
    for (int i = 0; i < 16; ++i) {
      const int byte = p[8 + i];
      const int low_bit = static_cast<int>(high >> i & 1U) << 4;
      const int high_bit = static_cast<int>(high >> (i + 16) & 1U) << 4;
      out[i] = d * static_cast<float>((byte & 15) | low_bit) + m;
      out[i + 16] = d * static_cast<float>((byte >> 4) | high_bit) + m;
    }
  });
}

// The eight 6-bit scales and minima of a K block, packed into 12 bytes.
inline void unpack_scales(Bytes packed, int* scales, int* minima) {
  for (int j = 0; j < 4; ++j) {
    scales[j] = packed[j] & 63;
    minima[j] = packed[j + 4] & 63;
    scales[j + 4] = (packed[j + 8] & 15) | ((packed[j] >> 6) << 4);
    minima[j + 4] = (packed[j + 8] >> 4) | ((packed[j + 4] >> 6) << 4);
  }
}

// Q4_K and Q5_K: eight groups of 32; `quant(group, i)` gives the whole number at place i.
template <class Quant>
void decode_k_groups(Bytes p, float* out, Quant quant) {
  const float d = read_half(p);
  const float dmin = read_half(p + 2);
  int scales[8];
  int minima[8];
  unpack_scales(p + 4, scales, minima);
  for (int group = 0; group < 8; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const float minimum = dmin * static_cast<float>(minima[group]);
    for (int i = 0; i < 32; ++i) {
      out[group * 32 + i] = scale * static_cast<float>(quant(group, i)) - minimum;
    }
  }
}

inline int nibble(Bytes quants, int group, int i) {
  const int byte = quants[(group / 2) * 32 + i];
  return group % 2 == 0 ? byte & 15 : byte >> 4;
}

SFT_DECODER void decode_q4_k(const std::byte* source, int64_t n, float* destination) {
  each_block<256, 144>(source, n, destination, [](Bytes p, float* out) {
    decode_k_groups(p, out, [q = p + 16](int group, int i) { return nibble(q, group, i); });
  });
}

SFT_DECODER void decode_q5_k(const std::byte* source, int64_t n, float* destination) {
  each_block<256, 176>(source, n, destination, [](Bytes p, float* out) {
    decode_k_groups(p, out, [high = p + 16, q = p + 48](int group, int i) {
      return nibble(q, group, i) | ((high[i] >> group & 1) << 4);
    });
  });
}

SFT_DECODER void decode_q6_k(const std::byte* source, int64_t n, float* destination) {
  each_block<256, 210>(source, n, destination, [](Bytes p, float* out) {
    const auto* scales = reinterpret_cast<const int8_t*>(p + 192);
    const float d = read_half(p + 208);
    for (int half = 0; half < 2; ++half) {
      const Bytes low = p + half * 64;
      const Bytes high = p + 128 + half * 32;
      for (int quarter = 0; quarter < 4; ++quarter) {
        const Bytes four = low + (quarter % 2) * 32;
        for (int i = 0; i < 32; ++i) {
          const int bits = quarter < 2 ? four[i] & 15 : four[i] >> 4;
          const int q = (bits | ((high[i] >> (2 * quarter) & 3) << 4)) - 32;
          const float scale = d * static_cast<float>(scales[half * 8 + quarter * 2 + i / 16]);
          out[half * 128 + quarter * 32 + i] = scale * static_cast<float>(q);
        }
      }
    }
  });
}

void decode_mxfp4_blocks(const std::byte* source, int64_t n, float* destination) {
  each_block<kMxfp4Block, kGgmlMxfp4Bytes>(source, n, destination, [](Bytes p, float* out) {
    const float half = mxfp4_half_power(p[0]);
    for (int i = 0; i < 16; ++i) {
      out[i] = kMxfp4Doubles[p[1 + i] & 15] * half;
      out[i + 16] = kMxfp4Doubles[p[1 + i] >> 4] * half;
    }
  });
}

constexpr std::array<GgufType, 12> kTypes{{
    {0, "F32", 1, 4, decode_plain<DType::f32>, false, DType::f32},
    {1, "F16", 1, 2, decode_plain<DType::f16>, false, DType::f16},
    {2, "Q4_0", 32, 18, decode_q4_0, true, DType::q4_0},
    {3, "Q4_1", 32, 20, decode_q4_1, true, DType::q4_1},
    {6, "Q5_0", 32, 22, decode_q5_0, true, DType::q5_0},
    {7, "Q5_1", 32, 24, decode_q5_1, true, DType::q5_1},
    {8, "Q8_0", 32, 34, decode_q8_0, true, DType::q8_0},
    {12, "Q4_K", 256, 144, decode_q4_k, true, DType::q4_k},
    {13, "Q5_K", 256, 176, decode_q5_k, true, DType::q5_k},
    {14, "Q6_K", 256, 210, decode_q6_k, true, DType::q6_k},
    {30, "BF16", 1, 2, decode_plain<DType::bf16>, false, DType::bf16},
    {39, "MXFP4", kMxfp4Block, kGgmlMxfp4Bytes, decode_mxfp4_blocks, true, DType::mxfp4},
}};

// Names of codes that are not decoded here, so that an error can say what the file holds.
constexpr std::array<const char*, 40> kAllNames{
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

}  // namespace

const GgufType* find_gguf_type(uint32_t code) {
  for (const GgufType& type : kTypes) {
    if (type.code == code) {
      return &type;
    }
  }
  return nullptr;
}

const GgufType* find_gguf_type(DType dtype) {
  for (const GgufType& type : kTypes) {
    if (type.dtype == dtype) {
      return &type;
    }
  }
  return nullptr;
}

std::string gguf_type_label(uint32_t code) {
  return code < kAllNames.size() ? kAllNames[code] : fmt::format("number {}", code);
}

std::string gguf_type_list() {
  std::string list;
  for (const GgufType& type : kTypes) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", type.name);
  }
  return list;
}

}  // namespace sft
