#include "ops/fp8_linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/eight_bit.h"
#include "ops/cpu/gemm.h"

namespace sft::cpu {

namespace {

constexpr float kMost = 448.0F;

const float* scales_of(const Tensor& weight) {
  return reinterpret_cast<const float*>(weight.as<std::byte>() +
                                        scales_at(weight.dtype, weight.shape));
}

// Calls take(i, code) for the values of a row times their columns' factors; returns its scale.
template <class Take>
float each_code(const float* x, const float* columns, int64_t n, const Take& take) {
  const auto value = [&](int64_t i) { return columns != nullptr ? x[i] * columns[i] : x[i]; };
  float most = 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::abs(value(i)));
  }
  const float inverse = most > 0.0F ? kMost / most : 0.0F;
  for (int64_t i = 0; i < n; ++i) {
    take(i, to_float8(value(i) * inverse));
  }
  return most / kMost;
}

std::vector<float> numbers(ThreadPool& threads, const Tensor& codes) {
  const int64_t n = codes.shape[1];
  std::vector<float> out(static_cast<size_t>(codes.shape.elements()));
  threads.parallel_for(codes.shape[0], [&](int64_t begin, int64_t end) {
    std::transform(codes.as<uint8_t>() + begin * n, codes.as<uint8_t>() + end * n,
                   out.begin() + begin * n, from_float8);
  });
  return out;
}

}  // namespace

void fp8_rows(Device& device, const Tensor& x, const Tensor& columns, Tensor& codes,
              Tensor& scales) {
  const int64_t n = x.shape[1];
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      uint8_t* const to = codes.as<uint8_t>() + row * n;
      scales.f32()[row] = each_code(x.f32() + row * n, columns.f32(), n,
                                    [&](int64_t i, uint8_t code) { to[i] = code; });
    }
  });
}

void fp8_rounded(Device& device, const Tensor& x, const Tensor& columns, Tensor& y) {
  const int64_t n = x.shape[1];
  device.threads().parallel_for(x.shape[0], [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* const to = y.f32() + row * n;
      const float scale = each_code(x.f32() + row * n, columns.f32(), n,
                                    [&](int64_t i, uint8_t code) { to[i] = from_float8(code); });
      for (int64_t i = 0; i < n; ++i) {
        const float column = columns.data != nullptr ? columns.f32()[i] : 1.0F;
        to[i] = column != 0.0F ? to[i] * scale / column : 0.0F;
      }
    }
  });
}

void fp8_columns(Device& /*device*/, const Tensor& weight, int64_t first, Tensor& columns) {
  std::copy_n(scales_of(weight), weight.shape[0], columns.f32() + first);
}

void fp8_transposed(Device& device, const Tensor& weight, int64_t first, Tensor& codes,
                    Tensor& scales) {
  const int64_t out = weight.shape[0], in = weight.shape[1];
  device.threads().parallel_for(in, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t o = 0; o < out; ++o) {
        codes.as<uint8_t>()[i * codes.shape[1] + first + o] = weight.as<uint8_t>()[o * in + i];
      }
    }
  });
  std::fill_n(scales.f32(), in, 1.0F);
}

void fp8_product(Device& device, const Tensor& a, const Tensor& a_scales, const Tensor& b,
                 const Tensor& b_scales, const Tensor& bias, int64_t first, bool /*fast*/,
                 Tensor& y, bool accumulate) {
  const int64_t rows = a.shape[0], n = a.shape[1], out = b.shape[0];
  const std::vector<float> wide_a = numbers(device.threads(), a);
  const std::vector<float> wide_b = numbers(device.threads(), b);
  std::vector<float> product(static_cast<size_t>(rows * out));
  gemm(device.threads(), {.transpose_b = true,
                          .m = rows,
                          .n = out,
                          .k = n,
                          .a = wide_a.data(),
                          .lda = n,
                          .b = wide_b.data(),
                          .ldb = n,
                          .c = product.data(),
                          .ldc = out});
  const float* const of_b = b_scales.data != nullptr ? b_scales.f32() : scales_of(b);
  for (int64_t row = 0; row < rows; ++row) {
    float* const to = y.f32() + row * y.shape[1] + first;
    for (int64_t i = 0; i < out; ++i) {
      const float value =
          product[static_cast<size_t>(row * out + i)] * a_scales.f32()[row] * of_b[i];
      to[i] = (accumulate ? to[i] : 0.0F) + value + (bias.data != nullptr ? bias.f32()[i] : 0.0F);
    }
  }
}

}  // namespace sft::cpu
