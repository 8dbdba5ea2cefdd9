#include <algorithm>
#include <cmath>

#include "ops/cpu/simd.h"
#include "ops/rope.h"

namespace sft::cpu {

namespace {

// (a, b) -> (a cos - b sin, b cos + a sin), a and b half a head apart.
SFT_SIMD void rotate_head(const float* x, const float* cosine, const float* sine, float sign,
                          float* y, int half) {
#pragma omp simd
  for (int i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    const float s = sign * sine[i];
    y[i] = a * cosine[i] - b * s;
    y[i + half] = b * cosine[i] + a * s;
  }
}

}  // namespace

void rope_table_forward(Device& device, const Tensor& positions, const RopeFrequencies& frequencies,
                        Tensor& table) {
  const auto half = static_cast<int64_t>(frequencies.inv_freq.size());
  device.threads().parallel_for(positions.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = table.f32() + t * 2 * half;
      const auto position = static_cast<float>(positions.i32()[t]);
      for (int64_t i = 0; i < half; ++i) {
        const float angle = position * frequencies.inv_freq[static_cast<size_t>(i)];
        row[i] = std::cos(angle) * frequencies.attention_factor;
        row[half + i] = std::sin(angle) * frequencies.attention_factor;
      }
    }
  });
}

void rope_rotate(Device& device, const Tensor& x, const Tensor& table, const Heads& heads,
                 bool inverse, Tensor& y) {
  const int d = heads.head_dim;
  const int rotated = heads.heads + heads.kv_heads;
  const float sign = inverse ? -1.0F : 1.0F;
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* cosine = table.f32() + t * d;
      const float* from = x.f32() + t * heads.row();
      float* to = y.f32() + t * heads.row();
      for (int h = 0; h < rotated; ++h) {
        rotate_head(from + h * d, cosine, cosine + d / 2, sign, to + h * d, d / 2);
      }
      if (from != to) {
        std::copy(from + rotated * d, from + heads.row(), to + rotated * d);
      }
    }
  });
}

}  // namespace sft::cpu
