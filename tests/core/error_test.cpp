#include "core/error.h"

#include <gtest/gtest.h>

#include <string>

namespace sft {
namespace {

TEST(Error, text_has_a_line_each_for_sentence_place_and_way_out) {
  Error e("D012", "row 7 has no \"messages\"");
  EXPECT_EQ(e.text(), "error[D012]: row 7 has no \"messages\"");
  e.at("train.jsonl:7").hint("add the column");
  EXPECT_EQ(e.text(),
            "error[D012]: row 7 has no \"messages\"\n  --> train.jsonl:7\nhint: add the column");
  EXPECT_STREQ(e.what(), "row 7 has no \"messages\"");
}

TEST(Error, the_innermost_place_and_hint_win) {
  Error e("M001", "x");
  e.at("inner:1").at("outer:2").hint("first").hint("second");
  EXPECT_EQ(e.where(), "inner:1");
  EXPECT_EQ(e.hint(), "first");
}

TEST(Error, gains_context_as_it_rises) {
  try {
    try {
      throw Error("X002", "input tokens is not bound");
    } catch (Error& e) {
      throw e.context("in embedding").context("in step 3");
    }
  } catch (const Error& e) {
    EXPECT_EQ(e.message(), "in step 3: in embedding: input tokens is not bound");
    EXPECT_EQ(e.code().text(), "X002");
  }
}

TEST(Error, the_codes_letter_decides_the_exit_code) {
  const auto exit_code = [](Code code) { return static_cast<int>(Error(code, "").exit_code()); };
  EXPECT_EQ(exit_code("C001"), 2);
  EXPECT_EQ(exit_code("D001"), 3);
  EXPECT_EQ(exit_code("M001"), 4);
  EXPECT_EQ(exit_code("G001"), 5);
  EXPECT_EQ(exit_code("S001"), 7);
  EXPECT_EQ(exit_code("N001"), 140);
  EXPECT_EQ(exit_code("X001"), 1);
}

TEST(Assert, names_the_expression_and_the_place) {
  EXPECT_NO_THROW(SFT_ASSERT(1 + 1 == 2));
  try {
    SFT_ASSERT(1 + 1 == 3);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "X001");
    EXPECT_NE(e.message().find("1 + 1 == 3"), std::string::npos);
    EXPECT_NE(e.where().find("error_test.cpp:"), std::string::npos);
  }
}

}  // namespace
}  // namespace sft
