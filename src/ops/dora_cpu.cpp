#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu/simd.h"
#include "ops/dora.h"

namespace sft::cpu {

namespace {

SFT_SIMD double squares(const float* x, int64_t n) {
  return block_sum(n, [&](int64_t i) { return x[i] * x[i]; });
}

// Values first, first + 1, ... of a piece's ranks in a row that has those of all pieces.
int64_t first_rank(size_t piece, int64_t rank) { return static_cast<int64_t>(piece) * rank; }

}  // namespace

void row_squares(Device& device, const Tensor& weight, Tensor& squared) {
  const int64_t in = weight.shape[1];
  device.threads().parallel_for(weight.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      squared.f32()[j] = static_cast<float>(squares(weight.f32() + j * in, in));
    }
  });
}

void dora_gain(Device& device, const Tensor& squares, const Tensor& down, const Tensor& gram,
               const Tensor& b, const Tensor& magnitude, const std::vector<LoraPiece>& pieces,
               Tensor& gain, Tensor& inverse, bool more) {
  if (!more) {
    std::fill_n(gain.f32(), gain.shape[0], 1.0F);
  }
  const int64_t ranks = down.shape[1], rank = b.shape[1];
  int64_t begin_row = 0;  // in b, of the piece
  for (size_t i = 0; i < pieces.size(); ++i) {
    const LoraPiece& piece = pieces[i];
    const int64_t k = first_rank(i, rank);
    const double scale = piece.scale;
    device.threads().parallel_for(piece.rows, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const float* const up = b.f32() + (begin_row + j) * rank;
        const float* const across = down.f32() + (piece.first_row + j) * ranks + k;
        double mixed = 0, own = 0;
        for (int64_t l = 0; l < rank; ++l) {
          mixed += static_cast<double>(across[l]) * up[l];
          const float* const products = gram.f32() + (k + l) * ranks + k;
          double sum = 0;
          for (int64_t m = 0; m < rank; ++m) {
            sum += static_cast<double>(products[m]) * up[m];
          }
          own += sum * up[l];
        }
        const double square =
            squares.f32()[piece.first_row + j] + 2 * scale * mixed + scale * scale * own;
        const double one_over = 1.0 / std::sqrt(std::max(square, 0.0));
        inverse.f32()[begin_row + j] = static_cast<float>(one_over);
        gain.f32()[piece.first_row + j] =
            static_cast<float>(magnitude.f32()[begin_row + j] * one_over);
      }
    });
    begin_row += piece.rows;
  }
}

void dora_gain_backward(Device& /*device*/, const Tensor& grad_gain, const Tensor& inverse,
                        const std::vector<LoraPiece>& pieces, Tensor& grad_magnitude,
                        bool accumulate) {
  float* to = grad_magnitude.f32();
  const float* over = inverse.f32();
  for (const LoraPiece& piece : pieces) {
    for (int64_t j = 0; j < piece.rows; ++j, ++to, ++over) {
      const float grad = grad_gain.f32()[piece.first_row + j] * *over;
      *to = accumulate ? *to + grad : grad;
    }
  }
}

void scale_columns(Device& device, const Tensor& x, const Tensor& gain, const Tensor& bias,
                   Tensor& y) {
  const int64_t n = x.shape[1];
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < n; ++i) {
        const float scaled = x.f32()[t * n + i] * gain.f32()[i];
        y.f32()[t * n + i] = bias.data == nullptr ? scaled : scaled + bias.f32()[i];
      }
    }
  });
}

void column_dots(Device& device, const Tensor& grad_y, const Tensor& x, const Tensor& more,
                 int64_t first, Tensor& grad_gain) {
  const int64_t n = x.shape[1], ld = grad_y.shape[1];
  // By columns, in float64: the sum is over all tokens.
  device.threads().parallel_for(
      n,
      [&](int64_t begin, int64_t end) {
        std::vector<double> sum(static_cast<size_t>(end - begin));
        for (int64_t t = 0; t < x.shape[0]; ++t) {
          const float* const grad = grad_y.f32() + t * ld + first;
          for (int64_t i = begin; i < end; ++i) {
            const float value =
                x.f32()[t * n + i] + (more.data == nullptr ? 0.0F : more.f32()[t * n + i]);
            sum[static_cast<size_t>(i - begin)] += static_cast<double>(grad[i]) * value;
          }
        }
        std::transform(sum.begin(), sum.end(), grad_gain.f32() + first + begin,
                       [](double s) { return static_cast<float>(s); });
      },
      16);
}

void dora_mix(Device& device, const Tensor& base, const Tensor& update, const Tensor& gain,
              int64_t first, Tensor& y) {
  const int64_t n = base.shape[1], ld = y.shape[1];
  device.threads().parallel_for(base.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* const to = y.f32() + t * ld + first;
      for (int64_t i = 0; i < n; ++i) {
        const float g = gain.f32()[first + i];
        to[i] += (g - 1.0F) * base.f32()[t * n + i] + g * update.f32()[t * n + i];
      }
    }
  });
}

void dora_mix_backward(Device& device, const Tensor& grad_y, const Tensor& gain, int64_t first,
                       Tensor& grad_base, Tensor& grad_update) {
  const int64_t n = grad_base.shape[1], ld = grad_y.shape[1];
  device.threads().parallel_for(grad_base.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* const grad = grad_y.f32() + t * ld + first;
      for (int64_t i = 0; i < n; ++i) {
        const float g = gain.f32()[first + i];
        grad_base.f32()[t * n + i] = (g - 1.0F) * grad[i];
        grad_update.f32()[t * n + i] = g * grad[i];
      }
    }
  });
}

}  // namespace sft::cpu
