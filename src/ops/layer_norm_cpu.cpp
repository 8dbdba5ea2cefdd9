#include <cmath>
#include <vector>

#include "ops/layer_norm.h"

namespace sft::cpu {

void layer_norm_forward(Device& device, const Tensor& x, const Tensor& weight, const Tensor& bias,
                        float eps, Tensor& y, Tensor& moments) {
  const int64_t n = x.shape[1];
  const auto width = static_cast<double>(n);
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = x.f32() + row * n;
      float* const to = y.f32() + row * n;
      double sum = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        sum += from[i];
      }
      const double mean = sum / width;
      double squares = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        squares += (from[i] - mean) * (from[i] - mean);
      }
      const double scale = 1.0 / std::sqrt(squares / width + static_cast<double>(eps));
      for (int64_t i = 0; i < n; ++i) {
        to[i] = static_cast<float>((from[i] - mean) * scale) * weight.f32()[i] +
                (bias.data == nullptr ? 0.0F : bias.f32()[i]);
      }
      moments.f32()[2 * row] = static_cast<float>(mean);
      moments.f32()[2 * row + 1] = static_cast<float>(scale);
    }
  });
}

// With z the normalised row and g = grad_y weight: (g - mean(g) - z mean(g z)) / sqrt(var + eps).
void layer_norm_backward(Device& device, const Tensor& grad_y, const Tensor& x,
                         const Tensor& weight, const Tensor& moments, const Tensor& grad_sum,
                         Tensor& grad_x, Tensor& grad_weight, bool accumulate_weight,
                         Tensor& grad_bias, bool accumulate_bias) {
  const int64_t rows = x.shape[0];
  const int64_t n = x.shape[1];
  const int parts = device.threads().size();
  // Per thread the weight's partial gradient, then the bias's; added in thread order.
  std::vector<double> partial(static_cast<size_t>(parts * 2 * n), 0.0);
  device.threads().run([&](int thread) {
    double* const of_weight = partial.data() + thread * 2 * n;
    double* const of_bias = of_weight + n;
    for (int64_t row = rows * thread / parts; row < rows * (thread + 1) / parts; ++row) {
      const float* const g = grad_y.f32() + row * n;
      const float* const from = x.f32() + row * n;
      const float mean = moments.f32()[2 * row];
      const float scale = moments.f32()[2 * row + 1];
      double sum = 0.0;
      double dot = 0.0;
      for (int64_t i = 0; i < n; ++i) {
        const float z = (from[i] - mean) * scale;
        const float weighted = g[i] * weight.f32()[i];
        sum += weighted;
        dot += static_cast<double>(weighted) * z;
        of_weight[i] += static_cast<double>(g[i]) * z;
        of_bias[i] += g[i];
      }
      const auto mean_sum = static_cast<float>(sum / static_cast<double>(n));
      const auto mean_dot = static_cast<float>(dot / static_cast<double>(n));
      for (int64_t i = 0; i < n; ++i) {
        const float z = (from[i] - mean) * scale;
        const float so_far = grad_sum.data == nullptr ? 0.0F : grad_sum.f32()[row * n + i];
        grad_x.f32()[row * n + i] =
            so_far + scale * (g[i] * weight.f32()[i] - mean_sum - z * mean_dot);
      }
    }
  });
  const auto collect = [&](Tensor& grad, bool accumulate, int64_t offset) {
    for (int64_t i = 0; grad.data != nullptr && i < n; ++i) {
      double total = accumulate ? grad.f32()[i] : 0.0;
      for (int part = 0; part < parts; ++part) {
        total += partial[static_cast<size_t>(part * 2 * n + offset + i)];
      }
      grad.f32()[i] = static_cast<float>(total);
    }
  };
  collect(grad_weight, accumulate_weight, 0);
  collect(grad_bias, accumulate_bias, n);
}

}  // namespace sft::cpu
