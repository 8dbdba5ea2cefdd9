// The formats of 256 values a block with scales of scales. Each group's scale is searched for: a
// few are tried, and the one with the least weighted error stays. The groups of a block are worked
// on side by side, one in each lane of a vector, so that each one's sums are added in order.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/ggml_encode.h"
#include "formats/ggml_store.h"

#define SFT_INLINE __attribute__((always_inline)) inline

namespace sft {

namespace {

constexpr int kSuper = 256;
constexpr float kNothing = 1e-15F;  // a group whose values are all smaller is zero

// A number for each of eight groups.
constexpr int kGroups = 8;
typedef float Reals __attribute__((vector_size(4 * kGroups)));
typedef int32_t Wholes __attribute__((vector_size(4 * kGroups)));

SFT_INLINE void fill(Reals& x, float value) { x = Reals{} + value; }
SFT_INLINE void magnitude_of(const Reals& x, Reals& magnitude) { magnitude = x < 0 ? -x : x; }

// To the nearest, ties to even, by the bits of a float that holds whole numbers only; then within
// [least, most].
SFT_INLINE void round_within(const Reals& x, int least, int most, Wholes& q) {
  const Reals shifted = x + 12582912.0F;
  q = (__builtin_bit_cast(Wholes, shifted) & 0x007fffff) - 0x00400000;
  q = q > most ? Wholes{} + most : q;
  q = q < least ? Wholes{} + least : q;
}
SFT_INLINE int nearest(float x) {
  const float shifted = x + 12582912.0F;
  return static_cast<int>(std::bit_cast<uint32_t>(shifted) & 0x007fffffU) - 0x00400000;
}

// Eight groups of kPlaces values, one after the other in the block.
template <int kPlaces>
SFT_INLINE void side_by_side(const float* source, Reals (&x)[kPlaces]) {
  for (int i = 0; i < kPlaces; ++i) {
    for (int g = 0; g < kGroups; ++g) {
      x[i][g] = source[g * kPlaces + i];
    }
  }
}

// --- Q4_K and Q5_K: x = scale q - minimum, eight groups of 32 ------------------------------------

constexpr int kPlaces = kSuper / kGroups;

struct AffineSearch {
  int levels;   // the largest q
  float first;  // the first trial has so many levels more
  int trials;   // each has a tenth of a level more
};

struct AffineFit {
  Reals scale, minimum;  // the minimum with its sign turned
  Wholes q[kPlaces];
};

SFT_INLINE void weigh(const Reals (&x)[kPlaces], Reals (&weight)[kPlaces]) {
  Reals usual{};
  for (const Reals& v : x) {
    usual += v * v;
  }
  usual /= static_cast<float>(kPlaces);
  for (int g = 0; g < kGroups; ++g) {
    usual[g] = std::sqrt(usual[g]);
  }
  for (int i = 0; i < kPlaces; ++i) {
    magnitude_of(x[i], weight[i]);
    weight[i] = usual + weight[i];
  }
}

// The weighted squares of what these scales and q miss.
SFT_INLINE void missed(const Reals (&x)[kPlaces], const Reals (&weight)[kPlaces],
                       const Wholes (&q)[kPlaces], const Reals& scale, const Reals& least,
                       Reals& error) {
  error = Reals{};
  for (int i = 0; i < kPlaces; ++i) {
    const Reals miss = scale * __builtin_convertvector(q[i], Reals) + least - x[i];
    error += weight[i] * (miss * miss);
  }
}

SFT_INLINE void fit_affine(const Reals (&x)[kPlaces], const AffineSearch& search, AffineFit& fit) {
  Reals weight[kPlaces];
  weigh(x, weight);
  Reals least = x[0], most = x[0], sum_w = weight[0], sum_x = weight[0] * x[0];
  for (int i = 1; i < kPlaces; ++i) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
    sum_w += weight[i];
    sum_x += weight[i] * x[i];
  }
  least = least > 0 ? Reals{} : least;
  const Wholes flat = most == least;
  Reals by, best;
  fill(by, static_cast<float>(search.levels));
  by /= most - least;
  fit.scale = 1.0F / by;
  for (int i = 0; i < kPlaces; ++i) {
    round_within(by * (x[i] - least), 0, search.levels, fit.q[i]);
  }
  missed(x, weight, fit.q, fit.scale, least, best);
  for (int trial = 0; trial <= search.trials; ++trial) {
    fill(by, search.first + 0.1F * static_cast<float>(trial) + static_cast<float>(search.levels));
    by /= most - least;
    Wholes q[kPlaces];
    Reals sum_q{}, sum_qq{}, sum_xq{};
    for (int i = 0; i < kPlaces; ++i) {
      round_within(by * (x[i] - least), 0, search.levels, q[i]);
      const Reals level = __builtin_convertvector(q[i], Reals);
      const Reals weighted = weight[i] * level;
      sum_q += weighted;
      sum_qq += weighted * level;
      sum_xq += weighted * x[i];
    }
    // The scale and the minimum with the least error for these q.
    const Reals determinant = sum_w * sum_qq - sum_q * sum_q;
    Reals scale = (sum_w * sum_xq - sum_x * sum_q) / determinant;
    Reals minimum = (sum_qq * sum_x - sum_q * sum_xq) / determinant;
    scale = minimum > 0 ? sum_xq / sum_qq : scale;
    minimum = minimum > 0 ? Reals{} : minimum;
    Reals error;
    missed(x, weight, q, scale, minimum, error);
    const Wholes better = (determinant > 0) & (error < best);
    best = better ? error : best;
    fit.scale = better ? scale : fit.scale;
    least = better ? minimum : least;
    for (int i = 0; i < kPlaces; ++i) {
      fit.q[i] = better ? q[i] : fit.q[i];
    }
  }
  fit.minimum = -least;
  fit.scale = flat ? Reals{} : fit.scale;
  for (Wholes& q : fit.q) {
    q = flat ? Wholes{} : q;
  }
}

// The eight 6-bit scales and minima in 12 bytes.
SFT_INLINE void store_scales(uint8_t* p, const uint8_t* scales, const uint8_t* minima) {
  for (int j = 0; j < 4; ++j) {
    p[j] = static_cast<uint8_t>(scales[j] | (scales[j + 4] >> 4) << 6);
    p[j + 4] = static_cast<uint8_t>(minima[j] | (minima[j + 4] >> 4) << 6);
    p[j + 8] = static_cast<uint8_t>((scales[j + 4] & 15) | (minima[j + 4] & 15) << 4);
  }
}

// Scales and minima, each in 6 bits of their largest; then q by what these decode to.
SFT_INLINE bool store_affine(const Reals (&x)[kPlaces], int levels, AffineFit& fit, uint8_t* p) {
  float top = 0, low = 0;
  for (int g = 0; g < kGroups; ++g) {
    top = std::max(top, fit.scale[g]);
    low = std::max(low, fit.minimum[g]);
  }
  const float by_top = top > 0 ? 63.0F / top : 0;
  const float by_low = low > 0 ? 63.0F / low : 0;
  uint8_t scales[kGroups], minima[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    scales[g] = std::min<uint8_t>(63, static_cast<uint8_t>(nearest(by_top * fit.scale[g])));
    minima[g] = std::min<uint8_t>(63, static_cast<uint8_t>(nearest(by_low * fit.minimum[g])));
  }
  bool sound = store_half(p, top / 63.0F);
  sound &= store_half(p + 2, low / 63.0F);
  store_scales(p + 4, scales, minima);
  Reals d, m;
  for (int g = 0; g < kGroups; ++g) {
    d[g] = load_half(p) * static_cast<float>(scales[g]);
    m[g] = load_half(p + 2) * static_cast<float>(minima[g]);
  }
  for (int i = 0; i < kPlaces; ++i) {
    Wholes q;
    round_within((x[i] + m) / d, 0, levels, q);
    fit.q[i] = d != 0 ? q : fit.q[i];
  }
  return sound;
}

// Two groups share 32 bytes: the first has their low halves.
SFT_INLINE void store_low_bits(uint8_t* p, const Wholes (&q)[kPlaces]) {
  for (int g = 0; g < kGroups; g += 2) {
    for (int i = 0; i < kPlaces; ++i) {
      p[g / 2 * kPlaces + i] = static_cast<uint8_t>((q[i][g] & 15) | (q[i][g + 1] & 15) << 4);
    }
  }
}

// --- Q6_K: x = scale q, sixteen groups of 16, q from -32 to 31; eight at a time ------------------

constexpr int kSmall = 16;
constexpr int kHalfway = 32;

struct Fit {
  Reals x[kSmall];
  Reals scale;
  Wholes q[kSmall];
};

SFT_INLINE void round_signed(const Reals (&x)[kSmall], const Reals& by, Wholes (&q)[kSmall],
                             Reals& sum_xq, Reals& sum_qq) {
  sum_xq = sum_qq = Reals{};
  for (int i = 0; i < kSmall; ++i) {
    round_within(by * x[i], -kHalfway, kHalfway - 1, q[i]);
    const Reals level = __builtin_convertvector(q[i], Reals);
    const Reals weight = x[i] * x[i];
    sum_xq += weight * x[i] * level;
    sum_qq += weight * level * level;
  }
}

SFT_INLINE void fit_scale(Fit& fit) {
  Reals largest{}, value{}, by, sum_xq, sum_qq;
  for (const Reals& v : fit.x) {
    Reals magnitude;
    magnitude_of(v, magnitude);
    value = magnitude > largest ? v : value;
    largest = magnitude > largest ? magnitude : largest;
  }
  fill(by, -static_cast<float>(kHalfway));
  by /= value;
  round_signed(fit.x, by, fit.q, sum_xq, sum_qq);
  fit.scale = sum_qq != 0 ? sum_xq / sum_qq : Reals{};
  Reals best = fit.scale * sum_xq;
  for (int trial = -9; trial <= 9; ++trial) {
    if (trial == 0) {
      continue;
    }
    Wholes q[kSmall];
    fill(by, -(static_cast<float>(kHalfway) + 0.1F * static_cast<float>(trial)));
    by /= value;
    round_signed(fit.x, by, q, sum_xq, sum_qq);
    const Wholes better = (sum_qq > 0) & (sum_xq * sum_xq > best * sum_qq);
    const Reals scale = sum_xq / sum_qq;
    fit.scale = better ? scale : fit.scale;
    best = better ? scale * sum_xq : best;
    for (int i = 0; i < kSmall; ++i) {
      fit.q[i] = better ? q[i] : fit.q[i];
    }
  }
  const Wholes nothing = largest < kNothing;
  fit.scale = nothing ? Reals{} : fit.scale;
  for (Wholes& q : fit.q) {
    q = nothing ? Wholes{} - kHalfway : q;
  }
}

// In each half of 128 values: low four bits of two quarters share a byte, high two bits of four.
SFT_INLINE void store_six_bits(uint8_t* p, const Fit (&halves)[2]) {
  for (int half = 0; half < 2; ++half) {
    uint8_t a[kSuper / 2];
    for (int i = 0; i < kSuper / 2; ++i) {
      a[i] = static_cast<uint8_t>(halves[half].q[i % kSmall][i / kSmall] + kHalfway);
    }
    for (int i = 0; i < 32; ++i) {
      p[half * 64 + i] = static_cast<uint8_t>((a[i] & 15) | (a[64 + i] & 15) << 4);
      p[half * 64 + 32 + i] = static_cast<uint8_t>((a[32 + i] & 15) | (a[96 + i] & 15) << 4);
      p[128 + half * 32 + i] = static_cast<uint8_t>((a[i] >> 4) | (a[32 + i] >> 4) << 2 |
                                                    (a[64 + i] >> 4) << 4 | (a[96 + i] >> 4) << 6);
    }
  }
}

SFT_INLINE bool store_scaled(Fit (&halves)[2], uint8_t* p) {
  float top = 0, magnitude = 0;
  for (const Fit& fit : halves) {
    for (int g = 0; g < kGroups; ++g) {
      if (std::abs(fit.scale[g]) > magnitude) {
        magnitude = std::abs(fit.scale[g]);
        top = fit.scale[g];
      }
    }
  }
  if (magnitude < kNothing) {
    std::memset(p, 0, 210);
    return true;
  }
  const float by = -128.0F / top;
  const bool sound = store_half(p + 208, 1 / by);
  for (int half = 0; half < 2; ++half) {
    Fit& fit = halves[half];
    Reals d;
    for (int g = 0; g < kGroups; ++g) {
      const auto scale = static_cast<int8_t>(std::min(127, nearest(by * fit.scale[g])));
      p[192 + half * kGroups + g] = static_cast<uint8_t>(scale);
      d[g] = load_half(p + 208) * static_cast<float>(scale);
    }
    for (int i = 0; i < kSmall; ++i) {
      Wholes q;
      round_within(fit.x[i] / d, -kHalfway, kHalfway - 1, q);
      fit.q[i] = d != 0 ? q : fit.q[i];
    }
  }
  store_six_bits(p, halves);
  return sound;
}

}  // namespace

SFT_ENCODER bool encode_q4_k(const float* source, int64_t n, std::byte* destination) {
  auto* p = reinterpret_cast<uint8_t*>(destination);
  bool sound = true;
  for (int64_t at = 0; at < n; at += kSuper, p += 144) {
    Reals x[kPlaces];
    AffineFit fit;
    side_by_side(source + at, x);
    fit_affine(x, {15, -1.0F, 20}, fit);
    sound &= store_affine(x, 15, fit, p);
    store_low_bits(p + 16, fit.q);
  }
  return sound;
}

SFT_ENCODER bool encode_q5_k(const float* source, int64_t n, std::byte* destination) {
  auto* p = reinterpret_cast<uint8_t*>(destination);
  bool sound = true;
  for (int64_t at = 0; at < n; at += kSuper, p += 176) {
    Reals x[kPlaces];
    AffineFit fit;
    side_by_side(source + at, x);
    fit_affine(x, {31, -0.5F, 15}, fit);
    sound &= store_affine(x, 31, fit, p);
    for (int i = 0; i < kPlaces; ++i) {
      unsigned fifth = 0;
      for (int g = 0; g < kGroups; ++g) {
        fifth |= static_cast<unsigned>(fit.q[i][g] >> 4 & 1) << g;
      }
      p[16 + i] = static_cast<uint8_t>(fifth);
    }
    store_low_bits(p + 48, fit.q);
  }
  return sound;
}

SFT_ENCODER bool encode_q6_k(const float* source, int64_t n, std::byte* destination) {
  auto* p = reinterpret_cast<uint8_t*>(destination);
  bool sound = true;
  for (int64_t at = 0; at < n; at += kSuper, p += 210) {
    Fit halves[2];
    for (int half = 0; half < 2; ++half) {
      side_by_side(source + at + half * kSuper / 2, halves[half].x);
      fit_scale(halves[half]);
    }
    sound &= store_scaled(halves, p);
  }
  return sound;
}

}  // namespace sft
