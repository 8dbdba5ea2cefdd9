#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/dropout_draw.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

// y (rows, out) += scale x (rows, in) w (out, in)^T
void add_product(const Numbers& x, const Numbers& w, size_t in, double scale, Numbers& y) {
  const size_t rows = x.size() / in;
  const size_t out = w.size() / in;
  y.resize(rows * out, 0.0);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t o = 0; o < out; ++o) {
      double sum = 0.0;
      for (size_t i = 0; i < in; ++i) {
        sum += x[r * in + i] * w[o * in + i];
      }
      y[r * out + o] += scale * sum;
    }
  }
}

struct LinearShape {
  int64_t tokens, in, out;
};

OpCase linear_case(const LinearShape& s, bool bias, Operand weight) {
  OpCase c;
  c.operands = {activation({s.tokens, s.in}, 1), std::move(weight)};
  if (bias) {
    c.operands.push_back(parameter({s.out}, 3));
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], bias ? in[2] : Value(), {}})};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    add_product(in[0], in[1], static_cast<size_t>(s.in), 1.0, y);
    for (size_t i = 0; bias && i < y.size(); ++i) {
      y[i] += in[2][i % static_cast<size_t>(s.out)];
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

// A frozen weight of parts in types that differ: their rows follow each other.
TEST(Linear, a_weight_may_be_kept_in_parts) {
  constexpr int64_t kTokens = 9, kIn = 24;
  for (const bool bias : {false, true}) {
    OpCase c = linear_case({kTokens, kIn, 21}, bias, frozen({8, kIn}, DType::bf16, 2));
    c.operands.push_back(frozen({1, kIn}, DType::f32, 4));
    c.operands.push_back(frozen({12, kIn}, DType::f16, 5));
    const size_t parts = bias ? 3 : 2;
    c.build = [=](Program& p, const std::vector<Value>& in) {
      const Value weight = p.group("weight", {in[1], in[parts], in[parts + 1]});
      return std::vector{linear(p, in[0], {weight, bias ? in[2] : Value(), {}})};
    };
    c.reference = [joined = c.reference, parts](std::vector<Numbers> in) {
      for (size_t i = parts; i < in.size(); ++i) {
        in[1].insert(in[1].end(), in[i].begin(), in[i].end());
      }
      return joined(in);
    };
    check_op(c);
  }
}

TEST(Linear, shapes_around_the_tiles) {
  for (const LinearShape& s : {LinearShape{1, 1, 1}, LinearShape{1, 64, 7}, LinearShape{5, 17, 33},
                               LinearShape{70, 96, 80}, LinearShape{130, 64, 64}}) {
    for (const bool bias : {false, true}) {
      SCOPED_TRACE(s.tokens);
      OpCase c = linear_case(s, bias, parameter({s.out, s.in}, 2));
      c.checked = 30;
      check_op(c);
    }
  }
}

TEST(Linear, a_frozen_weight_of_any_float_type) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    SCOPED_TRACE(name_of(dtype));
    check_op(linear_case({9, 24, 20}, false, frozen({20, 24}, dtype, 2)));
    check_op(linear_case({9, 24, 20}, true, frozen({20, 24}, dtype, 2)));
  }
}

// Rows that do not begin with a block, and a matrix that ends within one.
TEST(Linear, a_frozen_weight_in_four_bits) {
  for (const DType dtype : {DType::nf4, DType::fp4, DType::nf4_nested, DType::fp4_nested}) {
    SCOPED_TRACE(name_of(dtype));
    check_op(linear_case({9, 24, 20}, false, frozen({20, 24}, dtype, 2)));
    check_op(linear_case({9, 31, 15}, true, frozen({15, 31}, dtype, 2)));
  }
}

OpCase lora_case(const LinearShape& s, int64_t rank, bool bias, Operand weight) {
  OpCase c = linear_case(s, bias, std::move(weight));
  const size_t first = c.operands.size();
  constexpr float kScale = 1.5F;
  c.operands.push_back(parameter({rank, s.in}, 4));
  c.operands.push_back(parameter({s.out, rank}, 5));
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Lora lora{in[first], in[first + 1], {{0, s.out, kScale}}};
    return std::vector{linear(p, in[0], {in[1], bias ? in[2] : Value(), {lora}})};
  };
  c.reference = [=, plain = c.reference](const std::vector<Numbers>& in) {
    Numbers low;
    add_product(in[0], in[first], static_cast<size_t>(s.in), 1.0, low);
    Numbers y = plain(in)[0];
    add_product(low, in[first + 1], static_cast<size_t>(rank), kScale, y);
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(Linear, lora_over_a_frozen_weight) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::nf4_nested}) {
    SCOPED_TRACE(name_of(dtype));
    check_op(lora_case({11, 40, 36}, 4, false, frozen({36, 40}, dtype, 2, 0.2)));
  }
  OpCase large = lora_case({70, 64, 80}, 8, true, frozen({80, 64}, DType::bf16, 2, 0.2));
  large.checked = 30;
  check_op(large);
}

TEST(Linear, lora_beside_a_trained_weight) {
  check_op(lora_case({6, 16, 12}, 2, false, parameter({12, 16}, 2)));
}

TEST(Linear, the_same_input_twice_adds_its_gradients) {
  OpCase c;
  c.operands = {activation({7, 20}, 1), parameter({10, 20}, 2), parameter({12, 20}, 3)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], {}, {}}), linear(p, in[0], {in[2], {}, {}}),
                       linear(p, in[0], {in[1], {}, {}})};
  };
  c.reference = [](const std::vector<Numbers>& in) {
    std::vector<Numbers> y(3);
    add_product(in[0], in[1], 20, 1.0, y[0]);
    add_product(in[0], in[2], 20, 1.0, y[1]);
    add_product(in[0], in[1], 20, 1.0, y[2]);
    return y;
  };
  check_op(c);
}

TEST(Linear, a_chain) {
  OpCase c;
  c.operands = {activation({7, 12}, 1), parameter({20, 12}, 2), parameter({9, 20}, 3)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, linear(p, in[0], {in[1], {}, {}}), {in[2], {}, {}})};
  };
  c.reference = [](const std::vector<Numbers>& in) {
    Numbers h, y;
    add_product(in[0], in[1], 12, 1.0, h);
    add_product(h, in[2], 20, 1.0, y);
    return std::vector<Numbers>{y};
  };
  check_op(c);
}

// Three parts of a fused weight, of which the first and the last have adapters of their own.
TEST(Linear, adapters_of_parts_of_a_fused_weight) {
  OpCase c;
  c.operands = {activation({9, 12}, 1), frozen({20, 12}, DType::f32, 2, 0.2), parameter({6, 12}, 3),
                parameter({13, 3}, 4)};
  const std::vector<LoraPiece> pieces{{0, 8, 0.5F}, {15, 5, 2.0F}};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], {}, {Lora{in[2], in[3], pieces}}})};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers low, y;
    add_product(in[0], in[2], 12, 1.0, low);
    add_product(in[0], in[1], 12, 1.0, y);
    size_t row = 0;
    for (size_t piece = 0; piece < pieces.size(); ++piece) {
      for (int64_t o = 0; o < pieces[piece].rows; ++o, ++row) {
        for (size_t t = 0; t < 9; ++t) {
          double sum = 0;
          for (size_t k = 0; k < 3; ++k) {
            sum += low[t * 6 + piece * 3 + k] * in[3][row * 3 + k];
          }
          y[t * 20 + static_cast<size_t>(pieces[piece].first_row + o)] += pieces[piece].scale * sum;
        }
      }
    }
    return std::vector<Numbers>{y};
  };
  check_op(c);
}

// Which values are dropped, as the definition has it; gradients go where values went.
TEST(Linear, an_adapter_drops_some_of_its_input) {
  constexpr size_t kTokens = 11, kIn = 14;
  constexpr float kRate = 0.3F;
  std::vector<int> keys;
  for (size_t t = 0; t < kTokens; ++t) {
    keys.push_back(t < 5 ? 77 : 99);
    keys.push_back(static_cast<int>(t < 5 ? t : t - 5));
  }
  const std::vector<int> seed{123, 45};
  OpCase c;
  c.operands = {activation({kTokens, kIn}, 1),
                frozen({6, kIn}, DType::f32, 2, 0.2),
                parameter({2, kIn}, 3),
                parameter({6, 2}, 4),
                indices(keys),
                indices(seed)};
  c.operands[4].shape = {kTokens, 2};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    Lora lora{in[2], in[3], {{0, 6, 1.5F}}};
    lora.dropout = {kRate, 7, {in[4], {}, in[5]}};
    return std::vector{linear(p, in[0], {in[1], {}, {lora}})};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    const std::vector<int32_t> words{123, 45};
    const DropoutDraw draw(words.data(), kRate, 7);
    Numbers dropped = in[0], low, y;
    for (size_t t = 0; t < kTokens; ++t) {
      const int32_t key[] = {keys[2 * t], keys[2 * t + 1]};
      for (size_t i = 0; i < kIn; ++i) {
        const auto at = static_cast<int64_t>(i);
        dropped[t * kIn + i] *= draw.kept(draw.words(key, at / 4 * 4), at) ? draw.scale : 0.0F;
      }
    }
    add_product(dropped, in[2], kIn, 1.0, low);
    add_product(in[0], in[1], kIn, 1.0, y);
    add_product(low, in[3], 2, 1.5, y);
    return std::vector<Numbers>{y};
  };
  check_op(c);
}

// By itself, of all rows and of some that are kept.
TEST(Dropout, values_and_gradients) {
  constexpr size_t kTokens = 9, kIn = 10;
  constexpr float kRate = 0.4F;
  for (const size_t rows : {kTokens, size_t{3}}) {
    std::vector<int> keys(2 * kTokens, -1), kept;
    for (size_t t = 0; t < rows; ++t) {
      kept.insert(kept.end(), {5, static_cast<int>(2 * t)});
    }
    OpCase c;
    c.operands = {activation({static_cast<int64_t>(rows), kIn}, 1),
                  indices(rows == kTokens ? kept : keys), indices(kept), indices({1, 2})};
    c.operands[1].shape = {kTokens, 2};
    c.operands[2].shape = {static_cast<int64_t>(rows), 2};
    c.build = [=](Program& p, const std::vector<Value>& in) {
      return std::vector{dropout(p, in[0], {kRate, 3, {in[1], in[2], in[3]}})};
    };
    c.reference = [=](const std::vector<Numbers>& in) {
      const std::vector<int32_t> words{1, 2};
      const DropoutDraw draw(words.data(), kRate, 3);
      Numbers y = in[0];
      for (size_t t = 0; t < rows; ++t) {
        for (size_t i = 0; i < kIn; ++i) {
          const auto at = static_cast<int64_t>(i);
          const PhiloxWords drawn = draw.words(kept.data() + 2 * t, at / 4 * 4);
          y[t * kIn + i] *= draw.kept(drawn, at) ? draw.scale : 0.0F;
        }
      }
      return std::vector<Numbers>{y};
    };
    check_op(c);
  }
}

TEST(Dropout, drops_its_share_and_keeps_the_mean) {
  const auto device = Device::cpu(2);
  constexpr int64_t kTokens = 400, kIn = 500;
  std::vector<float> x(kTokens * kIn, 1.0F), y(x.size());
  std::vector<int32_t> keys(2 * kTokens), seed{1, 2};
  for (int32_t t = 0; t < kTokens; ++t) {
    keys[static_cast<size_t>(2 * t)] = t / 20;
    keys[static_cast<size_t>(2 * t) + 1] = t % 20;
  }
  Tensor out{y.data(), {kTokens, kIn}, DType::f32};
  const auto drop = [&](float rate, uint32_t site) {
    cpu::dropout(*device, {x.data(), {kTokens, kIn}, DType::f32},
                 {keys.data(), {kTokens, 2}, DType::i32}, {seed.data(), {2}, DType::i32}, rate,
                 site, out, false);
    return y;
  };
  for (const float rate : {0.05F, 0.5F}) {
    const std::vector<float> first = drop(rate, 3);
    double kept = 0, sum = 0;
    for (const float v : first) {
      kept += v != 0.0F ? 1 : 0;
      sum += v;
    }
    const double n = kTokens * kIn, spread = std::sqrt(rate * (1 - rate) * n);
    EXPECT_NEAR(kept, n * (1 - rate), 4 * spread);
    EXPECT_NEAR(sum / n, 1.0, 4 * spread / n / (1 - rate));
    EXPECT_EQ(first, drop(rate, 3));
    EXPECT_NE(first, drop(rate, 4));
    seed[0] += 1;
    EXPECT_NE(first, drop(rate, 3));
    seed[0] -= 1;
  }
}

// The output of a product with LoRA is written twice; what reads it in the backward pass needs
// both.
TEST(Linear, lora_in_a_chain) {
  OpCase c;
  c.operands = {activation({7, 12}, 1), frozen({20, 12}, DType::bf16, 2), parameter({4, 12}, 3),
                parameter({20, 4}, 4), parameter({9, 20}, 5)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    const Value h = linear(p, in[0], {in[1], {}, {Lora{in[2], in[3], {{0, 20, 0.5F}}}}});
    return std::vector{linear(p, h, {in[4], {}, {}})};
  };
  c.reference = [](const std::vector<Numbers>& in) {
    Numbers low, h, y;
    add_product(in[0], in[2], 12, 1.0, low);
    add_product(in[0], in[1], 12, 1.0, h);
    add_product(low, in[3], 4, 0.5, h);
    add_product(h, in[4], 20, 1.0, y);
    return std::vector<Numbers>{y};
  };
  check_op(c);
}

TEST(Linear, an_infinite_or_missing_value_reaches_the_output) {
  for (const double bad : {double{INFINITY}, double{NAN}}) {
    OpCase c = linear_case({3, 8, 5}, false, parameter({5, 8}, 2));
    c.operands[0].values[9] = bad;  // row 1
    const OpResult r = run_op(c);
    for (size_t i = 0; i < 15; ++i) {
      EXPECT_EQ(std::isfinite(r.outputs[0][i]), i / 5 != 1);
    }
  }
}

TEST(Linear, a_bias_loses_no_digits_over_many_tokens) {
  constexpr int64_t kTokens = 300000;
  OpCase c = linear_case({kTokens, 1, 3}, true, parameter({3, 1}, 2));
  c.even_gradients = true;
  for (const OpRun& run : runs_everywhere()) {
    const OpResult r = run_op(c, run);
    for (const float g : r.gradients[2]) {
      EXPECT_NEAR(g / (static_cast<double>(kTokens) * kEvenGradient), 1.0, 3e-7);
    }
  }
}

}  // namespace
}  // namespace sft::testing
