#include <algorithm>
#include <vector>

#include "ops/causal_conv.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

constexpr int64_t kBlock = 64;  // channels that are worked on at a time, in all tokens

// What a block of channels reads and writes; rows of `stride`, at its first channel.
struct Channels {
  int64_t n = 0, taps = 0;
  std::vector<float> weight;  // (taps, n)
  std::vector<float> bias;    // n
  Channels(const Tensor& w, const Tensor& b, int64_t first)
      : n(std::min(kBlock, w.shape[0] - first)), taps(w.shape[2]), bias(static_cast<size_t>(n)) {
    weight.resize(static_cast<size_t>(taps * n));
    for (int64_t c = 0; c < n; ++c) {
      for (int64_t j = 0; j < taps; ++j) {
        weight[static_cast<size_t>(j * n + c)] = w.f32()[(first + c) * taps + j];
      }
      bias[static_cast<size_t>(c)] = b.data == nullptr ? 0.0F : b.f32()[first + c];
    }
  }
};

SFT_SIMD void multiply_add(const float* a, const float* b, float* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += a[i] * b[i];
  }
}
SFT_SIMD void multiply_add(const float* a, const float* b, double* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    sum[i] += a[i] * b[i];
  }
}
SFT_SIMD void multiply(const float* a, const float* b, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] = a[i] * b[i];
  }
}
SFT_SIMD void silu(const float* x, float* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    y[i] = x[i] * fast_sigmoid(x[i]);
  }
}
SFT_SIMD void silu_backward(const float* grad, float* x, int64_t n) {  // x becomes its gradient
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float s = fast_sigmoid(x[i]);
    x[i] = grad[i] * s * (1.0F + x[i] * (1.0F - s));
  }
}

// sum = bias + the taps over u, rows of n of which row `t` is the token's own; rows before row 0
// are zeros.
void conv_row(const Channels& c, const float* u, int64_t t, float* sum) {
  std::copy(c.bias.begin(), c.bias.end(), sum);
  for (int64_t j = std::max<int64_t>(0, c.taps - 1 - t); j < c.taps; ++j) {
    multiply_add(c.weight.data() + j * c.n, u + (t - c.taps + 1 + j) * c.n, sum, c.n);
  }
}

// What the sum sees of `rows` tokens of x: (rows, n).
void seen(const Tensor& x, const Channels& c, int64_t start, int64_t rows, int64_t channels,
          int64_t first, ConvForm form, float* u) {
  for (int64_t t = 0; t < rows; ++t) {
    const float* const row = x.f32() + (start + t) * x.shape[1] + first;
    if (form == ConvForm::gated) {
      multiply(row, row + 2 * channels, u + t * c.n, c.n);
    } else {
      std::copy_n(row, c.n, u + t * c.n);
    }
  }
}

void finish_row(const float* row, const float* sum, int64_t channels, ConvForm form, int64_t n,
                float* y) {
  if (form == ConvForm::gated) {
    multiply(row + channels, sum, y, n);
  } else {
    silu(sum, y, n);
  }
}

int64_t blocks_of(int64_t channels) { return (channels + kBlock - 1) / kBlock; }

void zero_after(const Tensor& table, Tensor& y) {
  const int64_t end = table.i32()[table.shape[1] - 1];
  std::fill(y.f32() + end * y.shape[1], y.f32() + y.shape.elements(), 0.0F);
}

}  // namespace

void causal_conv_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& table, ConvForm form, Tensor& y) {
  const int64_t channels = weight.shape[0];
  zero_after(table, y);
  device.threads().for_each(blocks_of(channels), [&](int64_t block, int) {
    const int64_t first = block * kBlock;
    const Channels c(weight, bias, first);
    std::vector<float> u, sum(static_cast<size_t>(c.n));
    for (int64_t d = 0; d + 1 < table.shape[1]; ++d) {
      const int64_t start = table.i32()[d];
      const int64_t length = table.i32()[d + 1] - start;
      u.resize(static_cast<size_t>(length * c.n));
      seen(x, c, start, length, channels, first, form, u.data());
      for (int64_t t = 0; t < length; ++t) {
        conv_row(c, u.data(), t, sum.data());
        finish_row(x.f32() + (start + t) * x.shape[1] + first, sum.data(), channels, form, c.n,
                   y.f32() + (start + t) * channels + first);
      }
    }
  });
}

// With g the gradient of the sum: u's is the taps over g the other way round, weight[j]'s the sum
// over tokens of g[t] u[t - taps + 1 + j].
void causal_conv_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                          const Tensor& weight, const Tensor& bias, const Tensor& table,
                          ConvForm form, Tensor& grad_x, Tensor& grad_weight,
                          bool accumulate_weight, Tensor& grad_bias, bool accumulate_bias) {
  const int64_t channels = weight.shape[0];
  const int64_t width = x.shape[1];
  zero_after(table, grad_x);
  device.threads().for_each(blocks_of(channels), [&](int64_t block, int) {
    const int64_t first = block * kBlock;
    const Channels c(weight, bias, first);
    const std::vector<float> ones(static_cast<size_t>(c.n), 1.0F);
    std::vector<double> of_weight(c.weight.size()), of_bias(c.bias.size());
    std::vector<float> u, g, grad_u(c.bias.size());
    for (int64_t d = 0; d + 1 < table.shape[1]; ++d) {
      const int64_t start = table.i32()[d];
      const int64_t length = table.i32()[d + 1] - start;
      u.resize(static_cast<size_t>(length * c.n));
      g.resize(u.size());
      seen(x, c, start, length, channels, first, form, u.data());
      for (int64_t t = 0; t < length; ++t) {
        const float* const grad = grad_y.f32() + (start + t) * channels + first;
        float* const sum = g.data() + t * c.n;
        conv_row(c, u.data(), t, sum);
        if (form == ConvForm::gated) {
          const int64_t at = (start + t) * width + channels + first;
          multiply(grad, sum, grad_x.f32() + at, c.n);
          multiply(grad, x.f32() + at, sum, c.n);
        } else {
          silu_backward(grad, sum, c.n);
        }
        multiply_add(sum, ones.data(), of_bias.data(), c.n);
        for (int64_t j = std::max<int64_t>(0, c.taps - 1 - t); j < c.taps; ++j) {
          multiply_add(sum, u.data() + (t - c.taps + 1 + j) * c.n, of_weight.data() + j * c.n, c.n);
        }
      }
      for (int64_t t = 0; t < length; ++t) {
        std::ranges::fill(grad_u, 0.0F);
        for (int64_t j = std::max<int64_t>(0, c.taps - length + t); j < c.taps; ++j) {
          multiply_add(c.weight.data() + j * c.n, g.data() + (t + c.taps - 1 - j) * c.n,
                       grad_u.data(), c.n);
        }
        float* const to = grad_x.f32() + (start + t) * width + first;
        if (form == ConvForm::gated) {
          const float* const row = x.f32() + (start + t) * width + first;
          multiply(grad_u.data(), row + 2 * channels, to, c.n);
          multiply(grad_u.data(), row, to + 2 * channels, c.n);
        } else {
          std::ranges::copy(grad_u, to);
        }
      }
    }
    for (int64_t i = 0; i < c.n; ++i) {
      for (int64_t j = 0; grad_weight.data != nullptr && j < c.taps; ++j) {
        float& to = grad_weight.f32()[(first + i) * c.taps + j];
        to = static_cast<float>((accumulate_weight ? to : 0.0) +
                                of_weight[static_cast<size_t>(j * c.n + i)]);
      }
      if (grad_bias.data != nullptr) {
        float& to = grad_bias.f32()[first + i];
        to = static_cast<float>((accumulate_bias ? to : 0.0) + of_bias[static_cast<size_t>(i)]);
      }
    }
  });
}

void cached_conv_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& past, const Tensor& lanes, ConvForm form, Tensor& state,
                         Tensor& y) {
  const int64_t channels = weight.shape[0];
  const int64_t before = weight.shape[2] - 1;
  const int64_t texts = lanes.shape[0];
  const int64_t fresh = x.shape[0] / texts;
  device.threads().for_each(texts * blocks_of(channels), [&](int64_t item, int) {
    const int64_t text = item / blocks_of(channels);
    const int64_t first = item % blocks_of(channels) * kBlock;
    const Channels c(weight, bias, first);
    float* const held = state.f32() + lanes.i32()[text] * before * channels + first;
    // What is held, zeros where the text has just begun, and then what is new.
    std::vector<float> u(static_cast<size_t>((before + fresh) * c.n)), sum(c.bias.size());
    for (int64_t t = 0; t < before && past.i32()[2 * text + 1] > 0; ++t) {
      std::copy_n(held + t * channels, c.n, u.data() + t * c.n);
    }
    seen(x, c, text * fresh, fresh, channels, first, form, u.data() + before * c.n);
    for (int64_t t = 0; t < fresh; ++t) {
      conv_row(c, u.data(), before + t, sum.data());
      finish_row(x.f32() + (text * fresh + t) * x.shape[1] + first, sum.data(), channels, form, c.n,
                 y.f32() + (text * fresh + t) * channels + first);
    }
    for (int64_t t = 0; t < before; ++t) {
      std::copy_n(u.data() + (fresh + t) * c.n, c.n, held + t * channels);
    }
  });
}

}  // namespace sft::cpu
