#include "optim/adamw.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/simd.h"
#include "optim/kernels.h"

namespace sft {

namespace {

SFT_SIMD void adamw_row(float* w, const float* g, float* m, float* v, int64_t n,
                        const AdamWUpdate& u) {
  const float clip = u.clip, decay = u.decay;
  const float one_minus_beta1 = u.one_minus_beta1;
  const float beta2 = u.beta2, one_minus_beta2 = u.one_minus_beta2;
  const float step_size = u.step_size, correction = u.correction, epsilon = u.epsilon;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] * clip;
    const float first = m[i] + (gradient - m[i]) * one_minus_beta1;
    const float second = v[i] * beta2 + gradient * gradient * one_minus_beta2;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * decay - step_size * first / (std::sqrt(second) * correction + epsilon);
  }
}

SFT_SIMD float sum_of_squares(const float* x, int64_t n) {
  float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    sum += x[i] * x[i];
  }
  return sum;
}

}  // namespace

AdamW::AdamW(Device& device, const std::vector<ParamSpec>& specs, const ParamLayout& layout,
             const AdamWOptions& options)
    : device_(device),
      specs_(specs),
      layout_(layout),
      options_(options),
      first_(device.allocate(static_cast<size_t>(layout.elements) * sizeof(float))),
      second_(device.allocate(static_cast<size_t>(layout.elements) * sizeof(float))) {
  const bool decays_at_all = options.weight_decay != 0.0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const int64_t begin = layout.offsets[i];
    const int64_t end = i + 1 < specs.size() ? layout.offsets[i + 1] : layout.elements;
    const bool decay = decays_at_all && decays(specs[i]);
    if (!segments_.empty() && segments_.back().decay == decay) {
      segments_.back().end = end;
    } else {
      segments_.push_back({begin, end, decay});
    }
  }
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> out;
  const auto add = [&](const char* prefix, float* values) {
    for (NamedTensor& t : named_tensors(specs_, layout_, values)) {
      out.push_back({fmt::format("{}.{}", prefix, t.name), t.tensor});
    }
  };
  add("exp_avg", first_.f32());
  add("exp_avg_sq", second_.f32());
  return out;
}

void AdamW::step(float* weights, const float* gradients, double learning_rate, double clip,
                 int64_t step, void* copy, DType copy_type) {
  const auto n = static_cast<double>(step);
  const double correction1 = 1.0 - std::pow(options_.beta1, n);
  const double correction2 = 1.0 - std::pow(options_.beta2, n);
  AdamWUpdate update{static_cast<float>(clip),
                     static_cast<float>(1.0 - options_.beta1),
                     static_cast<float>(options_.beta2),
                     static_cast<float>(1.0 - options_.beta2),
                     1.0F,
                     static_cast<float>(learning_rate / correction1),
                     static_cast<float>(1.0 / std::sqrt(correction2)),
                     static_cast<float>(options_.epsilon)};
  const OptimKernels* own = device_.optim_kernels();
  const auto kernel = own != nullptr ? own->adamw : cpu::adamw;
  const auto width = static_cast<int64_t>(size_of(copy_type));
  for (const Segment& s : segments_) {
    update.decay = s.decay ? static_cast<float>(1.0 - learning_rate * options_.weight_decay) : 1.0F;
    void* const copy_at =
        copy == nullptr ? nullptr : static_cast<std::byte*>(copy) + s.begin * width;
    kernel(device_,
           {weights + s.begin, gradients + s.begin, first_.f32() + s.begin, second_.f32() + s.begin,
            copy_at, copy_type, s.end - s.begin},
           update);
  }
}

void cpu::adamw(Device& device, const AdamWSlice& s, const AdamWUpdate& update) {
  device.threads().parallel_for(
      s.n,
      [&](int64_t begin, int64_t end) {
        adamw_row(s.weights + begin, s.gradients + begin, s.first + begin, s.second + begin,
                  end - begin, update);
      },
      4096);
}

double cpu::l2_norm(Device& device, const float* x, int64_t n) {
  constexpr int64_t kChunk = 4096;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  std::vector<double> sums(static_cast<size_t>(chunks));
  device.threads().parallel_for(chunks, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      sums[static_cast<size_t>(c)] =
          sum_of_squares(x + c * kChunk, std::min(kChunk, n - c * kChunk));
    }
  });
  double total = 0.0;
  for (const double s : sums) {
    total += s;
  }
  return std::sqrt(total);
}

double l2_norm(Device& device, const float* x, int64_t n) {
  const OptimKernels* own = device.optim_kernels();
  return own != nullptr ? own->l2_norm(device, x, n) : cpu::l2_norm(device, x, n);
}

double clip_factor(double norm, double max_norm) {
  // In this order a norm that is no number stays none.
  return max_norm > 0.0 ? std::min(max_norm / (norm + 1e-6), 1.0) : 1.0;
}

}  // namespace sft
