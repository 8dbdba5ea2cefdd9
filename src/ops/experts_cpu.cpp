#include <algorithm>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/rows.h"
#include "ops/experts.h"

namespace sft::cpu {

namespace {

constexpr int64_t kGrain = 16;  // rows that are worth a thread

// Calls multiply(group, first row, rows) for groups that have rows: where there are many they are
// shared out, each to one thread, else all threads share one after the other.
template <class Multiply>
void for_groups(ThreadPool& threads, const Tensor& starts, const Multiply& multiply) {
  const int64_t groups = starts.shape[0] - 1;
  const auto one = [&](int64_t g, bool alone) {
    const int32_t first = starts.i32()[g];
    multiply(g, int64_t{first}, int64_t{starts.i32()[g + 1]} - first,
             [&](const Gemm& product) { alone ? gemm_serial(product) : gemm(threads, product); });
  };
  if (groups >= 2 * threads.size()) {
    threads.for_each(groups, [&](int64_t g, int /*thread*/) { one(g, true); });
    return;
  }
  for (int64_t g = 0; g < groups; ++g) {
    one(g, false);
  }
}

}  // namespace

void sort_by_expert(Device& /*device*/, const Tensor& experts, Tensor& starts, Tensor& rows,
                    Tensor& slots) {
  const int64_t groups = starts.shape[0] - 1;
  const int64_t pairs = experts.shape.elements();
  const int64_t chosen = experts.shape[1];
  std::vector<int32_t> next(static_cast<size_t>(groups + 1), 0);
  for (int64_t i = 0; i < pairs; ++i) {
    ++next[static_cast<size_t>(experts.i32()[i] + 1)];
  }
  for (int64_t g = 0; g < groups; ++g) {
    next[static_cast<size_t>(g + 1)] += next[static_cast<size_t>(g)];
  }
  std::ranges::copy(next, starts.i32());
  for (int64_t i = 0; i < pairs; ++i) {
    const int32_t row = next[static_cast<size_t>(experts.i32()[i])]++;
    rows.i32()[row] = static_cast<int32_t>(i / chosen);
    slots.i32()[i] = row;
  }
}

void sum_slots(Device& device, const Tensor& x, const Tensor& slots, const Tensor& weights,
               Tensor& y, bool accumulate) {
  const int64_t width = y.shape[1];
  const int64_t chosen = slots.shape[1];
  device.threads().parallel_for(
      y.shape[0],
      [&](int64_t begin, int64_t end) {
        std::vector<double> sum(static_cast<size_t>(width));
        for (int64_t t = begin; t < end; ++t) {
          float* const to = y.f32() + t * width;
          std::ranges::fill(sum, 0.0);
          for (int64_t i = t * chosen; i < (t + 1) * chosen; ++i) {
            widen_add_row(x.f32() + int64_t{slots.i32()[i]} * width, sum.data(), width,
                          weights.data == nullptr ? 1.0F : weights.f32()[i]);
          }
          for (int64_t i = 0; i < width; ++i) {
            const auto total = static_cast<float>(sum[static_cast<size_t>(i)]);
            to[i] = accumulate ? to[i] + total : total;
          }
        }
      },
      kGrain);
}

void from_experts_backward(Device& device, const Tensor& grad, const Tensor& y, const Tensor& slots,
                           const Tensor& weights, Tensor& grad_y, Tensor& grad_weights,
                           bool accumulate) {
  const int64_t width = grad.shape[1];
  const int64_t chosen = slots.shape[1];
  device.threads().parallel_for(
      grad.shape[0],
      [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const float* const g = grad.f32() + t * width;
          for (int64_t i = t * chosen; i < (t + 1) * chosen; ++i) {
            const int64_t row = int64_t{slots.i32()[i]} * width;
            if (grad_y.data != nullptr) {
              std::copy_n(g, width, grad_y.f32() + row);
              scale_row(grad_y.f32() + row, width, weights.f32()[i]);
            }
            if (grad_weights.data != nullptr) {
              grad_weights.f32()[i] =
                  dot(g, y.f32() + row, width) + (accumulate ? grad_weights.f32()[i] : 0.0F);
            }
          }
        }
      },
      kGrain);
}

void grouped_product(Device& device, const Tensor& x, const Tensor& weight, const Tensor& low,
                     const Tensor& low_weight, const Tensor& starts, bool turned, float alpha,
                     Tensor& y, bool accumulate) {
  const int64_t out = y.shape[1];
  for_groups(device.threads(), starts,
             [&](int64_t g, int64_t first, int64_t rows, const auto& multiply) {
               const auto add = [&](const Tensor& a, const Tensor& b, float scale, float beta) {
                 const int64_t in = a.shape[1];
                 multiply({.transpose_b = !turned,
                           .m = rows,
                           .n = out,
                           .k = in,
                           .alpha = scale,
                           .a = a.f32() + first * in,
                           .lda = in,
                           .b = b.f32() + g * in * out,
                           .ldb = b.shape[1],
                           .beta = beta,
                           .c = y.f32() + first * out,
                           .ldc = out});
               };
               if (rows > 0) {
                 add(x, weight, alpha, accumulate ? 1.0F : 0.0F);
                 if (low.data != nullptr) {
                   add(low, low_weight, 1.0F, 1.0F);
                 }
               }
             });
}

void grouped_outer(Device& device, const Tensor& a, const Tensor& b, const Tensor& starts,
                   Tensor& grad, bool accumulate) {
  const int64_t m = a.shape[1];
  const int64_t n = b.shape[1];
  for_groups(device.threads(), starts,
             [&](int64_t g, int64_t first, int64_t rows, const auto& multiply) {
               float* const to = grad.f32() + g * m * n;
               if (rows > 0) {
                 multiply({.transpose_a = true,
                           .m = m,
                           .n = n,
                           .k = rows,
                           .a = a.f32() + first * m,
                           .lda = m,
                           .b = b.f32() + first * n,
                           .ldb = n,
                           .beta = accumulate ? 1.0F : 0.0F,
                           .c = to,
                           .ldc = n});
               } else if (!accumulate) {
                 std::fill_n(to, m * n, 0.0F);
               }
             });
}

void split_by_expert(Device& device, const Tensor& b, Tensor& y) {
  const int64_t rows = b.shape[0];
  const int64_t rank = y.shape[1];
  const int64_t experts = y.shape[0] / rows;
  device.threads().parallel_for(
      y.shape[0],
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const float* const from = b.f32() + row % rows * rank * experts + row / rows;
          for (int64_t k = 0; k < rank; ++k) {
            y.f32()[row * rank + k] = from[k * experts];
          }
        }
      },
      kGrain);
}

void split_by_expert_backward(Device& device, const Tensor& grad_y, Tensor& grad_b,
                              bool accumulate) {
  const int64_t rows = grad_b.shape[0];
  const int64_t rank = grad_y.shape[1];
  const int64_t experts = grad_y.shape[0] / rows;
  device.threads().parallel_for(
      rows,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * rank * experts; i < end * rank * experts; ++i) {
          const int64_t row = i / (rank * experts);
          const int64_t k = i / experts % rank;
          const float g = grad_y.f32()[(i % experts * rows + row) * rank + k];
          grad_b.f32()[i] = accumulate ? grad_b.f32()[i] + g : g;
        }
      },
      kGrain);
}

void grouped_bias(Device& device, const Tensor& bias, const Tensor& starts, Tensor& y) {
  const int64_t n = y.shape[1];
  const int32_t* const ends = starts.i32() + 1;
  device.threads().parallel_for(
      y.shape[0],
      [&](int64_t begin, int64_t end) {
        int64_t g = std::upper_bound(ends, ends + starts.shape[0] - 1, begin) - ends;
        for (int64_t row = begin; row < end; ++row) {
          while (ends[g] <= row) {
            ++g;
          }
          add_row(bias.f32() + g * n, y.f32() + row * n, n);
        }
      },
      kGrain);
}

void grouped_bias_backward(Device& device, const Tensor& grad_y, const Tensor& starts, Tensor& grad,
                           bool accumulate) {
  const int64_t n = grad_y.shape[1];
  device.threads().for_each(starts.shape[0] - 1, [&](int64_t g, int /*thread*/) {
    std::vector<double> sum(static_cast<size_t>(n), 0.0);
    float* const to = grad.f32() + g * n;
    if (accumulate) {
      std::copy_n(to, n, sum.begin());
    }
    for (int64_t row = starts.i32()[g]; row < starts.i32()[g + 1]; ++row) {
      widen_add_row(grad_y.f32() + row * n, sum.data(), n);
    }
    std::ranges::transform(sum, to, [](double x) { return static_cast<float>(x); });
  });
}

}  // namespace sft::cpu
