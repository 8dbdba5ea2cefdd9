#include "ops/causal_conv.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "graph/executor.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

struct Conv {
  int64_t channels, taps;
  ConvForm form;
  bool bias;
  int64_t width() const { return channels * (form == ConvForm::gated ? 3 : 1); }
};

Numbers reference(const std::vector<Numbers>& in, const std::vector<int>& starts, const Conv& o) {
  const auto channels = static_cast<size_t>(o.channels);
  const auto taps = static_cast<size_t>(o.taps);
  const auto width = static_cast<size_t>(o.width());
  const Numbers& x = in[0];
  Numbers y(x.size() / width * channels, 0.0);
  for (size_t d = 0; d + 1 < starts.size(); ++d) {
    for (int t = starts[d]; t < starts[d + 1]; ++t) {
      for (size_t c = 0; c < channels; ++c) {
        double sum = o.bias ? in[2][c] : 0.0;
        for (size_t j = 0; j < taps; ++j) {
          const int from = t - static_cast<int>(taps) + 1 + static_cast<int>(j);
          if (from >= starts[d]) {
            const size_t row = static_cast<size_t>(from) * width;
            const double u =
                o.form == ConvForm::gated ? x[row + c] * x[row + 2 * channels + c] : x[row + c];
            sum += in[1][c * taps + j] * u;
          }
        }
        const auto own = static_cast<size_t>(t);
        y[own * channels + c] = o.form == ConvForm::gated ? x[own * width + channels + c] * sum
                                                          : activate(sum, Activation::silu);
      }
    }
  }
  return y;
}

OpCase conv_case(const Conv& o, const std::vector<int>& starts, int64_t tokens) {
  OpCase c;
  c.operands = {activation({tokens, o.width()}, 1), parameter({o.channels, 1, o.taps}, 2)};
  if (o.bias) {
    c.operands.push_back(parameter({o.channels}, 3));
  }
  c.operands.push_back(indices(starts));
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value table = document_table(p, in.back(), {1, 1, 8}, tokens);
    return std::vector{causal_conv(p, in[0], in[1], o.bias ? in[2] : Value{}, table, o.form)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{reference(in, starts, o)};
  };
  return c;
}

TEST(CausalConv, values_and_gradients) {
  for (const Conv& o : {Conv{8, 4, ConvForm::silu, false}, Conv{75, 3, ConvForm::silu, true},
                        Conv{3, 2, ConvForm::gated, true}, Conv{72, 3, ConvForm::gated, false}}) {
    SCOPED_TRACE(fmt::format("{} channels, {} taps", o.channels, o.taps));
    check_op(conv_case(o, {0, 1, 3, 3, 20, 70, 71, 150}, 153));
  }
}

TEST(CausalConv, of_one_long_document) {
  check_op(conv_case({16, 4, ConvForm::silu, false}, {0, 300}, 300));
}

TEST(CausalConv, of_no_document_at_all) {
  check_op(conv_case({8, 4, ConvForm::gated, false}, {0, 0}, 5));
}

TEST(CachedConv, equals_the_sum_over_the_whole_document) {
  const auto cpu = Device::cpu(2);
  std::vector<Device*> devices{cpu.get()};
  if (test_gpu() != nullptr) {
    devices.push_back(test_gpu());
  }
  constexpr int64_t kLanes = 3;
  for (const Conv& o : {Conv{75, 4, ConvForm::silu, false}, Conv{8, 3, ConvForm::gated, true}}) {
    const OpCase c = conv_case(o, {0, 20}, 20);
    std::vector<Numbers> in;
    for (const Operand& operand : c.operands) {
      in.push_back(operand.values);
    }
    const Numbers want = c.reference(in)[0];
    for (Device* const device : devices) {
      for (const std::vector<int>& steps :
           {std::vector<int>{20}, std::vector<int>{1, 1, 9, 1, 8}}) {
        std::vector<Buffer> memory;
        Bindings bindings;
        const auto bind = [&](const char* name, const void* data, const Shape& shape, DType type) {
          memory.push_back(device->allocate(bytes_of(type, shape)));
          device->upload(memory.back().data(), data, memory.back().size());
          bindings.inputs[name] = {memory.back().data(), shape, type};
        };
        const std::vector<float> unset(static_cast<size_t>(kLanes * o.taps * o.channels), NAN);
        const Shape state{kLanes, o.taps - 1, o.channels};
        bind("state", unset.data(), state, DType::f32);
        const std::vector<float> weight(in[1].begin(), in[1].end());
        bind("weight", weight.data(), {o.channels, 1, o.taps}, DType::f32);
        const std::vector<float> bias(in[2].begin(), in[2].end());
        if (o.bias) {
          bind("bias", bias.data(), {o.channels}, DType::f32);
        }
        const std::array<int32_t, 1> lane{1};
        bind("lanes", lane.data(), {1}, DType::i32);
        Arena arena(*device);
        int32_t past = 0;
        for (const int step : steps) {
          Program p(Program::Purpose::inference, Recompute::none, {device->kind(), DType::f32});
          const Value out =
              cached_conv(p, p.input("x", {step, o.width()}, DType::f32),
                          p.input("weight", {o.channels, 1, o.taps}, DType::f32),
                          o.bias ? p.input("bias", {o.channels}, DType::f32) : Value{},
                          p.input("state", state, DType::f32), p.input("past", {1, 2}, DType::i32),
                          p.input("lanes", {1}, DType::i32), o.form);
          p.keep(out);
          const std::vector<float> x(in[0].begin() + past * o.width(),
                                     in[0].begin() + (past + step) * o.width());
          bind("x", x.data(), {step, o.width()}, DType::f32);
          const std::array<int32_t, 2> place{0, past};
          bind("past", place.data(), {1, 2}, DType::i32);
          Executor executor(*device, arena, std::move(p));
          executor.run(bindings);
          const Tensor t = executor.tensor(out);
          std::vector<float> y(static_cast<size_t>(t.shape.elements()));
          device->download(y.data(), t.data, t.bytes());
          for (size_t i = 0; i < y.size(); ++i) {
            ASSERT_NEAR(y[i], want[static_cast<size_t>(past * o.channels) + i], 5e-6) << i;
          }
          past += step;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sft::testing
