#include "ops/embedding.h"

#include <gtest/gtest.h>

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
