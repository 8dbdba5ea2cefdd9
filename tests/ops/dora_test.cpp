#include "ops/dora.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/dropout_draw.h"
#include "ops/embedding.h"
#include "ops/embedding_lora.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

constexpr size_t kTokens = 11, kIn = 14, kOut = 20, kRank = 3;
constexpr float kRate = 0.3F;
const std::vector<LoraPiece> kPieces{{0, 8, 0.5F}, {15, 5, 2.0F}};

// y[o] of all tokens, of x (tokens, in) and a row of in values
void add_row_product(const Numbers& x, const double* row, double scale, size_t o, Numbers& y) {
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t i = 0; i < kIn; ++i) {
      y[t * kOut + o] += scale * x[t * kIn + i] * row[i];
    }
  }
}

// Row o of s B A, given the operands a and b of all pieces.
Numbers update_row(const Numbers& a, const Numbers& b, size_t piece, size_t b_row) {
  Numbers row(kIn);
  for (size_t k = 0; k < kRank; ++k) {
    for (size_t i = 0; i < kIn; ++i) {
      row[i] += kPieces[piece].scale * b[b_row * kRank + k] * a[(piece * kRank + k) * kIn + i];
    }
  }
  return row;
}

// f(piece, row of the weight, row of all pieces' rows)
template <class F>
void for_each_row(const F& f) {
  size_t row = 0;
  for (size_t piece = 0; piece < kPieces.size(); ++piece) {
    for (int64_t j = 0; j < kPieces[piece].rows; ++j, ++row) {
      f(piece, static_cast<size_t>(kPieces[piece].first_row + j), row);
    }
  }
}

std::vector<int> dropout_keys() {
  std::vector<int> keys;
  for (size_t t = 0; t < kTokens; ++t) {
    keys.push_back(t < 5 ? 77 : 99);
    keys.push_back(static_cast<int>(t < 5 ? t : t - 5));
  }
  return keys;
}

// What dropout leaves of x for the adapter with this site.
Numbers left_of(const Numbers& x, uint32_t site) {
  const std::vector<int32_t> words{123, 45};
  const DropoutDraw draw(words.data(), kRate, site);
  const std::vector<int> keys = dropout_keys();
  Numbers left = x;
  for (size_t t = 0; t < kTokens; ++t) {
    const int32_t key[] = {keys[2 * t], keys[2 * t + 1]};
    for (size_t i = 0; i < kIn; ++i) {
      const auto at = static_cast<int64_t>(i);
      left[t * kIn + i] *= draw.kept(draw.words(key, at / 4 * 4), at) ? draw.scale : 0.0F;
    }
  }
  return left;
}

// Two parts of a fused weight, each with an adapter that keeps its rows' lengths apart. The lengths
// count as constants in the gradient, so the reference takes them from the operands as they are.
OpCase dora_case(bool bias, bool drops) {
  OpCase c;
  c.operands = {activation({kTokens, kIn}, 1), frozen({kOut, kIn}, DType::f32, 2, 0.2),
                parameter({2 * kRank, kIn}, 3), parameter({13, kRank}, 4, 0.3),
                norm_weight({13}, 5)};
  if (bias) {
    c.operands.push_back(parameter({kOut}, 6));
  }
  if (drops) {
    c.operands.push_back(indices(dropout_keys()));
    c.operands.back().shape = {kTokens, 2};
    c.operands.push_back(indices({123, 45}));
  }
  c.build = [=](Program& p, const std::vector<Value>& in) {
    Linear layer{in[1], bias ? in[5] : Value(), {}};
    if (!drops) {
      layer.lora = {Lora{in[2], in[3], kPieces, {}, in[4]}};
      return std::vector{linear(p, in[0], layer)};
    }
    // One operand serves both adapters: its other rows stand for a piece without effect.
    const DropoutInputs inputs{in[in.size() - 2], {}, in[in.size() - 1]};
    layer.lora = {Lora{in[2], in[3], {kPieces[0]}, {kRate, 7, inputs}, in[4]}};
    return std::vector{linear(p, in[0], layer)};
  };
  const size_t pieces = drops ? 1 : 2;
  if (drops) {
    c.operands[2].shape = {kRank, kIn};
    c.operands[2].values.resize(kRank * kIn);
    c.operands[3].shape = {8, kRank};
    c.operands[3].values.resize(8 * kRank);
    c.operands[4].shape = {8};
    c.operands[4].values.resize(8);
  }
  const Numbers w = c.operands[1].values, a = c.operands[2].values, b = c.operands[3].values;
  Numbers length(13);
  for_each_row([&](size_t piece, size_t o, size_t row) {
    if (piece < pieces) {
      const Numbers update = update_row(a, b, piece, row);
      double sum = 0;
      for (size_t i = 0; i < kIn; ++i) {
        sum += std::pow(w[o * kIn + i] + update[i], 2);
      }
      length[row] = std::sqrt(sum);
    }
  });
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y(kTokens * kOut);
    std::vector<double> gain(kOut, 1.0);
    const Numbers left = drops ? left_of(in[0], 7) : in[0];
    for_each_row([&](size_t piece, size_t o, size_t row) {
      if (piece < pieces) {
        gain[o] = in[4][row] / length[row];
        add_row_product(left, update_row(in[2], in[3], piece, row).data(), gain[o], o, y);
      }
    });
    for (size_t o = 0; o < kOut; ++o) {
      add_row_product(left, &in[1][o * kIn], gain[o] - 1, o, y);
      add_row_product(in[0], &in[1][o * kIn], 1.0, o, y);
      for (size_t t = 0; bias && t < kTokens; ++t) {
        y[t * kOut + o] += in[5][o];
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

// A table of words, scaled as some families scale it, whose columns keep their lengths.
OpCase table_case(int64_t words, int64_t hidden, int64_t rank) {
  constexpr float kScale = 0.5F, kOfAll = 3.0F;
  const std::vector<int> tokens{3, 1, 3, 0, 2, 3, 1};
  OpCase c;
  c.operands = {indices(tokens), frozen({words, hidden}, DType::f32, 1, 0.3),
                parameter({rank, words}, 2), parameter({hidden, rank}, 3, 0.3),
                norm_weight({hidden}, 4)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value sum = embedding(p, in[0], in[1], kOfAll);
    add_embedding_lora(p, in[0], Lora{in[2], in[3], {{0, hidden, kScale * kOfAll}}}, -1, sum);
    return std::vector{
        decomposed_embedding(p, sum, in[1], Lora{in[2], in[3], {{0, hidden, kScale}}, {}, in[4]})};
  };
  const auto row = [=](const Numbers& w, const Numbers& a, const Numbers& b, int64_t word,
                       int64_t i) {
    double value = w[static_cast<size_t>(word * hidden + i)];
    for (int64_t k = 0; k < rank; ++k) {
      value +=
          kScale * b[static_cast<size_t>(i * rank + k)] * a[static_cast<size_t>(k * words + word)];
    }
    return value;
  };
  std::vector<double> length;
  for (int64_t i = 0; i < hidden; ++i) {
    double sum = 0;
    for (int64_t word = 0; word < words; ++word) {
      sum += std::pow(
          row(c.operands[1].values, c.operands[2].values, c.operands[3].values, word, i), 2);
    }
    length.push_back(std::sqrt(sum));
  }
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    for (const int token : tokens) {
      for (int64_t i = 0; i < hidden; ++i) {
        const auto at = static_cast<size_t>(i);
        y.push_back(in[4][at] / length[at] * kOfAll * row(in[1], in[2], in[3], token, i));
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(Dora, columns_of_a_table_keep_a_length_of_their_own) {
  check_op(table_case(10, 40, 4));
  check_op(table_case(5, 3, 1));
}

TEST(Dora, rows_keep_a_length_of_their_own) { check_op(dora_case(false, false)); }
TEST(Dora, beside_a_bias) { check_op(dora_case(true, false)); }
TEST(Dora, where_an_adapter_drops_some_of_its_input) {
  check_op(dora_case(false, true));
  check_op(dora_case(true, true));
}

// With the lengths that the weight has, and B zero, the layer is the one that it was.
TEST(Dora, begins_as_the_layer_it_is_put_on) {
  OpCase c = dora_case(false, false);
  c.operands[3].values.assign(c.operands[3].values.size(), 0.0);
  for_each_row([&](size_t, size_t o, size_t row) {
    double sum = 0;
    for (size_t i = 0; i < kIn; ++i) {
      sum += std::pow(c.operands[1].values[o * kIn + i], 2);
    }
    c.operands[4].values[row] = std::sqrt(sum);
  });
  OpCase plain = c;
  plain.build = [](Program& p, const std::vector<Value>& in) {
    return std::vector{linear(p, in[0], {in[1], {}, {}})};
  };
  const auto with = run_op(c).outputs[0], without = run_op(plain).outputs[0];
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_NEAR(with[i], without[i], 1e-6);
  }
}

}  // namespace
}  // namespace sft::testing
