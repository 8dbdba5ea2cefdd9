// LLM.int8 against bitsandbytes: tools/golden/int8_linear.py makes the file.
#include "ops/int8_linear.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/format.h"
#include "ops/linear.h"
#include "support/op_case.h"
#include "support/paths.h"

namespace sft::testing {
namespace {

struct Packed {
  std::vector<std::byte> memory;
  Tensor tensor;
  Packed(DType type, const Shape& shape)
      : memory(bytes_of(type, shape)), tensor{memory.data(), shape, type} {}
};

Tensor view(std::vector<float>& values, const Shape& shape) {
  return {values.data(), shape, DType::f32};
}

void expect_near(const std::vector<float>& found, const std::vector<float>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  float most = 0;
  for (const float w : wanted) {
    most = std::max(most, std::abs(w));
  }
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], wanted[i], 2e-6F * most) << i;
  }
}

TEST(Int8Linear, output_and_gradient_are_those_of_bitsandbytes) {
  const Json cases = read_json(std::string(SFT_TEST_DIR) + "/ops/golden/int8_linear.json");
  ASSERT_EQ(cases.size(), 4U);
  const auto device = Device::cpu(2);
  for (const Json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto shape = c["shape"].get<std::vector<int64_t>>();
    const int64_t tokens = shape[0], in = shape[1], out = shape[2];
    auto x = c["x"].get<std::vector<float>>();
    Packed weight(DType::i8_rows, {out, in});
    encode(c["weight"].get<std::vector<float>>().data(), weight.tensor);
    const auto* const codes = weight.tensor.as<int8_t>();
    EXPECT_EQ(std::vector<int>(codes, codes + out * in), c["weight_codes"].get<std::vector<int>>());
    const auto* const most = reinterpret_cast<const float*>(
        weight.memory.data() + scales_at(DType::i8_rows, weight.tensor.shape));
    EXPECT_EQ(std::vector<float>(most, most + out), c["weight_scales"].get<std::vector<float>>());

    std::vector<int8_t> rows(x.size());
    std::vector<float> scales(static_cast<size_t>(tokens));
    std::vector<int32_t> marks(static_cast<size_t>(in));
    Tensor row_codes{rows.data(), {tokens, in}, DType::u8};
    Tensor row_scales = view(scales, {tokens});
    Tensor outliers{marks.data(), {in}, DType::i32};
    const Tensor input = view(x, {tokens, in});
    cpu::int8_rows(*device, input, c["threshold"], row_codes, row_scales, outliers);
    EXPECT_EQ(std::vector<int>(rows.begin(), rows.end()), c["x_codes"].get<std::vector<int>>());
    EXPECT_EQ(scales, c["x_scales"].get<std::vector<float>>());
    std::vector<int64_t> columns;
    for (int64_t i = 0; i < in; ++i) {
      if (marks[static_cast<size_t>(i)] != 0) {
        columns.push_back(i);
      }
    }
    EXPECT_EQ(columns, c["outliers"].get<std::vector<int64_t>>());

    std::vector<float> y(static_cast<size_t>(tokens * out)), bias;
    Tensor output = view(y, {tokens, out});
    if (!c["bias"].is_null()) {
      bias = c["bias"].get<std::vector<float>>();
    }
    const Tensor shift = bias.empty() ? Tensor() : view(bias, {out});
    cpu::int8_linear(*device, input, row_codes, row_scales, outliers, weight.tensor, shift, 0,
                     output);
    expect_near(y, c["y"].get<std::vector<float>>());

    std::vector<float> wide(static_cast<size_t>(out * in)), grad_x(x.size());
    auto grad_y = c["grad_y"].get<std::vector<float>>();
    Tensor decoded = view(wide, {out, in}), gradient = view(grad_x, {tokens, in});
    cpu::widen(*device, weight.tensor, decoded);
    cpu::linear_backward_input(*device, view(grad_y, {tokens, out}), decoded, 1.0F, gradient,
                               false);
    expect_near(grad_x, c["grad_x"].get<std::vector<float>>());
  }
}

// A part's columns have the bits of its product alone.
TEST(Int8Linear, parts_stand_beside_each_other_and_a_part_may_be_plain) {
  constexpr int64_t kTokens = 6, kIn = 64, kFirst = 5, kSecond = 7;
  const auto device = Device::cpu(1);
  std::vector<float> x(kTokens * kIn), w(kFirst * kIn), v(kSecond * kIn);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = std::sin(static_cast<float>(i)) * (i % 64 == 9 ? 9.0F : 1.0F);
  }
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = std::cos(static_cast<float>(3 * i));
  }
  for (size_t i = 0; i < v.size(); ++i) {
    v[i] = std::cos(static_cast<float>(5 * i));
  }
  Packed first(DType::i8_rows, {kFirst, kIn});
  encode(w.data(), first.tensor);
  std::vector<int8_t> rows(x.size());
  std::vector<float> scales(kTokens);
  std::vector<int32_t> marks(kIn);
  Tensor codes{rows.data(), {kTokens, kIn}, DType::u8}, row_scales = view(scales, {kTokens});
  Tensor outliers{marks.data(), {kIn}, DType::i32};
  const Tensor input = view(x, {kTokens, kIn});
  cpu::int8_rows(*device, input, 6.0F, codes, row_scales, outliers);
  EXPECT_EQ(marks[9], 1);
  std::vector<float> alone(kTokens * kFirst), plain(kTokens * kSecond);
  std::vector<float> both(kTokens * (kFirst + kSecond));
  Tensor y = view(alone, {kTokens, kFirst}), z = view(plain, {kTokens, kSecond});
  Tensor all = view(both, {kTokens, kFirst + kSecond});
  const Tensor second = view(v, {kSecond, kIn});
  cpu::int8_linear(*device, input, codes, row_scales, outliers, first.tensor, {}, 0, y);
  cpu::linear_forward(*device, input, second, {}, 1.0F, z, false);
  cpu::int8_linear(*device, input, codes, row_scales, outliers, first.tensor, {}, kSecond, all);
  cpu::int8_linear(*device, input, codes, row_scales, outliers, second, {}, 0, all);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t j = 0; j < kSecond; ++j) {
      EXPECT_EQ(both[static_cast<size_t>(t * (kFirst + kSecond) + j)],
                plain[static_cast<size_t>(t * kSecond + j)]);
    }
    for (int64_t j = 0; j < kFirst; ++j) {
      EXPECT_EQ(both[static_cast<size_t>(t * (kFirst + kSecond) + kSecond + j)],
                alone[static_cast<size_t>(t * kFirst + j)]);
    }
  }
}

double distance(const std::vector<float>& x, const std::vector<float>& y) {
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += std::pow(double{x[i]} - y[i], 2);
    size += std::pow(y[i], 2);
  }
  return std::sqrt(difference / size);
}

// No column of x is an outlier, some are, all are.
TEST(Int8Linear, a_gpu_computes_as_the_cpu) {
  Device* const gpu = test_gpu();
  if (gpu == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  for (const auto& [tokens, in, out] :
       {std::array<int64_t, 3>{70, 64, 96}, {5, 40, 24}, {200, 272, 144}}) {
    for (const double spread : {0.5, 2.5, 50.0}) {
      SCOPED_TRACE(fmt::format("{} tokens, spread {}", tokens, spread));
      OpCase c;
      c.operands = {activation({tokens, in}, 1, spread), frozen({out, in}, DType::i8_rows, 2),
                    parameter({out}, 3)};
      for (const size_t i : {0, 2}) {
        for (double& x : c.operands[i].values) {
          x = to_float(to_bfloat16(static_cast<float>(x)));
        }
      }
      c.build = [](Program& p, const std::vector<Value>& v) {
        return std::vector{linear(p, v[0], {v[1], v[2], {}})};
      };
      const OpResult want = run_op(c, {.threads = 2});
      const OpResult wide = run_op(c, {.device = gpu});
      EXPECT_LT(distance(wide.outputs[0], want.outputs[0]), 1e-5);
      EXPECT_LT(distance(wide.gradients[0], want.gradients[0]), 1e-5);
      const OpResult half = run_op(c, {.device = gpu, .compute = DType::bf16});
      EXPECT_LT(distance(half.outputs[0], want.outputs[0]), 5e-3);
      EXPECT_LT(distance(half.gradients[0], want.gradients[0]), 1e-2);
    }
  }
}

}  // namespace
}  // namespace sft::testing
