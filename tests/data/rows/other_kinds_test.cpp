#include "data/rows/other_kinds.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "data/rows/shapes.h"
#include "data/support.h"

namespace sft {
namespace {

Error refused(const char* text) {
  const std::vector<Json> rows{Json::parse(text)};
  return error_of([&] { RowShape(rows, "here:1", "text"); });
}

TEST(OtherKinds, PreferenceDataAreCalledSo) {
  struct Case {
    const char *row, *hint;
  };
  const Case cases[] = {
      {R"({"prompt": "p", "chosen": "c", "rejected": "r"})", "--column_map chosen=completion"},
      {R"({"prompt": "p", "chosen": [{"role": "user", "content": "p"}], "rejected": []})",
       "--messages_field chosen"},
      {R"({"chosen": [{"role": "user", "content": "p"}], "rejected": []})",
       "--messages_field chosen"},
      {R"({"chosen": "c", "rejected": "r"})", "--dataset_text_field chosen"},
      {R"({"prompt": [{"role": "user", "content": "p"}],
           "chosen": [{"role": "assistant", "content": "c"}], "rejected": []})",
       "--column_map chosen=completion"}};
  for (const Case& c : cases) {
    const Error e = refused(c.row);
    EXPECT_EQ(e.code().text(), "D030");
    EXPECT_NE(e.message().find("preference data"), std::string::npos) << e.message();
    EXPECT_NE(e.hint().find(c.hint), std::string::npos) << e.hint();
  }
}

// The hint for preference data is a way that works.
TEST(OtherKinds, TheChosenAnswersCanBeTrained) {
  const std::vector<Json> rows{Json::parse(R"({"prompt": "p", "chosen": "c", "rejected": "r"})")};
  ShapeOptions options("text");
  options.column_map = {{"chosen", "completion"}};
  const ShapedRow row = RowShape(rows, "here:1", options).read(rows[0], "here:1");
  EXPECT_EQ(row.prompt + row.completion, "pc");
}

TEST(OtherKinds, OtherNamesOfQuestionsAndAnswersGetTheirColumnMap) {
  EXPECT_EQ(refused(R"({"question": "q", "answer": "a"})").hint(),
            "--column_map question=prompt answer=completion");
  EXPECT_EQ(refused(R"({"prompt": "q", "response": "a", "id": 1})").hint(),
            "--column_map response=completion");
  EXPECT_NE(refused(R"({"prompt": "q"})").message().find("prompts without answers"),
            std::string::npos);
  EXPECT_NE(refused(R"({"prompt": "q", "completions": ["a"], "labels": [true]})")
                .message()
                .find("stepwise"),
            std::string::npos);
  EXPECT_NE(refused(R"({"x": 1})").message().find("no known shape"), std::string::npos);
}

TEST(OtherKinds, CompletionsThatNobodyWantedAreCounted) {
  const std::vector<Json> rows{
      Json::parse(R"({"prompt": "p", "completion": "c", "label": true})"),
      Json::parse(R"({"prompt": "p", "completion": "d", "label": false})")};
  EXPECT_NE(unwanted_completions(rows).find("1 of the first 2 rows"), std::string::npos);
  EXPECT_EQ(unwanted_completions(std::span(rows).first(1)), "");
  const std::vector<Json> classes{Json::parse(R"({"prompt": "p", "completion": "c", "label": 0})")};
  EXPECT_EQ(unwanted_completions(classes), "");
}

}  // namespace
}  // namespace sft
