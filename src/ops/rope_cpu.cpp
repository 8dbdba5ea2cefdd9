#include <algorithm>
#include <cmath>

#include "ops/cpu/simd.h"
#include "ops/rope.h"

namespace sft::cpu {

namespace {

// (a, b) -> (a cos - b sin, b cos + a sin), a and b half of what is rotated apart.
SFT_SIMD void rotate_halves(const float* x, const float* cosine, const float* sine, float sign,
                            float* y, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[i];
    const float b = x[i + half];
    const float s = sign * sine[i];
    y[i] = a * cosine[i] - b * s;
    y[i + half] = b * cosine[i] + a * s;
  }
}

// The same, a and b being neighbours.
SFT_SIMD void rotate_neighbours(const float* x, const float* cosine, const float* sine, float sign,
                                float* y, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    const float s = sign * sine[i];
    y[2 * i] = a * cosine[i] - b * s;
    y[2 * i + 1] = b * cosine[i] + a * s;
  }
}

// Of token t's document; without a table all tokens are the end of one.
int64_t length_of(const Tensor& documents, const Tensor& positions, int64_t t) {
  if (documents.data == nullptr) {
    return int64_t{positions.i32()[positions.shape[0] - 1]} + 1;
  }
  const int32_t* const start = documents.i32();
  const int64_t columns = documents.shape[documents.shape.rank() - 1];
  const int32_t* const end = start + columns;
  const int64_t d = std::upper_bound(start, end, static_cast<int32_t>(t)) - start - 1;
  return d + 1 < columns ? start[d + 1] - start[d] : 0;
}

float frequency(const RopeFrequencies& f, int64_t i, int64_t length) {
  const float usual = f.inv_freq[static_cast<size_t>(i)];
  if (length <= f.short_length) {
    return usual;
  }
  if (f.dynamic_factor > 0.0F) {
    const double stretch = double{f.dynamic_factor} * static_cast<double>(length) /
                               static_cast<double>(f.short_length) -
                           double{f.dynamic_factor} + 1.0;
    const double power = -2.0 * static_cast<double>(i) / static_cast<double>(f.rotated() - 2);
    return usual * static_cast<float>(std::pow(stretch, power));
  }
  return f.long_inv_freq.empty() ? usual : f.long_inv_freq[static_cast<size_t>(i)];
}

}  // namespace

void rope_table_forward(Device& device, const Tensor& positions, const Tensor& documents,
                        const RopeFrequencies& frequencies, Tensor& table) {
  const int64_t half = frequencies.rotated() / 2;
  const int64_t width = table.shape[1];
  device.threads().parallel_for(positions.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = table.f32() + t * width;
      const int64_t length = frequencies.by_length() ? length_of(documents, positions, t) : 0;
      const auto position = static_cast<float>(positions.i32()[t]);
      for (int64_t i = 0; i < half; ++i) {
        const float angle = position * frequency(frequencies, i, length);
        row[i] = std::cos(angle) * frequencies.attention_factor;
        row[half + i] = std::sin(angle) * frequencies.attention_factor;
      }
      if (frequencies.query_beta > 0.0F) {
        const int64_t periods = positions.i32()[t] / frequencies.query_period;
        const float scale =
            1.0F + frequencies.query_beta * std::log(1.0F + static_cast<float>(periods));
        for (int64_t i = 0; i < 2 * half; ++i) {
          row[2 * half + i] = row[i] * scale;
        }
      }
    }
  });
}

void rope_rotate(Device& device, const Tensor& x, const Tensor& table, const Rotation& rotation,
                 int64_t rotated, bool inverse, Tensor& y) {
  const Heads& heads = rotation.heads;
  const int d = heads.head_dim;
  const int turned = heads.heads + heads.kv_heads;
  const float sign = inverse ? -1.0F : 1.0F;
  const auto rotate = rotation.interleaved ? rotate_neighbours : rotate_halves;
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* const keys = table.f32() + t * table.shape[1];
      const float* const queries = keys + table.shape[1] - rotated;
      const float* from = x.f32() + t * heads.row();
      float* to = y.f32() + t * heads.row();
      for (int h = 0; h < turned; ++h) {
        const float* const cosine = h < heads.heads ? queries : keys;
        rotate(from + h * d, cosine, cosine + rotated / 2, sign, to + h * d, rotated / 2);
        if (from != to) {
          std::copy(from + h * d + rotated, from + (h + 1) * d, to + h * d + rotated);
        }
      }
      if (from != to) {
        std::copy(from + turned * d, from + heads.row(), to + turned * d);
      }
    }
  });
}

}  // namespace sft::cpu
