#include "ops/int8_linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/format.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/simd.h"

namespace sft::cpu {

namespace {

// 1 / 127 and its square, as bitsandbytes writes them.
constexpr float kStep = 7.874015718698502e-3F, kStepSquared = 6.200124e-05F;

SFT_SIMD int32_t dot(const int8_t* a, const int8_t* b, int64_t n) {
  int32_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += int32_t{a[i]} * b[i];
  }
  return sum;
}

// The codes and the largest magnitudes of a weight's rows.
struct Int8Weight {
  const int8_t* codes;
  const float* most;
  explicit Int8Weight(const Tensor& w)
      : codes(w.as<int8_t>()),
        most(reinterpret_cast<const float*>(w.as<std::byte>() + scales_at(w.dtype, w.shape))) {}
};

std::vector<int64_t> columns_of(const Tensor& outliers) {
  std::vector<int64_t> columns;
  for (int64_t c = 0; c < outliers.shape[0]; ++c) {
    if (outliers.i32()[c] != 0) {
      columns.push_back(c);
    }
  }
  return columns;
}

// y[:, first ..) += x[:, columns] W[:, columns]^T
void add_outliers(Device& device, const Tensor& x, const Tensor& weight,
                  const std::vector<int64_t>& columns, int64_t first, Tensor& y) {
  const auto count = static_cast<int64_t>(columns.size());
  const int64_t in = x.shape[1];
  const Int8Weight w(weight);
  std::vector<float> from(static_cast<size_t>(x.shape[0] * count));
  std::vector<float> by(static_cast<size_t>(weight.shape[0] * count));
  for (int64_t t = 0; t < x.shape[0]; ++t) {
    for (int64_t c = 0; c < count; ++c) {
      from[static_cast<size_t>(t * count + c)] = x.f32()[t * in + columns[static_cast<size_t>(c)]];
    }
  }
  for (int64_t row = 0; row < weight.shape[0]; ++row) {
    for (int64_t c = 0; c < count; ++c) {
      const int8_t code = w.codes[row * in + columns[static_cast<size_t>(c)]];
      by[static_cast<size_t>(row * count + c)] = static_cast<float>(code) * w.most[row] * kStep;
    }
  }
  gemm(device.threads(), {.transpose_b = true,
                          .m = x.shape[0],
                          .n = weight.shape[0],
                          .k = count,
                          .a = from.data(),
                          .lda = count,
                          .b = by.data(),
                          .ldb = count,
                          .beta = 1.0F,
                          .c = y.f32() + first,
                          .ldc = y.shape[1]});
}

void plain_product(Device& device, const Tensor& x, const Tensor& weight, int64_t first,
                   Tensor& y) {
  std::vector<float> wide(static_cast<size_t>(weight.shape.elements()));
  decode(weight, wide.data(), &device.threads());
  gemm(device.threads(), {.transpose_b = true,
                          .m = x.shape[0],
                          .n = weight.shape[0],
                          .k = x.shape[1],
                          .a = x.f32(),
                          .lda = x.shape[1],
                          .b = wide.data(),
                          .ldb = x.shape[1],
                          .c = y.f32() + first,
                          .ldc = y.shape[1]});
}

void add_bias(const Tensor& bias, int64_t first, int64_t count, Tensor& y) {
  if (bias.data == nullptr) {
    return;
  }
  for (int64_t t = 0; t < y.shape[0]; ++t) {
    float* const row = y.f32() + t * y.shape[1];
    for (int64_t j = first; j < first + count; ++j) {
      row[j] += bias.f32()[j];
    }
  }
}

}  // namespace

void int8_rows(Device& device, const Tensor& x, float threshold, Tensor& codes, Tensor& scales,
               Tensor& outliers) {
  const int64_t tokens = x.shape[0], in = x.shape[1];
  const auto half = [&](int64_t t, int64_t i) { return to_float(to_float16(x.f32()[t * in + i])); };
  const auto is_outlier = [&](float v) { return threshold > 0 && std::abs(v) >= threshold; };
  int32_t* const marks = outliers.i32();
  device.threads().parallel_for(in, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      marks[i] = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        marks[i] |= static_cast<int32_t>(is_outlier(half(t, i)));
      }
    }
  });
  device.threads().parallel_for(tokens, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float most = 0.0F;
      for (int64_t i = 0; i < in; ++i) {
        const float v = half(t, i);
        most = is_outlier(v) ? most : std::max(most, std::abs(v));
      }
      scales.f32()[t] = most;
      const float inverse = most > 0.0F ? 1.0F / most * 127.0F : 0.0F;
      for (int64_t i = 0; i < in; ++i) {
        const float code = marks[i] != 0 ? 0.0F : std::nearbyint(half(t, i) * inverse);
        codes.as<int8_t>()[t * in + i] = static_cast<int8_t>(code);
      }
    }
  });
}

void int8_linear(Device& device, const Tensor& x, const Tensor& codes, const Tensor& scales,
                 const Tensor& outliers, const Tensor& weight, const Tensor& bias, int64_t first,
                 Tensor& y) {
  const int64_t in = x.shape[1], out = weight.shape[0];
  if (weight.dtype != DType::i8_rows) {
    plain_product(device, x, weight, first, y);
    add_bias(bias, first, out, y);
    return;
  }
  const Int8Weight w(weight);
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t j = 0; j < out; ++j) {
      for (int64_t t = begin; t < end; ++t) {
        const int32_t sum = dot(codes.as<int8_t>() + t * in, w.codes + j * in, in);
        y.f32()[t * y.shape[1] + first + j] =
            static_cast<float>(sum) * (scales.f32()[t] * w.most[j]) * kStepSquared;
      }
    }
  });
  add_bias(bias, first, out, y);
  if (const std::vector<int64_t> columns = columns_of(outliers); !columns.empty()) {
    add_outliers(device, x, weight, columns, first, y);
  }
}

}  // namespace sft::cpu
