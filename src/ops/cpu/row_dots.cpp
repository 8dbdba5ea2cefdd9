#include "ops/cpu/row_dots.h"

#include <bit>
#include <cstring>

#include "core/error.h"
#include "formats/format.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

constexpr int kBlock = static_cast<int>(RoundedRow::kBlock);

// Blocks of x as codes, with their scales and what the codes of each half add up to.
SFT_SIMD void round_blocks(const float* x, int64_t blocks, int8_t* codes, int16_t* wide,
                           float* scales, int32_t* first_sums, int32_t* second_sums) {
  for (int64_t block = 0; block < blocks; ++block, x += kBlock, wide += kBlock) {
    float most = 0.0F;
#pragma omp simd reduction(max : most)
    for (int i = 0; i < kBlock; ++i) {
      const float size = x[i] < 0.0F ? -x[i] : x[i];
      most = size > most ? size : most;
    }
    const float scale = most / 127.0F;
    const float inverse = scale > 0.0F ? 1.0F / scale : 0.0F;
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
    for (int i = 0; i < kBlock; ++i) {
      wide[i] = static_cast<int16_t>((x[i] * inverse + kRound) - kRound);
    }
    for (int i = 0; i < kBlock; ++i) {
      codes[block * kBlock + i] = static_cast<int8_t>(wide[i]);
    }
    int32_t first = 0;
    int32_t second = 0;
    for (int i = 0; i < kBlock / 2; ++i) {
      first += wide[i];
      second += wide[i + kBlock / 2];
    }
    scales[block] = scale;
    first_sums[block] = first;
    second_sums[block] = second;
  }
}

}  // namespace

RoundedRow::RoundedRow(const float* x, int64_t n) {
  SFT_ASSERT(n % kBlock == 0);
  const auto blocks = static_cast<size_t>((n / kBlock + kChunk - 1) / kChunk * kChunk);
  codes_.resize(blocks * kBlock);
  wide_codes_.resize(blocks * kBlock);
  scales_.resize(blocks);
  code_sums_[0].resize(blocks);
  code_sums_[1].resize(blocks);
  round_blocks(x, n / kBlock, codes_.data(), wide_codes_.data(), scales_.data(),
               code_sums_[0].data(), code_sums_[1].data());
}

namespace {

// A lambda that is compiled with the function around it, for the same instruction set.
#define SFT_HERE __attribute__((always_inline))

// float16 in every lane at once, denormals too; what is not finite comes out as 65536 and more.
SFT_INLINE float half_value(uint16_t bits) {
  const auto wide = static_cast<uint32_t>(static_cast<int16_t>(bits)) << 13U & 0x8fffe000U;
  return std::bit_cast<float>(wide) * 0x1p112F;
}

// n is a multiple of kBlock: sums by lane, so that no product waits for the one before it.
template <class Value>
SFT_INLINE void plain_rows(const uint16_t* rows, int64_t count, const float* x, int64_t n,
                           float* out, Value value) {
  for (int64_t row = 0; row < count; ++row, rows += n) {
    float lanes[kBlock] = {};
    for (int64_t at = 0; at < n; at += kBlock) {
      fetch_ahead(rows + at, kBlock * sizeof(uint16_t));
#pragma omp simd
      for (int i = 0; i < kBlock; ++i) {
        lanes[i] += value(rows[at + i]) * x[at + i];
      }
    }
    float sum = 0.0F;
    for (const float lane : lanes) {
      sum += lane;
    }
    out[row] = sum;
  }
}

SFT_SIMD void dots_f16(const uint16_t* rows, int64_t count, const float* x, int64_t n, float* out) {
  plain_rows(rows, count, x, n, out, [](uint16_t bits) SFT_HERE { return half_value(bits); });
}

SFT_SIMD void dots_bf16(const uint16_t* rows, int64_t count, const float* x, int64_t n,
                        float* out) {
  plain_rows(rows, count, x, n, out,
             [](uint16_t bits) SFT_HERE { return std::bit_cast<float>(uint32_t{bits} << 16U); });
}

}  // namespace

void row_dots(const Tensor& weight, int64_t first, int64_t count, const float* x, float* out) {
  const int64_t n = weight.shape[1];
  if (weight.dtype == DType::f16 || weight.dtype == DType::bf16) {
    const auto dots = weight.dtype == DType::f16 ? dots_f16 : dots_bf16;
    return dots(weight.as<uint16_t>() + first * n, count, x, n, out);
  }
  std::vector<float> values(weight.dtype == DType::f32 ? 0 : static_cast<size_t>(n));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = (first + i) * n;
    if (weight.dtype == DType::f32) {
      out[i] = dot(weight.f32() + at, x, n);
    } else {
      decode(weight, at, at + n, values.data());
      out[i] = dot(values.data(), x, n);
    }
  }
}

}  // namespace sft::cpu
