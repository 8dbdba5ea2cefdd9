#include "ops/fp8_linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "ops/kernels.h"
#include "ops/linear.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

double distance(const std::vector<float>& x, const std::vector<float>& y) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - y[i], 2);
    size += std::pow(y[i], 2);
  }
  return std::sqrt(difference / size);
}

struct Sizes {
  int64_t tokens, in, out;
};

OpCase fp8_case(const Sizes& s, bool bias) {
  OpCase c;
  c.operands = {activation({s.tokens, s.in}, 1), frozen({s.out, s.in}, DType::f8_rows, 2)};
  if (bias) {
    c.operands.push_back(parameter({s.out}, 3));
  }
  for (Operand& o : c.operands) {
    for (double& x : o.values) {  // so that a GPU that computes in bfloat16 has the same
      x = is_packed(o.dtype) ? x : to_float(to_bfloat16(static_cast<float>(x)));
    }
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], bias ? in[2] : Value(), {}})};
  };
  return c;
}

// The same with an adapter of all its rows, or of some.
OpCase adapted_case(const Sizes& s, int64_t rank, bool whole) {
  OpCase c = fp8_case(s, true);
  const std::vector<LoraPiece> pieces{{0, whole ? s.out : s.out - 16, 0.5F}};
  const double spread = 1.0 / std::sqrt(static_cast<double>(s.in));
  c.operands.push_back(parameter({rank, s.in}, 4, spread));
  c.operands.push_back(parameter({pieces[0].rows, rank}, 5, spread));
  for (size_t i = 3; i < 5; ++i) {
    for (double& x : c.operands[i].values) {
      x = to_float(to_bfloat16(static_cast<float>(x)));
    }
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], in[2], {Lora{in[3], in[4], pieces}}})};
  };
  return c;
}

// y = x w^T and grad_x = grad_y w without any rounding.
OpResult exact(OpCase c) {
  OpCase wide = c;
  wide.operands[1].dtype = DType::f32;
  wide.operands[1].packed.clear();
  return run_op(wide, {.threads = 2});
}

// The rounding errors of 3 bits of mantissa, at most 1/16 each, have no common direction.
TEST(Fp8Linear, differs_from_the_exact_product_by_its_rounding) {
  const OpCase c = fp8_case({40, 96, 64}, true);
  const OpResult got = run_op(c, {.threads = 2}), want = exact(c);
  EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 0.04);
  EXPECT_GT(distance(got.outputs[0], want.outputs[0]), 0.01);
  EXPECT_LT(distance(got.gradients[0], want.gradients[0]), 0.04);
  EXPECT_EQ(got.gradients[2], want.gradients[2]);
}

// A row of x is rounded by itself: what others hold changes nothing.
TEST(Fp8Linear, a_large_row_does_not_blur_the_others) {
  OpCase c = fp8_case({8, 64, 32}, false);
  const OpResult before = run_op(c, {});
  for (size_t i = 0; i < 64; ++i) {
    c.operands[0].values[3 * 64 + i] *= 65536.0;
  }
  const OpResult after = run_op(c, {});
  for (size_t i = 0; i < before.outputs[0].size(); ++i) {
    const float factor = i / 32 == 3 ? 65536.0F : 1.0F;
    EXPECT_EQ(after.outputs[0][i], factor * before.outputs[0][i]) << i;
  }
}

struct Matrix {
  Buffer memory;
  Tensor tensor;
  Matrix(Device& device, DType type, const Shape& shape)
      : memory(device.allocate(bytes_of(type, shape))), tensor{memory.data(), shape, type} {}
};

std::vector<float> floats(Device& device, const Matrix& m) {
  std::vector<float> out(static_cast<size_t>(m.tensor.shape.elements()));
  device.download(out.data(), m.memory.data(), out.size() * sizeof(float));
  return out;
}

// Products of codes are those of what the codes stand for, forward and with the transposed weight.
// (Tensor cores of compute capability 9.0 add float8 products up with 14 bits.)
TEST(Fp8Linear, codes_multiply_as_what_they_stand_for) {
  for (const OpRun& run : runs_everywhere()) {
    const auto cpu = Device::cpu(2);
    Device& device = run.device != nullptr ? *run.device : *cpu;
    const double tolerance = run.device != nullptr ? 5e-4 : 1e-5;
    const OpKernels& k = kernels(device);
    for (const Sizes& s : {Sizes{16, 32, 48}, Sizes{33, 128, 80}, Sizes{200, 272, 144}}) {
      SCOPED_TRACE(s.tokens);
      const auto random = [&](const Shape& shape, uint64_t seed) {
        Matrix m(device, DType::f32, shape);
        std::vector<float> x(static_cast<size_t>(shape.elements()));
        for (size_t i = 0; i < x.size(); ++i) {
          x[i] = normal(9, seed, i);
        }
        device.upload(m.memory.data(), x.data(), x.size() * sizeof(float));
        return m;
      };
      const Matrix x = random({s.tokens, s.in}, 1), grad = random({s.tokens, s.out}, 2);
      Matrix weight(device, DType::f8_rows, {s.out, s.in});
      k.pack(device, random({s.out, s.in}, 3).tensor, weight.tensor);
      Matrix wide(device, DType::f32, {s.out, s.in});
      k.widen(device, weight.tensor, wide.tensor);

      Matrix codes(device, DType::u8, {s.tokens, s.in}), scales(device, DType::f32, {s.tokens});
      Matrix rounded(device, DType::f32, {s.tokens, s.in});
      Matrix got(device, DType::f32, {s.tokens, s.out}), want(device, DType::f32, got.tensor.shape);
      k.fp8_rows(device, x.tensor, {}, codes.tensor, scales.tensor);
      k.fp8_product(device, codes.tensor, scales.tensor, weight.tensor, {}, {}, 0, false,
                    got.tensor, false);
      k.fp8_rounded(device, x.tensor, {}, rounded.tensor);
      k.linear_forward(device, rounded.tensor, wide.tensor, {}, 1.0F, want.tensor, false);
      EXPECT_LT(distance(floats(device, got), floats(device, want)), tolerance);
      // The fast sums of the forward pass have no more digits at any depth.
      k.fp8_product(device, codes.tensor, scales.tensor, weight.tensor, {}, {}, 0, true, got.tensor,
                    false);
      EXPECT_LT(distance(floats(device, got), floats(device, want)), 2 * tolerance);

      Matrix columns(device, DType::f32, {s.out}), ones(device, DType::f32, {s.in});
      Matrix turned(device, DType::u8, {s.in, s.out}),
          grad_codes(device, DType::u8, {s.tokens, s.out});
      Matrix grad_rounded(device, DType::f32, {s.tokens, s.out});
      Matrix grad_got(device, DType::f32, {s.tokens, s.in}),
          grad_want(device, DType::f32, {s.tokens, s.in});
      k.fp8_columns(device, weight.tensor, 0, columns.tensor);
      k.fp8_transposed(device, weight.tensor, 0, turned.tensor, ones.tensor);
      k.fp8_rows(device, grad.tensor, columns.tensor, grad_codes.tensor, scales.tensor);
      for (const bool accumulate : {false, true}) {  // the second time twice as much
        k.fp8_product(device, grad_codes.tensor, scales.tensor, turned.tensor, ones.tensor, {}, 0,
                      false, grad_got.tensor, accumulate);
      }
      k.fp8_rounded(device, grad.tensor, columns.tensor, grad_rounded.tensor);
      k.linear_backward_input(device, grad_rounded.tensor, wide.tensor, 2.0F, grad_want.tensor,
                              false);
      EXPECT_LT(distance(floats(device, grad_got), floats(device, grad_want)), tolerance);
    }
  }
}

// Rows that a thread block keeps in registers, and those that it cannot.
TEST(Fp8Linear, a_gpu_rounds_rows_of_any_length_to_the_same_codes) {
  Device* const gpu = test_gpu();
  if (gpu == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const auto cpu = Device::cpu(2);
  for (const int64_t n : {1, 100, 264, 6000, 12008, 24000, 40000, 41000, 60000}) {
    for (const bool with_columns : {false, true}) {
      SCOPED_TRACE(n);
      constexpr int64_t kRows = 300;
      std::vector<BFloat16> narrow(static_cast<size_t>(kRows * n));
      std::vector<float> wide(narrow.size()), factors(static_cast<size_t>(n));
      for (size_t i = 0; i < wide.size(); ++i) {
        narrow[i] = to_bfloat16(i % 7001 < 300 ? 0.0F : normal(11, 0, i));
        wide[i] = to_float(narrow[i]);
      }
      for (size_t i = 0; i < factors.size(); ++i) {
        factors[i] = std::exp(normal(11, 1, i));
      }
      std::vector<std::vector<uint8_t>> codes;
      std::vector<std::vector<float>> scales;
      for (Device* const device : {cpu.get(), gpu}) {
        const DType type = device == gpu ? DType::bf16 : DType::f32;
        Matrix x(*device, type, {kRows, n}), columns(*device, DType::f32, {n});
        Matrix out(*device, DType::u8, {kRows, n}), scale(*device, DType::f32, {kRows});
        device->upload(x.memory.data(),
                       device == gpu ? static_cast<const void*>(narrow.data()) : wide.data(),
                       x.memory.size());
        device->upload(columns.memory.data(), factors.data(), columns.memory.size());
        kernels(*device).fp8_rows(*device, x.tensor, with_columns ? columns.tensor : Tensor{},
                                  out.tensor, scale.tensor);
        codes.emplace_back(out.memory.size());
        device->download(codes.back().data(), out.memory.data(), out.memory.size());
        scales.push_back(floats(*device, scale));
      }
      EXPECT_EQ(codes[0], codes[1]);
      EXPECT_EQ(scales[0], scales[1]);
    }
  }
}

TEST(Fp8Linear, a_gpu_computes_as_the_cpu) {
  if (test_gpu() == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const Sizes& s : {Sizes{64, 64, 128}, Sizes{100, 272, 144}, Sizes{7, 40, 24}}) {
    SCOPED_TRACE(s.tokens);
    const OpCase c = fp8_case(s, true);
    const OpResult want = run_op(c, {.threads = 2});
    const OpResult got = run_op(c, {.device = test_gpu(), .compute = DType::bf16});
    EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 5e-3);
    EXPECT_LT(distance(got.gradients[0], want.gradients[0]), 2e-2);  // of what is rounded twice
    const OpResult wide = run_op(c, {.device = test_gpu()});
    EXPECT_LT(distance(wide.outputs[0], want.outputs[0]), 1e-3);
    EXPECT_LT(distance(wide.gradients[0], want.gradients[0]), 1e-3);
  }
  for (const bool whole : {true, false}) {
    const OpCase c = adapted_case({100, 64, 48}, 8, whole);
    const OpResult want = run_op(c, {.threads = 2});
    const OpResult got = run_op(c, {.device = test_gpu(), .compute = DType::bf16});
    EXPECT_LT(distance(got.outputs[0], want.outputs[0]), 8e-3);
    for (const size_t i : {0, 2, 3, 4}) {
      EXPECT_LT(distance(got.gradients[i], want.gradients[i]), 2e-2) << i;
    }
  }
}

}  // namespace
}  // namespace sft::testing
