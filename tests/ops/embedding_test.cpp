#include "ops/embedding.h"

#include <gtest/gtest.h>

#include "ops/embedding_lora.h"
#include "ops/replace_rows.h"
#include "support/op_case.h"

namespace sft::testing {
namespace {

OpCase embedding_case(const std::vector<int>& tokens, int64_t vocab, int64_t hidden, float scale,
                      int64_t padding = -1) {
  OpCase c;
  c.operands = {indices(tokens), parameter({vocab, hidden}, 1)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    return std::vector{embedding(p, in[0], in[1], scale, padding)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    for (const double token : in[0]) {
      for (int64_t i = 0; i < hidden; ++i) {
        y.push_back(in[1][static_cast<size_t>(static_cast<int64_t>(token) * hidden + i)] * scale);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

// A table that is frozen, with an adapter: A has a column for each word.
OpCase adapted_case(const std::vector<int>& tokens, int64_t vocab, int64_t hidden, int64_t rank) {
  constexpr float kScale = 1.5F;
  OpCase c;
  c.operands = {indices(tokens), frozen({vocab, hidden}, DType::f32, 1),
                parameter({rank, vocab}, 2), parameter({hidden, rank}, 3)};
  c.build = [=](Program& p, const std::vector<Value>& in) {
    const Value y = embedding(p, in[0], in[1], 2.0F);
    add_embedding_lora(p, in[0], Lora{in[2], in[3], {{0, hidden, kScale}}}, -1, y);
    return std::vector{y};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers y;
    for (const double token : in[0]) {
      for (int64_t i = 0; i < hidden; ++i) {
        double value = 2.0 * in[1][static_cast<size_t>(static_cast<int64_t>(token) * hidden + i)];
        for (int64_t k = 0; k < rank; ++k) {
          value += kScale * in[3][static_cast<size_t>(i * rank + k)] *
                   in[2][static_cast<size_t>(k * vocab + static_cast<int64_t>(token))];
        }
        y.push_back(value);
      }
    }
    return std::vector<Numbers>{y};
  };
  return c;
}

TEST(EmbeddingLora, columns_of_words_are_added) {
  check_op(adapted_case({3, 3, 0, 3, 9, 0, 3}, 10, 40, 4));
  check_op(adapted_case({1}, 2, 3, 1));
}

TEST(EmbeddingLora, the_padding_column_has_no_gradient) {
  OpCase plain = adapted_case({1, 2, 1, 3}, 4, 8, 3), padded = plain;
  padded.build = [](Program& p, const std::vector<Value>& in) {
    const Value y = embedding(p, in[0], in[1], 2.0F, 2);
    add_embedding_lora(p, in[0], Lora{in[2], in[3], {{0, 8, 1.5F}}}, 2, y);
    return std::vector{y};
  };
  const auto with = run_op(padded).gradients[2], without = run_op(plain).gradients[2];
  for (size_t i = 0; i < with.size(); ++i) {
    EXPECT_EQ(with[i], i % 4 == 2 ? 0.0F : without[i]);
  }
}

// Rows 4 and 1 of the table are trained; it is looked up, and multiplied as a tied head is.
TEST(ReplaceRows, only_those_get_a_gradient) {
  const std::vector<int> tokens{4, 0, 1, 4, 2};
  OpCase c;
  c.operands = {indices(tokens), frozen({5, 6}, DType::f32, 1), parameter({2, 6}, 2)};
  c.build = [](Program& p, const std::vector<Value>& in) {
    const Value table = replace_rows(p, in[1], in[2], {4, 1});
    return std::vector{embedding(p, in[0], table, 1.0F), embedding(p, in[0], table, 0.5F)};
  };
  c.reference = [=](const std::vector<Numbers>& in) {
    Numbers table = in[1], y, half;
    std::copy_n(in[2].begin(), 6, table.begin() + 24);
    std::copy_n(in[2].begin() + 6, 6, table.begin() + 6);
    for (const int token : tokens) {
      for (size_t i = 0; i < 6; ++i) {
        y.push_back(table[static_cast<size_t>(token) * 6 + i]);
        half.push_back(0.5 * y.back());
      }
    }
    return std::vector<Numbers>{y, half};
  };
  check_op(c);
}

TEST(Embedding, repeated_tokens_add_their_gradients) {
  check_op(embedding_case({3, 3, 0, 3, 9, 0, 3}, 10, 40, 1.0F));
}

TEST(Embedding, scaled) { check_op(embedding_case({1, 0, 1}, 2, 33, 5.656854F)); }

TEST(Embedding, one_token_of_one_column) { check_op(embedding_case({4}, 5, 1, 1.0F)); }

TEST(Embedding, rows_of_absent_tokens_have_no_gradient) {
  const OpResult r = run_op(embedding_case({1, 1}, 4, 8, 1.0F));
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(r.gradients[1][i] == 0.0F, i / 8 != 1);
  }
}

TEST(Embedding, the_padding_row_has_no_gradient) {
  const OpResult plain = run_op(embedding_case({1, 2, 1, 3}, 4, 8, 1.0F));
  const OpResult padded = run_op(embedding_case({1, 2, 1, 3}, 4, 8, 1.0F, 2));
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(padded.gradients[1][i], i / 8 == 2 ? 0.0F : plain.gradients[1][i]);
  }
}

TEST(Embedding, a_frequent_token_loses_no_digits) {
  constexpr int kTimes = 300000;
  OpCase c = embedding_case(std::vector<int>(kTimes, 1), 3, 8, 1.0F);
  c.even_gradients = true;
  for (const OpRun& run : runs_everywhere()) {
    const OpResult r = run_op(c, run);
    for (size_t i = 8; i < 16; ++i) {
      EXPECT_NEAR(r.gradients[1][i] / (double{kTimes} * kEvenGradient), 1.0, 3e-7);
    }
  }
}

}  // namespace
}  // namespace sft::testing
