#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "formats/format.h"
#include "ops/cpu/rows.h"
#include "ops/embedding.h"

namespace sft::cpu {

void embedding_forward(Device& device, const Tensor& tokens, const Tensor& weight, float scale,
                       Tensor& y) {
  const int64_t hidden = weight.shape[1];
  device.threads().parallel_for(tokens.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = tokens.i32()[t] * hidden;
      float* const out = y.f32() + t * hidden;
      decode(weight, row, row + hidden, out);
      scale_row(out, hidden, scale);
    }
  });
}

void embedding_backward(Device& device, const Tensor& grad_y, const Tensor& tokens, float scale,
                        int64_t padding, Tensor& grad_weight, bool accumulate) {
  const int64_t hidden = grad_weight.shape[1];
  if (!accumulate) {
    device.threads().parallel_for(grad_weight.shape.elements(), [&](int64_t begin, int64_t end) {
      std::memset(grad_weight.f32() + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
    });
  }
  // A frequent token's rows are added up in float64, in order, and then to its gradient.
  const int32_t* token = tokens.i32();
  std::vector<int64_t> order(static_cast<size_t>(tokens.shape[0]));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return token[a] < token[b]; });
  // By columns: a token that occurs twice is then added by one thread.
  device.threads().parallel_for(
      hidden,
      [&](int64_t begin, int64_t end) {
        std::vector<double> sum(static_cast<size_t>(end - begin));
        for (size_t first = 0, next = 0; first < order.size(); first = next) {
          const int32_t which = token[order[first]];
          float* row = grad_weight.f32() + which * hidden + begin;
          std::copy(row, row + sum.size(), sum.begin());
          for (next = first; next < order.size() && token[order[next]] == which; ++next) {
            widen_add_row(grad_y.f32() + order[next] * hidden + begin, sum.data(), end - begin,
                          scale);
          }
          if (which != padding) {
            std::transform(sum.begin(), sum.end(), row,
                           [](double x) { return static_cast<float>(x); });
          }
        }
      },
      16);
}

}  // namespace sft::cpu
