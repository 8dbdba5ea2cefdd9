#include "ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "support/op_case.h"

namespace sft::testing {
namespace {

RopeFrequencies frequencies(int head_dim, double theta, float factor = 1.0F) {
  RopeFrequencies f;
  for (int i = 0; i < head_dim / 2; ++i) {
    f.inv_freq.push_back(static_cast<float>(std::pow(theta, -2.0 * i / head_dim)));
  }
  f.attention_factor = factor;
  return f;
}

// The table in double. The angle itself is a float32 product, as in the models that were published.
Numbers table_of(const Numbers& positions, const RopeFrequencies& f) {
  Numbers table;
  for (const double position : positions) {
    for (const bool sine : {false, true}) {
      for (const float w : f.inv_freq) {
        const double angle = static_cast<float>(position) * w;
        table.push_back((sine ? std::sin(angle) : std::cos(angle)) * double{f.attention_factor});
      }
    }
  }
  return table;
}

OpCase table_case(const std::vector<int>& positions, const RopeFrequencies& f) {
  OpCase c;
  c.operands = {indices(positions)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rope_table(p, in[0], f)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    return std::vector<Numbers>{table_of(in[0], f)};
  };
  c.tolerance = 2e-7;
  return c;
}

TEST(RopeTable, equals_cosine_and_sine) {
  check_op(table_case({0, 1, 2, 63, 1000, 32767, 131071}, frequencies(16, 10000.0)));
  check_op(table_case({0, 5, 5, 4096}, frequencies(64, 1e6, 1.25F)));
}

TEST(RopeTable, position_zero_turns_nothing) {
  const OpResult r = run_op(table_case({0}, frequencies(8, 10000.0)));
  EXPECT_EQ(r.outputs[0], (std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0}));
}

OpCase rope_case(const std::vector<int>& positions, const Heads& heads, float factor = 1.0F) {
  const RopeFrequencies f = frequencies(heads.head_dim, 10000.0, factor);
  OpCase c;
  c.operands = {activation({static_cast<int64_t>(positions.size()), heads.row()}, 1),
                indices(positions)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rope(p, in[0], rope_table(p, in[1], f), heads)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers table = table_of(in[1], f);
    Numbers y = in[0];
    const auto d = static_cast<size_t>(heads.head_dim);
    const auto row = static_cast<size_t>(heads.row());
    for (size_t t = 0; t < in[1].size(); ++t) {
      for (size_t h = 0; h < static_cast<size_t>(heads.heads + heads.kv_heads); ++h) {
        for (size_t i = 0; i < d / 2; ++i) {
          const size_t at = t * row + h * d + i;
          const double cosine = table[t * d + i];
          const double sine = table[t * d + d / 2 + i];
          y[at] = in[0][at] * cosine - in[0][at + d / 2] * sine;
          y[at + d / 2] = in[0][at + d / 2] * cosine + in[0][at] * sine;
        }
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(Rope, values_and_gradients) {
  check_op(rope_case({0, 1, 2, 0, 1, 100}, {4, 2, 16}));
  check_op(rope_case({7}, {1, 1, 2}));
  check_op(rope_case({3, 4, 5}, {3, 1, 24}, 1.5F));
}

TEST(Rope, the_inverse_turns_back) {
  const auto device = Device::cpu(2);
  const Heads heads{2, 1, 8};
  const OpCase c = rope_case({0, 3, 500}, heads);
  std::vector<int32_t> positions{0, 3, 500};
  std::vector<float> table(3 * 8);
  std::vector<float> x(c.operands[0].values.begin(), c.operands[0].values.end());
  const std::vector<float> before = x;
  Tensor table_tensor{table.data(), {3, 8}, DType::f32};
  Tensor x_tensor{x.data(), {3, heads.row()}, DType::f32};
  cpu::rope_table_forward(*device, {positions.data(), {3}, DType::i32}, frequencies(8, 10000.0),
                          table_tensor);
  cpu::rope_rotate(*device, x_tensor, table_tensor, heads, false, x_tensor);  // in place
  EXPECT_NE(x, before);
  cpu::rope_rotate(*device, x_tensor, table_tensor, heads, true, x_tensor);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(x[i], before[i], 1e-6);
  }
}

}  // namespace
}  // namespace sft::testing
