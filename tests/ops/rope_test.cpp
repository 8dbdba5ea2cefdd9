#include "ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/attention.h"
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
    return std::vector{rope_table(p, in[0], {}, f)};
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
    return std::vector{rope(p, in[0], rope_table(p, in[1], {}, f), {heads}, heads.head_dim)};
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

// Rows of qkv turned as the formula has it, by tables of (tokens, rotated) for queries and keys.
Numbers turned(const Numbers& x, const Numbers& queries, const Numbers& keys, const Rotation& r,
               size_t rotated) {
  Numbers y = x;
  const auto d = static_cast<size_t>(r.heads.head_dim);
  const auto row = static_cast<size_t>(r.heads.row());
  for (size_t t = 0; t < x.size() / row; ++t) {
    for (size_t h = 0; h < static_cast<size_t>(r.heads.heads + r.heads.kv_heads); ++h) {
      const Numbers& table = h < static_cast<size_t>(r.heads.heads) ? queries : keys;
      for (size_t i = 0; i < rotated / 2; ++i) {
        const size_t a = t * row + h * d + (r.interleaved ? 2 * i : i);
        const size_t b = r.interleaved ? a + 1 : a + rotated / 2;
        const double cosine = table[t * rotated + i];
        const double sine = table[t * rotated + rotated / 2 + i];
        y[a] = x[a] * cosine - x[b] * sine;
        y[b] = x[b] * cosine + x[a] * sine;
      }
    }
  }
  return y;
}

TEST(Rope, of_a_part_of_each_head_and_of_neighbours) {
  for (const bool interleaved : {false, true}) {
    for (const int rotated : {4, 12, 16}) {
      SCOPED_TRACE(rotated);
      const Rotation rotation{{3, 1, 16}, interleaved};
      const RopeFrequencies f = frequencies(rotated, 10000.0, 1.25F);
      OpCase c;
      c.operands = {activation({4, rotation.heads.row()}, 1), indices({0, 1, 9, 70})};
      c.build = [=](Program& p, const std::vector<Value>& in) {
        return std::vector{rope(p, in[0], rope_table(p, in[1], {}, f), rotation, rotated)};
      };
      c.reference = [=](const std::vector<Numbers>& in) {
        const Numbers table = table_of(in[1], f);
        return std::vector<Numbers>{
            turned(in[0], table, table, rotation, static_cast<size_t>(rotated))};
      };
      check_op(c);
    }
  }
}

TEST(Rope, queries_may_grow_with_their_position) {
  const Rotation rotation{{2, 2, 8}};
  RopeFrequencies f = frequencies(8, 10000.0);
  f.query_beta = 0.3F;
  f.query_period = 4;
  OpCase c;
  c.operands = {activation({4, rotation.heads.row()}, 1), indices({0, 3, 4, 17})};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rope(p, in[0], rope_table(p, in[1], {}, f), rotation, 8)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers keys = table_of(in[1], f);
    Numbers queries = keys;
    for (size_t i = 0; i < queries.size(); ++i) {
      queries[i] *= 1.0 + 0.3 * std::log(1.0 + std::floor(in[1][i / 8] / 4.0));
    }
    return std::vector<Numbers>{turned(in[0], queries, keys, rotation, 8)};
  };
  check_op(c);
}

// Of a micro-batch: a document of 3 tokens, one of 5, and a token of none.
OpCase by_length_case(const RopeFrequencies& f, const RopeFrequencies& of_long) {
  OpCase c;
  c.operands = {indices({0, 1, 2, 0, 1, 2, 3, 4, 0}), indices({0, 3, 8})};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{rope_table(p, in[0], document_table(p, in[1], {1, 1, 8}, 9), f)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const Numbers& all = in[0];
    Numbers table = table_of({all.begin(), all.begin() + 3}, f);
    const Numbers second = table_of({all.begin() + 3, all.begin() + 8}, of_long);
    table.insert(table.end(), second.begin(), second.end());
    const Numbers last = table_of({0.0}, f);
    table.insert(table.end(), last.begin(), last.end());
    return std::vector<Numbers>{table};
  };
  c.tolerance = 1e-6;
  return c;
}

TEST(RopeTable, long_documents_have_frequencies_of_their_own) {
  RopeFrequencies f = frequencies(8, 10000.0, 1.1F);
  f.short_length = 4;
  f.long_inv_freq = {0.5F, 0.05F, 0.004F, 0.0003F};
  RopeFrequencies of_long = f;
  of_long.inv_freq = f.long_inv_freq;
  check_op(by_length_case(f, of_long));
}

TEST(RopeTable, a_dynamic_base_follows_the_documents_length) {
  RopeFrequencies f = frequencies(8, 10000.0);
  f.short_length = 4;
  f.dynamic_factor = 3.0F;
  // base' = base (factor length / short - (factor - 1)) ^ (d / (d - 2))
  const double base = 10000.0 * std::pow(3.0 * 5.0 / 4.0 - 2.0, 8.0 / 6.0);
  check_op(by_length_case(f, frequencies(8, base)));
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
  cpu::rope_table_forward(*device, {positions.data(), {3}, DType::i32}, {}, frequencies(8, 10000.0),
                          table_tensor);
  cpu::rope_rotate(*device, x_tensor, table_tensor, {heads}, 8, false, x_tensor);  // in place
  EXPECT_NE(x, before);
  cpu::rope_rotate(*device, x_tensor, table_tensor, {heads}, 8, true, x_tensor);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(x[i], before[i], 1e-6);
  }
}

}  // namespace
}  // namespace sft::testing
