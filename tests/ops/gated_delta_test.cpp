#include "ops/gated_delta.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "graph/executor.h"
#include "ops/attention.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// The recurrence as ops/gated_delta.h has it, in float64.
Numbers reference(const Numbers& qkv, const Numbers& rates, const Numbers& a_log,
                  const Numbers& dt_bias, const std::vector<int>& starts, const DeltaHeads& h) {
  const size_t tokens = qkv.size() / static_cast<size_t>(h.row());
  Numbers y(tokens * static_cast<size_t>(h.values()), 0.0);
  const auto unit = [&](size_t at) {
    Numbers x(qkv.begin() + static_cast<long>(at), qkv.begin() + static_cast<long>(at) + h.key_dim);
    double squares = 1e-6;
    for (const double v : x) {
      squares += v * v;
    }
    for (double& v : x) {
      v /= std::sqrt(squares);
    }
    return x;
  };
  for (size_t d = 0; d + 1 < starts.size(); ++d) {
    for (int head = 0; head < h.value_heads; ++head) {
      Numbers state(static_cast<size_t>(h.key_dim) * static_cast<size_t>(h.value_dim), 0.0);
      const auto columns = static_cast<size_t>(h.value_dim);
      const auto of_head = static_cast<size_t>(head);
      for (auto t = static_cast<size_t>(starts[d]); t < static_cast<size_t>(starts[d + 1]); ++t) {
        const size_t row = t * static_cast<size_t>(h.row());
        const size_t key_at =
            static_cast<size_t>(head / h.served()) * static_cast<size_t>(h.key_dim);
        const Numbers q = unit(row + key_at);
        const Numbers k = unit(row + static_cast<size_t>(h.keys()) + key_at);
        const double* const v =
            qkv.data() + row + 2 * static_cast<size_t>(h.keys()) + of_head * columns;
        const size_t rate =
            t * 2 * static_cast<size_t>(h.value_heads) + static_cast<size_t>(h.b_at(head));
        const double a = rates[rate + static_cast<size_t>(h.a_after())] + dt_bias[of_head];
        const double fade = std::exp(-std::exp(a_log[of_head]) * std::log1p(std::exp(a)));
        const double learn = sigmoid(rates[rate]);
        for (size_t j = 0; j < columns; ++j) {
          double said = 0.0;
          for (size_t i = 0; i < k.size(); ++i) {
            said += state[i * columns + j] * fade * k[i];
          }
          double answer = 0.0;
          for (size_t i = 0; i < k.size(); ++i) {
            double& s = state[i * columns + j];
            s = s * fade + k[i] * learn * (v[j] - said);
            answer += s * q[i] / std::sqrt(static_cast<double>(h.key_dim));
          }
          y[(t * static_cast<size_t>(h.value_heads) + of_head) * columns + j] = answer;
        }
      }
    }
  }
  return y;
}

// `fade`: what a_log is near.
OpCase delta_case(const DeltaHeads& heads, const std::vector<int>& starts, int64_t tokens,
                  double fade = -1.0) {
  OpCase c;
  c.operands = {activation({tokens, heads.row()}, 1),
                activation({tokens, 2 * heads.value_heads}, 2),
                norm_weight({heads.value_heads}, 3, 0.3), parameter({heads.value_heads}, 4, 0.5),
                indices(starts)};
  for (double& x : c.operands[2].values) {
    x = static_cast<float>(x + fade);
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value table = document_table(p, in[4], {1, 1, 8}, tokens);
    return std::vector{gated_delta(p, in[0], in[1], in[2], in[3], table, heads)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{reference(in[0], in[1], in[2], in[3], starts, heads)};
  };
  return c;
}

TEST(GatedDelta, values_and_gradients) {
  for (const DeltaHeads& heads : {DeltaHeads{1, 3, 4, 4}, DeltaHeads{2, 2, 8, 12},
                                  DeltaHeads{2, 6, 16, 8, false}, DeltaHeads{2, 4, 5, 3, true}}) {
    SCOPED_TRACE(fmt::format("{} {} {} {}", heads.key_heads, heads.value_heads, heads.key_dim,
                             heads.value_dim));
    OpCase c = delta_case(heads, {0, 9, 9, 30}, 33);
    c.gradient_tolerance = 3e-5;
    check_op(c);
  }
}

// Lengths around a GPU's chunk of 64 tokens.
TEST(GatedDelta, of_documents_of_any_length) {
  for (const std::vector<int>& starts :
       {std::vector<int>{0, 63, 127, 192}, std::vector<int>{0, 1, 2, 132},
        std::vector<int>{0, 200}}) {
    SCOPED_TRACE(starts[1]);
    OpCase c = delta_case({1, 2, 16, 16}, starts, 200);
    c.gradient_tolerance = 3e-5;
    c.checked = 40;
    check_op(c);
  }
}

// A GPU has kernels for heads of up to 64 and up to 128.
TEST(GatedDelta, of_the_sizes_that_models_have) {
  for (const DeltaHeads& heads : {DeltaHeads{1, 2, 128, 128, true}, DeltaHeads{1, 3, 64, 64},
                                  DeltaHeads{1, 1, 80, 100}, DeltaHeads{2, 2, 32, 128}}) {
    SCOPED_TRACE(fmt::format("{} {}", heads.key_dim, heads.value_dim));
    OpCase c = delta_case(heads, {0, 90, 160}, 162);
    c.gradient_tolerance = 3e-5;
    c.checked = 3;
    check_op(c);
  }
}

// A state that is gone after a few tokens, and one that stays.
TEST(GatedDelta, of_states_that_fade_at_once_or_hardly) {
  for (const double fade : {2.7, -8.0}) {
    SCOPED_TRACE(fade);
    OpCase c = delta_case({1, 1, 8, 8}, {0, 90}, 90, fade);
    c.gradient_tolerance = 1e-4;
    c.bf16_tolerance = 8e-2;  // of decays whose gradients nearly cancel
    c.checked = 40;
    check_op(c);
  }
}

// Two texts in lanes of states that are in no order, one of them with tokens before.
std::vector<float> run_cached(const OpCase& c, const DeltaHeads& heads,
                              const std::vector<int>& steps, Device& device) {
  const int64_t tokens = c.operands[0].shape[0];
  const int64_t size = int64_t{heads.key_dim} * heads.value_dim * heads.value_heads;
  constexpr int64_t kLanes = 3;
  std::vector<Buffer> memory;
  Bindings bindings;
  const auto bind = [&](const char* name, const void* data, const Shape& shape, DType type) {
    memory.push_back(device.allocate(bytes_of(type, shape)));
    device.upload(memory.back().data(), data, memory.back().size());
    bindings.inputs[name] = {memory.back().data(), shape, type};
  };
  const std::vector<float> unset(static_cast<size_t>(kLanes * size), NAN);
  bind("state", unset.data(), {kLanes, heads.value_heads, heads.key_dim, heads.value_dim},
       DType::f32);
  for (const int i : {2, 3}) {
    const std::vector<float> v(c.operands[static_cast<size_t>(i)].values.begin(),
                               c.operands[static_cast<size_t>(i)].values.end());
    bind(i == 2 ? "a_log" : "dt_bias", v.data(), {heads.value_heads}, DType::f32);
  }
  const std::array<int32_t, 2> lanes{2, 0};
  bind("lanes", lanes.data(), {2}, DType::i32);
  Arena arena(device);
  std::vector<float> y;
  int32_t past = 0;
  for (const int step : steps) {
    Program p(Program::Purpose::inference, Recompute::none, device.target(DType::f32));
    const Shape qkv{2 * step, heads.row()};
    const Shape rates{2 * step, 2 * heads.value_heads};
    const Value out = cached_gated_delta(
        p, p.input("qkv", qkv, DType::f32), p.input("rates", rates, DType::f32),
        p.input("a_log", {heads.value_heads}, DType::f32),
        p.input("dt_bias", {heads.value_heads}, DType::f32),
        p.input("state", {kLanes, heads.value_heads, heads.key_dim, heads.value_dim}, DType::f32),
        p.input("past", {2, 2}, DType::i32), p.input("lanes", {2}, DType::i32), heads);
    p.keep(out);
    // Both texts are the same: the first has its tokens, and so has the second.
    const auto twice = [&](const Operand& o) {
      const int64_t row = o.shape[1];
      std::vector<float> v;
      for (int text = 0; text < 2; ++text) {
        for (int64_t i = past * row; i < (past + step) * row; ++i) {
          v.push_back(static_cast<float>(o.values[static_cast<size_t>(i)]));
        }
      }
      return v;
    };
    bind("qkv", twice(c.operands[0]).data(), qkv, DType::f32);
    bind("rates", twice(c.operands[1]).data(), rates, DType::f32);
    const std::array<int32_t, 4> places{0, past, 500, past};
    bind("past", places.data(), {2, 2}, DType::i32);
    Executor executor(device, arena, std::move(p));
    executor.run(bindings);
    const Tensor t = executor.tensor(out);
    std::vector<float> both(static_cast<size_t>(t.shape.elements()));
    device.download(both.data(), t.data, t.bytes());
    const size_t half = both.size() / 2;
    for (size_t i = 0; i < half; ++i) {
      EXPECT_EQ(both[i], both[half + i]) << i;
    }
    y.insert(y.end(), both.begin(), both.begin() + static_cast<long>(half));
    past += step;
  }
  EXPECT_EQ(past, tokens);
  return y;
}

TEST(CachedGatedDelta, equals_the_rule_over_the_whole_document) {
  const auto cpu = Device::cpu(2);
  for (const DeltaHeads& heads : {DeltaHeads{2, 4, 5, 3, true}, DeltaHeads{1, 2, 16, 24}}) {
    const OpCase c = delta_case(heads, {0, 70}, 70);
    std::vector<Numbers> in;
    for (const Operand& o : c.operands) {
      in.push_back(o.values);
    }
    const Numbers want = c.reference(in)[0];
    std::vector<Device*> devices{cpu.get()};
    if (test_gpu() != nullptr) {
      devices.push_back(test_gpu());
    }
    for (Device* const device : devices) {
      for (const std::vector<int>& steps :
           {std::vector<int>{70}, std::vector<int>{1, 1, 40, 1, 27}}) {
        const std::vector<float> y = run_cached(c, heads, steps, *device);
        ASSERT_EQ(y.size(), want.size());
        for (size_t i = 0; i < y.size(); ++i) {
          ASSERT_NEAR(y[i], want[i], 5e-6) << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace sft::testing
