#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/rows.h"
#include "ops/cpu/simd.h"
#include "ops/linear_cross_entropy.h"

namespace sft::cpu {

namespace {

// x becomes e^(x - top); returns the sum of those, and of those times (x - top).
struct Sums {
  double exponentials = 0.0, weighted = 0.0;
};
SFT_SIMD Sums exponentials(float* x, int64_t n, float top) {
  Sums sums;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {  // as block_sum does
    const int64_t end = std::min(begin + kSumBlock, n);
    float sum = 0.0F;
    float weighted = 0.0F;
#pragma omp simd reduction(+ : sum, weighted)
    for (int64_t i = begin; i < end; ++i) {
      const float shifted = x[i] - top;
      const float e = fast_exp(shifted);
      sum += e;
      weighted += e * shifted;
      x[i] = e;
    }
    sums.exponentials += static_cast<double>(sum);
    sums.weighted += static_cast<double>(weighted);
  }
  return sums;
}

// One row of logits -> its statistics; the logits become the loss's gradient times `scale`.
LossStats loss_row(float* logits, int64_t vocab, int32_t target, LossType type, float scale,
                   bool wants_gradient) {
  const float top = max_row(logits, vocab);
  const float shifted_target = logits[target] - top;
  // The first of equal maxima is the prediction, as torch.argmax has it on the CPU.
  const bool correct =
      shifted_target == 0.0F && std::find(logits, logits + target, top) == logits + target;
  const Sums sums = exponentials(logits, vocab, top);
  const double log_sum = std::log(sums.exponentials);
  const auto log_p = static_cast<float>(shifted_target - log_sum);
  const float weight = type == LossType::dft ? std::exp(log_p) : 1.0F;
  if (wants_gradient) {
    scale_row(logits, vocab, static_cast<float>(weight * scale / sums.exponentials));
    logits[target] -= weight * scale;
  }
  // log_sum - sum p (x - top)
  const auto entropy = static_cast<float>(log_sum - sums.weighted / sums.exponentials);
  // A logit of minus infinity alone would leave the loss sound: it shows in the entropy.
  const float loss = std::isfinite(entropy) ? -weight * log_p : NAN;
  return {loss, correct ? 1.0F : 0.0F, entropy, 1.0F};
}

// Gemma 2's: logits become cap tanh(logit / cap), and `slope` the derivative of that.
SFT_SIMD void cap_row(float* logits, float* slope, int64_t n, float cap) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float t = fast_tanh(logits[i] / cap);
    logits[i] = cap * t;
    slope[i] = 1.0F - t * t;
  }
}

// (1 - s) nll + s mean(-log p) is nll + s (the target's logit - the mean logit), so smoothing adds
// a term that is linear in the logits to what loss_row makes.
LossStats token_loss(float* logits, int64_t vocab, int32_t target, TokenLoss loss, float scale,
                     bool wants_gradient) {
  if (loss.smoothing == 0.0F) {
    return loss_row(logits, vocab, target, loss.type, scale, wants_gradient);
  }
  double sum = 0.0;
  for (int64_t i = 0; i < vocab; ++i) {
    sum += logits[i];
  }
  const double above_mean = logits[target] - sum / static_cast<double>(vocab);
  LossStats stats = loss_row(logits, vocab, target, loss.type, scale, wants_gradient);
  stats.loss += loss.smoothing * static_cast<float>(above_mean);
  if (wants_gradient) {
    const float share = loss.smoothing * scale;
    const float each = share / static_cast<float>(vocab);
    for (int64_t i = 0; i < vocab; ++i) {
      logits[i] -= each;
    }
    logits[target] += share;
  }
  return stats;
}

void gather(const Tensor& from, const int32_t* rows, int64_t count, float* to) {
  const int64_t n = from.shape[1];
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to + i * n, from.f32() + rows[i] * n, static_cast<size_t>(n) * sizeof(float));
  }
}
void scatter(const float* from, const int32_t* rows, int64_t count, Tensor& to) {
  const int64_t n = to.shape[1];
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(to.f32() + rows[i] * n, from + i * n, static_cast<size_t>(n) * sizeof(float));
  }
}

void zero(Tensor& t) {
  if (t.data != nullptr) {
    std::memset(t.data, 0, t.bytes());
  }
}

}  // namespace

void linear_cross_entropy(Device& device, const Tensor& hidden, const Tensor& weight,
                          const Tensor& targets, const Tensor& rows, const Tensor& loss_scale,
                          TokenLoss loss, Tensor& workspace, Tensor& row_stats, Tensor& stats,
                          Tensor& grad_hidden, Tensor& grad_weight, bool accumulate_weight,
                          const Tensor& low, const Tensor& up, float scale,
                          Tensor& update_workspace, Tensor& grad_low, Tensor& grad_up,
                          bool accumulate_up) {
  const int64_t width = hidden.shape[1];
  const int64_t vocab = weight.shape[0];
  const bool wants_hidden = grad_hidden.data != nullptr;
  const bool wants_weight = grad_weight.data != nullptr;
  const bool wants_low = grad_low.data != nullptr;
  const bool wants_up = grad_up.data != nullptr;
  const int64_t rank = low.data != nullptr ? low.shape[1] : 0;
  const int64_t count = rows.shape[0];
  const int32_t* row_of = rows.i32();
  zero(grad_hidden);
  zero(grad_low);
  if (!accumulate_weight && count == 0) {
    zero(grad_weight);
  }
  if (!accumulate_up && count == 0) {
    zero(grad_up);
  }
  // Chunks of equal size: a short last one would read the whole weight for a few rows.
  const int64_t most = workspace.shape[0];
  const int64_t chunks = std::max<int64_t>((count + most - 1) / most, 1);
  const int64_t chunk = (count + chunks - 1) / chunks;
  float* logits = workspace.f32();
  float* x = logits + chunk * vocab;  // (chunk, width): the trained rows, gathered
  float* grad_x = x + chunk * width;  // (chunk, width)
  auto* of_row = row_stats.as<LossStats>();
  for (int64_t begin = 0; begin < count; begin += chunk) {
    const int64_t n = std::min(chunk, count - begin);
    gather(hidden, row_of + begin, n, x);
    gemm(device.threads(), {.transpose_b = true,
                            .m = n,
                            .n = vocab,
                            .k = width,
                            .a = x,
                            .lda = width,
                            .b = weight.f32(),
                            .ldb = width,
                            .c = logits,
                            .ldc = vocab});
    float* const x_low = update_workspace.f32();  // (chunk, rank), and its gradient behind it
    float* const grad_x_low = x_low + chunk * rank;
    if (rank > 0) {
      gather(low, row_of + begin, n, x_low);
      gemm(device.threads(), {.transpose_b = true,
                              .m = n,
                              .n = vocab,
                              .k = rank,
                              .alpha = scale,
                              .a = x_low,
                              .lda = rank,
                              .b = up.f32(),
                              .ldb = rank,
                              .beta = 1.0F,
                              .c = logits,
                              .ldc = vocab});
    }
    const bool wants_gradient = wants_hidden || wants_weight || wants_low || wants_up;
    device.threads().parallel_for(n, [&](int64_t from, int64_t to) {
      std::vector<float> slope(loss.cap > 0.0F ? static_cast<size_t>(vocab) : 0);
      for (int64_t i = from; i < to; ++i) {
        float* const row = logits + i * vocab;
        if (loss.cap > 0.0F) {
          cap_row(row, slope.data(), vocab, loss.cap);
        }
        of_row[begin + i] = token_loss(row, vocab, targets.i32()[row_of[begin + i]], loss,
                                       loss_scale.f32()[0], wants_gradient);
        for (int64_t k = 0; loss.cap > 0.0F && wants_gradient && k < vocab; ++k) {
          row[k] *= slope[static_cast<size_t>(k)];
        }
      }
    });
    if (wants_hidden) {
      gemm(device.threads(), {.m = n,
                              .n = width,
                              .k = vocab,
                              .a = logits,
                              .lda = vocab,
                              .b = weight.f32(),
                              .ldb = width,
                              .c = grad_x,
                              .ldc = width});
      scatter(grad_x, row_of + begin, n, grad_hidden);
    }
    if (wants_low) {
      gemm(device.threads(), {.m = n,
                              .n = rank,
                              .k = vocab,
                              .alpha = scale,
                              .a = logits,
                              .lda = vocab,
                              .b = up.f32(),
                              .ldb = rank,
                              .c = grad_x_low,
                              .ldc = rank});
      scatter(grad_x_low, row_of + begin, n, grad_low);
    }
    if (wants_up) {
      gemm(device.threads(), {.transpose_a = true,
                              .m = vocab,
                              .n = rank,
                              .k = n,
                              .alpha = scale,
                              .a = logits,
                              .lda = vocab,
                              .b = x_low,
                              .ldb = rank,
                              .beta = accumulate_up || begin > 0 ? 1.0F : 0.0F,
                              .c = grad_up.f32(),
                              .ldc = rank});
    }
    if (wants_weight) {
      gemm(device.threads(), {.transpose_a = true,
                              .m = vocab,
                              .n = width,
                              .k = n,
                              .a = logits,
                              .lda = vocab,
                              .b = x,
                              .ldb = width,
                              .beta = accumulate_weight || begin > 0 ? 1.0F : 0.0F,
                              .c = grad_weight.f32(),
                              .ldc = width});
    }
  }
  double losses = 0, correct = 0, entropy = 0;
  for (int64_t i = 0; i < count; ++i) {
    losses += of_row[i].loss;
    correct += of_row[i].correct;
    entropy += of_row[i].entropy;
  }
  const LossStats total{static_cast<float>(losses), static_cast<float>(correct),
                        static_cast<float>(entropy), static_cast<float>(count)};
  std::memcpy(stats.data, &total, sizeof total);
}

}  // namespace sft::cpu
