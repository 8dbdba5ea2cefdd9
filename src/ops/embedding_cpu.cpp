#include <cstring>

#include "ops/cpu/simd.h"
#include "ops/embedding.h"

namespace sft::cpu {

void embedding_forward(Device& device, const Tensor& tokens, const Tensor& weight, float scale,
                       const Tensor& y) {
  const int64_t hidden = weight.shape[1];
  device.threads().parallel_for(tokens.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = weight.f32() + tokens.i32()[t] * hidden;
      float* out = y.f32() + t * hidden;
      for (int64_t i = 0; i < hidden; ++i) {
        out[i] = row[i] * scale;
      }
    }
  });
}

void embedding_backward(Device& device, const Tensor& grad_y, const Tensor& tokens, float scale,
                        int64_t padding, const Tensor& grad_weight, bool accumulate) {
  const int64_t hidden = grad_weight.shape[1];
  if (!accumulate) {
    device.threads().parallel_for(grad_weight.shape.elements(), [&](int64_t begin, int64_t end) {
      std::memset(grad_weight.f32() + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
    });
  }
  // By columns: a token that occurs twice is then added by one thread, in order.
  device.threads().parallel_for(
      hidden,
      [&](int64_t begin, int64_t end) {
        for (int64_t t = 0; t < tokens.shape[0]; ++t) {
          if (tokens.i32()[t] == padding) {
            continue;
          }
          const float* g = grad_y.f32() + t * hidden;
          float* row = grad_weight.f32() + tokens.i32()[t] * hidden;
          for (int64_t i = begin; i < end; ++i) {
            row[i] += g[i] * scale;
          }
        }
      },
      16);
}

}  // namespace sft::cpu
