#include "formats/ggml_encode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "formats/convert.h"
#include "formats/ggml_store.h"

namespace sft {

namespace {

constexpr int kBlock = 32;
constexpr int kHalf = kBlock / 2;

// Not a number is below nothing.
bool all_below(const float* x, int64_t n, float limit) {
  uint32_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    found |= static_cast<uint32_t>(!(std::abs(x[i]) < limit));
  }
  return found == 0;
}

// The whole part of a number; 0 for one that has none, as where a block's scale is so small that
// its inverse is infinite.
inline int whole(float x) { return static_cast<int>(std::abs(x) < 1e9F ? x : 0.0F); }

// To the nearest, halves away from zero.
inline int rounded(float x) {
  const int towards_zero = whole(x);
  const float rest = (std::abs(x) < 1e9F ? x : 0.0F) - static_cast<float>(towards_zero);
  return towards_zero + static_cast<int>(rest >= 0.5F) - static_cast<int>(rest <= -0.5F);
}

inline float inverse(float d) { return d != 0 ? 1.0F / d : 0.0F; }

// Walks the blocks: `block(values, bytes)` encodes one and says whether its scales are finite.
template <int64_t kBytes, class Block>
bool each_block(const float* source, int64_t n, std::byte* destination, Block block) {
  auto* p = reinterpret_cast<uint8_t*>(destination);
  bool sound = true;
  for (int64_t i = 0; i < n; i += kBlock) {
    sound &= block(source + i, p);
    p += kBytes;
  }
  return sound;
}

SFT_ENCODER bool encode_q8_0(const float* source, int64_t n, std::byte* destination) {
  return each_block<34>(source, n, destination, [](const float* x, uint8_t* p) {
    float largest = 0;
    for (int i = 0; i < kBlock; ++i) {
      largest = std::max(largest, std::abs(x[i]));
    }
    const float d = largest / 127;
    const float by = inverse(d);
    for (int i = 0; i < kBlock; ++i) {
      p[2 + i] = static_cast<uint8_t>(rounded(x[i] * by));
    }
    return store_half(p, d);
  });
}

// The value that is largest in magnitude, with its sign; the first of equal ones.
inline float signed_largest(const float* x) {
  float largest = 0, value = 0;
  for (int i = 0; i < kBlock; ++i) {
    if (std::abs(x[i]) > largest) {
      largest = std::abs(x[i]);
      value = x[i];
    }
  }
  return value;
}

struct Range {
  float least, most;
};
inline Range range_of(const float* x) {
  Range r{std::numeric_limits<float>::max(), -std::numeric_limits<float>::max()};
  for (int i = 0; i < kBlock; ++i) {
    r.least = std::min(r.least, x[i]);
    r.most = std::max(r.most, x[i]);
  }
  return r;
}

// 4 bits of value i in the low half of byte i, of value i + 16 in the high one.
inline void store_nibbles(uint8_t* p, const int* q) {
  for (int i = 0; i < kHalf; ++i) {
    p[i] = static_cast<uint8_t>((q[i] & 15) | (q[i + kHalf] & 15) << 4);
  }
}

inline void store_fifth_bits(uint8_t* p, const int* q) {
  uint32_t bits = 0;
  for (int i = 0; i < kBlock; ++i) {
    bits |= static_cast<uint32_t>(q[i] >> 4 & 1) << i;
  }
  std::memcpy(p, &bits, sizeof(bits));
}

// Around zero: x = d (q - middle), the largest value at q = 0.
template <int kMiddle>
inline float around_zero(const float* x, int* q) {
  const float d = signed_largest(x) / -static_cast<float>(kMiddle);
  const float by = inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    q[i] = std::min(2 * kMiddle - 1, whole(x[i] * by + (static_cast<float>(kMiddle) + 0.5F)));
  }
  return d;
}

// From the least value on: x = d q + m.
template <int kMost>
inline float from_least(const float* x, float least, float most, int* q) {
  const float d = (most - least) / static_cast<float>(kMost);
  const float by = inverse(d);
  for (int i = 0; i < kBlock; ++i) {
    q[i] = std::min(kMost, whole((x[i] - least) * by + 0.5F));
  }
  return d;
}

SFT_ENCODER bool encode_q4_0(const float* source, int64_t n, std::byte* destination) {
  return each_block<18>(source, n, destination, [](const float* x, uint8_t* p) {
    int q[kBlock];
    const float d = around_zero<8>(x, q);
    store_nibbles(p + 2, q);
    return store_half(p, d);
  });
}

SFT_ENCODER bool encode_q4_1(const float* source, int64_t n, std::byte* destination) {
  return each_block<20>(source, n, destination, [](const float* x, uint8_t* p) {
    int q[kBlock];
    const Range r = range_of(x);
    const float d = from_least<15>(x, r.least, r.most, q);
    store_nibbles(p + 4, q);
    const bool sound = store_half(p, d);
    return store_half(p + 2, r.least) && sound;
  });
}

SFT_ENCODER bool encode_q5_0(const float* source, int64_t n, std::byte* destination) {
  return each_block<22>(source, n, destination, [](const float* x, uint8_t* p) {
    int q[kBlock];
    const float d = around_zero<16>(x, q);
    store_fifth_bits(p + 2, q);
    store_nibbles(p + 6, q);
    return store_half(p, d);
  });
}

SFT_ENCODER bool encode_q5_1(const float* source, int64_t n, std::byte* destination) {
  return each_block<24>(source, n, destination, [](const float* x, uint8_t* p) {
    int q[kBlock];
    const Range r = range_of(x);
    const float d = from_least<31>(x, r.least, r.most, q);
    store_fifth_bits(p + 4, q);
    store_nibbles(p + 8, q);
    const bool sound = store_half(p, d);
    return store_half(p + 2, r.least) && sound;
  });
}

template <DType type>
bool encode_plain(const float* source, int64_t n, std::byte* destination) {
  convert_from_f32(type, source, n, destination);
  return true;
}

// Magnitudes that no block of the format can hold, whatever else is in it, are told from the
// beginning: their squares and cubes would not fit in the sums either.
constexpr float kAnyFinite = std::numeric_limits<float>::infinity();
constexpr float kBeyondHalf = 65520;  // what would round to the next power of two
constexpr float kBeyondBlocks = 1e9F;

struct Encoder {
  DType type;
  float limit;
  bool (*encode)(const float* source, int64_t n, std::byte* destination);
};

constexpr std::array<Encoder, 11> kEncoders{{
    {DType::f32, kAnyFinite, encode_plain<DType::f32>},
    {DType::f16, kBeyondHalf, encode_plain<DType::f16>},
    {DType::bf16, kAnyFinite, encode_plain<DType::bf16>},
    {DType::q8_0, kBeyondBlocks, encode_q8_0},
    {DType::q4_0, kBeyondBlocks, encode_q4_0},
    {DType::q4_1, kBeyondBlocks, encode_q4_1},
    {DType::q5_0, kBeyondBlocks, encode_q5_0},
    {DType::q5_1, kBeyondBlocks, encode_q5_1},
    {DType::q4_k, kBeyondBlocks, encode_q4_k},
    {DType::q5_k, kBeyondBlocks, encode_q5_k},
    {DType::q6_k, kBeyondBlocks, encode_q6_k},
}};

}  // namespace

bool encode_ggml(const GgufType& type, const float* source, int64_t n, std::byte* destination) {
  const auto* encoder = std::ranges::find(kEncoders, type.dtype, &Encoder::type);
  SFT_ASSERT(encoder != kEncoders.end() && n % type.block == 0);
  return all_below(source, n, encoder->limit) && encoder->encode(source, n, destination);
}

}  // namespace sft
