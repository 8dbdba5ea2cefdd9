#include "formats/four_bit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "formats/block8.h"
#include "formats/convert.h"

namespace sft {

namespace {

constexpr int64_t kBlock = 64;    // values that share a scale
constexpr int64_t kNested = 256;  // scales that share one

constexpr std::array<float, 16> kNf4{-1.0F,
                                     -0.6961928009986877F,
                                     -0.5250730514526367F,
                                     -0.39491748809814453F,
                                     -0.28444138169288635F,
                                     -0.18477343022823334F,
                                     -0.09105003625154495F,
                                     0.0F,
                                     0.07958029955625534F,
                                     0.16093020141124725F,
                                     0.24611230194568634F,
                                     0.33791524171829224F,
                                     0.44070982933044434F,
                                     0.5626170039176941F,
                                     0.7229568362236023F,
                                     1.0F};
constexpr std::array<float, 16> kFp4{0.0F,
                                     0.005208333333333333F,
                                     0.6666666666666666F,
                                     1.0F,
                                     0.3333333333333333F,
                                     0.5F,
                                     0.16666666666666666F,
                                     0.25F,
                                     0.0F,
                                     -0.005208333333333333F,
                                     -0.6666666666666666F,
                                     -1.0F,
                                     -0.3333333333333333F,
                                     -0.5F,
                                     -0.16666666666666666F,
                                     -0.25F};

bool nested(DType type) { return type == DType::nf4_nested || type == DType::fp4_nested; }

int64_t blocks_of(const Tensor& t) { return (t.shape.elements() + kBlock - 1) / kBlock; }

const block8::Book& scale_book() {
  static const block8::Book book = block8::books()[0];
  return book;
}

float largest(const float* values, int64_t n) {
  float most = 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::abs(values[i]));
  }
  return most;
}

// Codes of 8 bits for the scales less their mean.
void encode_scales(const std::vector<float>& scales, const FourBitScales& to) {
  const auto n = static_cast<int64_t>(scales.size());
  *to.mean = mean_of_scales(scales);
  const block8::Book& book = scale_book();
  std::array<float, kNested> centred;
  for (int64_t at = 0; at < n; at += kNested) {
    const int64_t m = std::min(kNested, n - at);
    for (int64_t i = 0; i < m; ++i) {
      centred[static_cast<size_t>(i)] = scales[static_cast<size_t>(at + i)] - *to.mean;
    }
    const float most = largest(centred.data(), m);
    to.outer[at / kNested] = most;
    const float inverse = most > 0.0F ? 1.0F / most : 0.0F;
    for (int64_t i = 0; i < m; ++i) {
      const float x = centred[static_cast<size_t>(i)] * inverse;
      // The nearest of the map's values, the lower one of two that are equally near.
      const float* const above = std::ranges::lower_bound(book.values, x);
      const auto up = static_cast<size_t>(
          std::clamp<std::ptrdiff_t>(above - book.values, 1, block8::kCodes - 1));
      const float middle = (book.values[up - 1] + book.values[up]) / 2.0F;
      to.codes[at + i] = static_cast<uint8_t>(x > middle ? up : up - 1);
    }
  }
}

}  // namespace

const std::array<float, 16>& four_bit_codes(DType type) {
  return type == DType::nf4 || type == DType::nf4_nested ? kNf4 : kFp4;
}

FourBitScales four_bit_scales(const Tensor& t) {
  std::byte* const behind = static_cast<std::byte*>(t.data) + scales_at(t.dtype, t.shape);
  if (!nested(t.dtype)) {
    return {.scales = reinterpret_cast<float*>(behind)};
  }
  const int64_t blocks = blocks_of(t);
  auto* const outer = reinterpret_cast<float*>(behind + (blocks + 3) / 4 * 4);
  return {.codes = reinterpret_cast<uint8_t*>(behind),
          .outer = outer,
          .mean = outer + (blocks + kNested - 1) / kNested};
}

std::span<const float> nested_scale_numbers() { return scale_book().values; }

float mean_of_scales(std::span<const float> scales) {
  double sum = 0;
  for (const float s : scales) {
    sum += s;
  }
  return static_cast<float>(sum / static_cast<double>(scales.size()));
}

FourBitBorders four_bit_borders(DType type) {
  const std::array<float, 16>& codes = four_bit_codes(type);
  FourBitBorders b;
  for (uint8_t i = 0; i < 16; ++i) {
    b.order[i] = i;
  }
  std::ranges::stable_sort(b.order, {}, [&](uint8_t c) { return codes[c]; });
  for (size_t i = 0; i + 1 < 16; ++i) {
    b.middles[i] = (codes[b.order[i]] + codes[b.order[i + 1]]) / 2.0F;
  }
  return b;
}

float four_bit_scale(const Tensor& packed, int64_t block) {
  const FourBitScales p = four_bit_scales(packed);
  if (p.scales != nullptr) {
    return p.scales[block];
  }
  return scale_book().values[p.codes[block]] * p.outer[block / kNested] + *p.mean;
}

void decode_four_bit(const Tensor& packed, int64_t begin, int64_t end, float* to) {
  const std::array<float, 16>& codes = four_bit_codes(packed.dtype);
  const auto* const bytes = packed.as<uint8_t>();
  std::array<float, 16> values;  // of the codes in a block
  for (int64_t at = begin; at < end;) {
    const float scale = four_bit_scale(packed, at / kBlock);
    for (size_t c = 0; c < values.size(); ++c) {
      values[c] = codes[c] * scale;
    }
    const int64_t last = std::min(end, (at / kBlock + 1) * kBlock);
    const auto one = [&] {
      const uint8_t byte = bytes[at / 2];
      to[at - begin] = values[at % 2 == 0 ? byte >> 4 : byte & 15];
      ++at;
    };
    if (at % 2 != 0) {
      one();
    }
    for (; at + 1 < last; at += 2) {
      const uint8_t byte = bytes[at / 2];
      to[at - begin] = values[byte >> 4];
      to[at - begin + 1] = values[byte & 15];
    }
    if (at < last) {
      one();
    }
  }
}

namespace {

// The codes of blocks [begin, end), and their scales.
void encode_blocks(const float* values, const FourBitBorders& borders, int64_t first, int64_t last,
                   Tensor& packed, std::vector<float>& scales) {
  const int64_t n = packed.shape.elements();
  auto* const bytes = packed.as<uint8_t>();
  for (int64_t block = first; block < last; ++block) {
    const int64_t begin = block * kBlock, end = std::min(n, begin + kBlock);
    float& scale = scales[static_cast<size_t>(block)];
    scale = largest(values + begin, end - begin);
    const float divisor = std::max(scale, 1e-38F);
    const float inverse = 1.0F / divisor;
    for (int64_t i = begin; i < end; ++i) {
      // bitsandbytes multiplies by the inverse, but divides in a last block that is not whole.
      const float raw = end - begin == kBlock ? values[i] * inverse : values[i] / divisor;
      const float x = std::clamp(raw, -1.0F, 1.0F);
      const auto place = static_cast<size_t>(std::ranges::lower_bound(borders.middles, x) -
                                             borders.middles.begin());
      const uint8_t code = borders.order[place];
      bytes[i / 2] |= static_cast<uint8_t>(i % 2 == 0 ? code << 4 : code);
    }
  }
}

}  // namespace

void encode_four_bit(const float* values, Tensor& packed, ThreadPool* pool) {
  const FourBitBorders borders = four_bit_borders(packed.dtype);
  std::memset(packed.data, 0, packed.bytes());
  const int64_t blocks = blocks_of(packed);
  std::vector<float> scales(static_cast<size_t>(blocks));
  split_work(pool, blocks, 1024, [&](int64_t begin, int64_t end) {
    encode_blocks(values, borders, begin, end, packed, scales);
  });
  const FourBitScales parts = four_bit_scales(packed);
  if (parts.scales != nullptr) {
    std::ranges::copy(scales, parts.scales);
  } else {
    encode_scales(scales, parts);
  }
}

}  // namespace sft
