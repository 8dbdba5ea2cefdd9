#include <algorithm>
#include <vector>

#include "ops/cpu/rows.h"
#include "ops/qk_norm.h"

namespace sft::cpu {

void qk_norm_forward(Device& device, const Tensor& qkv, const Tensor& query_weight,
                     const Tensor& key_weight, const Heads& heads, const RmsNorm& options,
                     Tensor& y, Tensor& rstd) {
  const int normed = heads.heads + heads.kv_heads;
  const int d = heads.head_dim;
  device.threads().parallel_for(qkv.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* x = qkv.f32() + t * heads.row();
      float* out = y.f32() + t * heads.row();
      for (int h = 0; h < normed; ++h) {
        const float* weight = h < heads.heads ? query_weight.f32() : key_weight.f32();
        rstd.f32()[t * normed + h] =
            norm_row(x + h * d, weight, out + h * d, d, options.eps, options.weight_offset);
      }
      std::copy(x + normed * d, x + heads.row(), out + normed * d);
    }
  });
}

void qk_norm_backward(Device& device, const Tensor& grad_y, const Tensor& qkv,
                      const Tensor& query_weight, const Tensor& key_weight, const Tensor& rstd,
                      const Heads& heads, const RmsNorm& options, Tensor& grad_qkv,
                      Tensor& grad_query_weight, bool accumulate_query, Tensor& grad_key_weight,
                      bool accumulate_key) {
  const int normed = heads.heads + heads.kv_heads;
  const int d = heads.head_dim;
  const int64_t rows = qkv.shape[0];
  const int parts = device.threads().size();
  // Per thread: the query weight's partial gradient, then the key weight's.
  std::vector<double> partial(static_cast<size_t>(parts * 2 * d), 0.0);
  device.threads().run([&](int thread) {
    double* mine = partial.data() + thread * 2 * d;
    for (int64_t t = rows * thread / parts; t < rows * (thread + 1) / parts; ++t) {
      const int64_t at = t * heads.row();
      const float* g = grad_y.f32() + at;
      float* out = grad_qkv.f32() + at;
      for (int h = 0; h < normed; ++h) {
        const bool query = h < heads.heads;
        norm_row_backward(g + h * d, qkv.f32() + at + h * d,
                          query ? query_weight.f32() : key_weight.f32(), rstd.f32()[t * normed + h],
                          options.weight_offset, nullptr, out + h * d, query ? mine : mine + d, d);
      }
      std::copy(g + normed * d, g + heads.row(), out + normed * d);
    }
  });
  const auto collect = [&](Tensor& grad, bool accumulate, int offset) {
    for (int i = 0; grad.data != nullptr && i < d; ++i) {
      double total = accumulate ? grad.f32()[i] : 0.0;
      for (int part = 0; part < parts; ++part) {
        total += partial[static_cast<size_t>(part * 2 * d + offset + i)];
      }
      grad.f32()[i] = static_cast<float>(total);
    }
  };
  collect(grad_query_weight, accumulate_query, 0);
  collect(grad_key_weight, accumulate_key, d);
}

}  // namespace sft::cpu
