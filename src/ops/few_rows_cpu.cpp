#include "ops/few_rows.h"

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "core/error.h"
#include "ops/cpu/gated_row.h"
#include "ops/cpu/row_dots.h"
#include "ops/cpu/rows.h"

namespace sft::cpu {

namespace {

// A row of x, normed where that is asked for, and rounded where a weight wants it.
struct InputRow {
  std::vector<float> values;
  std::unique_ptr<RoundedRow> rounded;

  void dots(const Tensor& weight, int64_t first, int64_t count, float* out) const {
    if (takes_rounded_row(weight.dtype)) {
      rounded_dots(weight, first, count, *rounded, out);
    } else {
      row_dots(weight, first, count, values.data(), out);
    }
  }
};

std::vector<InputRow> input_rows(const Tensor& x, const Tensor& norm,
                                 std::span<const Tensor> weights, const FewRows& how) {
  const int64_t n = x.shape[1];
  std::vector<InputRow> rows(static_cast<size_t>(x.shape[0]));
  for (size_t r = 0; r < rows.size(); ++r) {
    const float* const from = x.f32() + static_cast<int64_t>(r) * n;
    rows[r].values.assign(from, from + n);
    if (how.norm) {
      norm_row(from, norm.f32(), rows[r].values.data(), n, how.norm->eps, how.norm->weight_offset);
    }
    if (std::ranges::any_of(weights, [](const Tensor& w) { return takes_rounded_row(w.dtype); })) {
      rows[r].rounded = std::make_unique<RoundedRow>(rows[r].values.data(), n);
    }
  }
  return rows;
}

constexpr int64_t kTile = 32;  // rows of a weight that stay at hand for all rows of x

// Calls use(row of x, first row of the weight among [begin, end), values) for the products with
// these rows of all parts together.
template <class Use>
void products(std::span<const InputRow> rows, std::span<const Tensor> weights, int64_t begin,
              int64_t end, const Use& use) {
  std::array<float, kTile> out;
  int64_t part_first = 0;
  for (const Tensor& part : weights) {
    const int64_t last = std::min(end, part_first + part.shape[0]);
    for (int64_t at = std::max(begin, part_first); at < last; at += kTile) {
      const int64_t count = std::min(kTile, last - at);
      for (size_t r = 0; r < rows.size(); ++r) {
        rows[r].dots(part, at - part_first, count, out.data());
        use(static_cast<int64_t>(r), at, std::span(out).first(static_cast<size_t>(count)));
      }
    }
    part_first += part.shape[0];
  }
}

}  // namespace

void few_rows_product(Device& device, const Tensor& x, const Tensor& norm,
                      const std::vector<Tensor>& weights, const Tensor& bias, const FewRows& how,
                      Tensor& y, bool accumulate) {
  const std::vector<InputRow> rows = input_rows(x, norm, weights, how);
  const int64_t width = y.shape[1];
  constexpr int64_t kGrain = 16;  // rows: fewer are not worth waking a thread
  if (!how.gated) {
    device.threads().parallel_for(
        width,
        [&](int64_t begin, int64_t end) {
          products(rows, weights, begin, end, [&](int64_t r, int64_t at, std::span<float> values) {
            float* out = y.f32() + r * width + at;
            for (size_t i = 0; i < values.size(); ++i) {
              const float with_bias =
                  how.alpha * values[i] +
                  (bias.data != nullptr ? bias.f32()[at + static_cast<int64_t>(i)] : 0.0F);
              out[i] = accumulate ? out[i] + with_bias : with_bias;
            }
          });
        },
        kGrain);
    return;
  }
  const auto x_rows = x.shape[0];
  device.threads().parallel_for(
      width,
      [&](int64_t begin, int64_t end) {
        // gate and up of these columns, a row of x each
        const int64_t count = end - begin;
        std::vector<float> both(static_cast<size_t>(x_rows * 2 * count));
        for (const int64_t half : {int64_t{0}, int64_t{1}}) {
          const int64_t first = half * width + begin;
          products(rows, weights, first, first + count,
                   [&](int64_t r, int64_t at, std::span<float> values) {
                     float* out = both.data() + (2 * r + half) * count + at - first;
                     for (size_t i = 0; i < values.size(); ++i) {
                       const float more =
                           bias.data != nullptr ? bias.f32()[at + static_cast<int64_t>(i)] : 0.0F;
                       out[i] = values[i] + more;
                     }
                   });
        }
        for (int64_t r = 0; r < x_rows; ++r) {
          float* const out = y.f32() + r * width + begin;
          gated_row(both.data() + 2 * r * count, both.data() + (2 * r + 1) * count, out, count,
                    *how.gated);
        }
      },
      kGrain);
}

}  // namespace sft::cpu
