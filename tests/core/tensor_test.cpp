#include "core/tensor.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace sft {
namespace {

TEST(Shape, counts_elements) {
  EXPECT_EQ(Shape({2, 3, 4}).elements(), 24);
  EXPECT_EQ(Shape({2, 0}).elements(), 0);
  EXPECT_EQ(Shape().elements(), 1);
  EXPECT_EQ(Shape({1 << 20, 1 << 20}).elements(), int64_t{1} << 40);
}

TEST(Shape, compares_and_prints) {
  EXPECT_EQ(Shape({2, 3}), Shape(std::vector<int64_t>{2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({2, 3, 1}));
  EXPECT_EQ(Shape({512, 576}).text(), "(512, 576)");
  EXPECT_EQ(Shape({7}).text(), "(7)");
}

TEST(Shape, refuses_more_axes_than_it_holds) { EXPECT_THROW(Shape({1, 1, 1, 1, 1}), Error); }

TEST(Tensor, counts_bytes_by_type) {
  EXPECT_EQ((Tensor{nullptr, {3, 5}, DType::bf16}).bytes(), 30U);
  EXPECT_EQ((Tensor{nullptr, {3}, DType::i64}).bytes(), 24U);
}

}  // namespace
}  // namespace sft
