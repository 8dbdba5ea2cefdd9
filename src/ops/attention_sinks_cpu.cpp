#include <cmath>

#include "ops/attention_sinks.h"
#include "ops/cpu/rows.h"

namespace sft::cpu {

namespace {

int64_t tokens_of(const Tensor& table) { return table.i32()[table.shape[1] - 1]; }

}  // namespace

void add_sinks(Device& device, const Tensor& sinks, const Tensor& table, Tensor& y,
               Tensor& log_sum) {
  const int64_t heads = sinks.shape[0];
  const int64_t tokens = y.shape[0];
  const int64_t d = y.shape[1] / heads;
  device.threads().parallel_for(tokens_of(table), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        float& sum = log_sum.f32()[h * tokens + t];
        const double more = static_cast<double>(sinks.f32()[h]) - static_cast<double>(sum);
        scale_row(y.f32() + t * y.shape[1] + h * d, d,
                  static_cast<float>(1.0 / (1.0 + std::exp(more))));
        sum += static_cast<float>(more > 0.0 ? more + std::log1p(std::exp(-more))
                                             : std::log1p(std::exp(more)));
      }
    }
  });
}

void sinks_backward(Device& device, const Tensor& grad_y, const Tensor& y, const Tensor& log_sum,
                    const Tensor& sinks, const Tensor& table, Tensor& grad_sinks, bool accumulate) {
  const int64_t heads = sinks.shape[0];
  const int64_t tokens = y.shape[0];
  const int64_t d = y.shape[1] / heads;
  device.threads().for_each(heads, [&](int64_t h, int /*thread*/) {
    double sum = accumulate ? static_cast<double>(grad_sinks.f32()[h]) : 0.0;
    for (int64_t t = 0; t < tokens_of(table); ++t) {
      const int64_t at = t * y.shape[1] + h * d;
      const double share = std::exp(static_cast<double>(sinks.f32()[h]) -
                                    static_cast<double>(log_sum.f32()[h * tokens + t]));
      sum -= share * static_cast<double>(dot(grad_y.f32() + at, y.f32() + at, d));
    }
    grad_sinks.f32()[h] = static_cast<float>(sum);
  });
}

}  // namespace sft::cpu
