#include "data/rows/shapes.h"

#include "data/rows/roles.h"
#include "data/support.h"

namespace sft {
namespace {

RowShape shape_of(const Json& rows, const std::string& text_field = "text") {
  const std::vector<Json> list(rows.begin(), rows.end());
  return RowShape(list, "here:1", text_field);
}

ShapedRow first(const Json& row, const std::string& text_field = "text") {
  return shape_of(Json::array({row}), text_field).read(row, "here:1");
}

TEST(Shapes, MapsShareGpt) {
  const Json row = Json::parse(R"({"id": 1, "conversations": [{"from": "system", "value": "s"},
      {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "source": "x"})");
  const RowShape shape = shape_of(Json::array({row}));
  const ShapedRow out = shape.read(row, "");
  EXPECT_EQ(out.kind, RowKind::messages);
  EXPECT_EQ(out.messages, Json::parse(R"([{"role": "system", "content": "s"},
      {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])"));
  EXPECT_EQ(shape.report(),
            "conversations from the column conversations; roles gpt → assistant, human → user; "
            "ignored: id, source");
}

TEST(Shapes, KeepsRoleAndContent) {
  const Json row = Json::parse(R"({"conversations": [{"role": "user", "content": "q", "name": "n"},
      {"role": "assistant", "content": null, "tool_calls": [{"x": 1}], "extra": null}]})");
  EXPECT_EQ(first(row).messages, Json::parse(R"([{"role": "user", "content": "q", "name": "n"},
      {"role": "assistant", "content": null, "tool_calls": [{"x": 1}]}])"));
}

TEST(Shapes, TurnsFunctionCallsIntoToolCalls) {
  const Json row = Json::parse(R"({"conversations": [{"from": "human", "value": "q"},
      {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}"},
      {"from": "observation", "value": "42"}, {"from": "function_call", "value": "not json"}],
      "tools": "[{\"name\": \"f\"}]"})");
  const ShapedRow out = first(row);
  EXPECT_EQ(out.messages[1], Json::parse(R"({"role": "assistant", "content": "", "tool_calls":
      [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]})"));
  EXPECT_EQ(out.messages[2], Json::parse(R"({"role": "tool", "content": "42"})"));
  EXPECT_EQ(out.messages[3], Json::parse(R"({"role": "assistant", "content": "not json"})"));
  EXPECT_EQ(out.tools, Json::parse(R"([{"name": "f"}])"));
}

TEST(Shapes, ReadsPromptAndCompletion) {
  const ShapedRow plain = first(Json{{"prompt", "p"}, {"completion", "c"}});
  EXPECT_EQ(plain.kind, RowKind::prompt_completion);
  EXPECT_EQ(plain.prompt + plain.completion, "pc");
  const ShapedRow chat = first(Json::parse(R"({"prompt": [{"role": "user", "content": "p"}],
      "completion": [{"role": "assistant", "content": "c"}],
      "chat_template_kwargs": {"enable_thinking": false}})"));
  EXPECT_EQ(chat.kind, RowKind::messages_and_completion);
  EXPECT_EQ(chat.prompt_messages, 1U);
  EXPECT_EQ(chat.messages.size(), 2U);
  EXPECT_EQ(chat.template_kwargs, Json::parse(R"({"enable_thinking": false})"));
}

TEST(Shapes, ReadsAlpaca) {
  const ShapedRow out = first(Json::parse(R"({"instruction": "i", "input": "x", "output": "o",
      "system": "s", "history": [["h1", "r1"]]})"));
  EXPECT_EQ(out.prompt_messages, 4U);
  EXPECT_EQ(out.messages, Json::parse(R"([{"role": "system", "content": "s"},
      {"role": "user", "content": "h1"}, {"role": "assistant", "content": "r1"},
      {"role": "user", "content": "i\nx"}, {"role": "assistant", "content": "o"}])"));
  EXPECT_EQ(
      first(Json{{"instruction", "i"}, {"input", nullptr}, {"output", "o"}}).messages[0]["content"],
      "i");
}

TEST(Shapes, ReadsTokens) {
  const ShapedRow out = first(Json::parse(R"({"input_ids": [1, 2], "labels": [-100, 2]})"));
  EXPECT_EQ(out.input_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(out.labels, (std::vector<int32_t>{-100, 2}));
  const Json uneven = Json::parse(R"({"input_ids": [1, 2], "labels": [1]})");
  EXPECT_EQ(error_of([&] { first(uneven); }).code().text(), "D034");
  const Json huge = Json::parse(R"({"input_ids": [1, 99999999999]})");
  EXPECT_EQ(error_of([&] { first(huge); }).code().text(), "D031");
}

// A table that fits several shapes is always taken the same way.
TEST(Shapes, HaveAPriority) {
  const Json messages = Json::parse(R"([{"role": "user", "content": "q"}])");
  EXPECT_EQ(first(Json{{"prompt", "p"}, {"messages", messages}}).kind, RowKind::messages);
  EXPECT_EQ(first(Json{{"text", "t"}, {"messages", messages}}).kind, RowKind::messages);
  EXPECT_EQ(first(Json{{"prompt", "p"}, {"completion", "c"}, {"messages", messages}}).kind,
            RowKind::prompt_completion);
  EXPECT_EQ(first(Json{{"instruction", "i"}, {"output", "o"}, {"text", "t"}}).text, "t");
  EXPECT_EQ(first(Json{{"text", "t"}, {"body", "b"}}, "body").text, "b");
  EXPECT_EQ(first(Json{{"messages", messages.dump()}}).kind, RowKind::messages);
}

TEST(Shapes, PutsTheSystemColumnFirst) {
  Json row = Json::parse(R"({"system": "s", "messages": [{"role": "user", "content": "q"}]})");
  EXPECT_EQ(first(row).messages[0]["role"], "system");
  row["messages"].insert(row["messages"].begin(), Json{{"role", "system"}, {"content", "own"}});
  EXPECT_EQ(first(row).messages[0]["content"], "own");
}

TEST(Shapes, ShowTheRowThatDoesNotFit) {
  const Error none =
      error_of([] { shape_of(Json::parse(R"([{"question": "q", "answer": "a"}])")); });
  EXPECT_EQ(none.code().text(), "D030");
  EXPECT_EQ(none.where(), "here:1");
  EXPECT_NE(none.message().find("question, answer"), std::string::npos);

  const RowShape shape = shape_of(Json::parse(R"([{"text": "t"}])"));
  const Error missing = error_of([&] { shape.read(Json{{"texts", "t"}}, "a.jsonl:7"); });
  EXPECT_EQ(missing.code().text(), "D031");
  EXPECT_EQ(missing.where(), "a.jsonl:7");
  EXPECT_NE(missing.message().find(R"({"texts":"t"})"), std::string::npos);
  EXPECT_EQ(error_of([&] { shape.read(Json{{"text", 3}}, ""); }).code().text(), "D031");
}

TEST(Shapes, RefuseUnknownRolesAndBrokenMessages) {
  const auto code = [](const std::string& message) {
    return std::string(
        error_of([&] { first(Json{{"messages", Json::array({Json::parse(message)})}}); })
            .code()
            .text());
  };
  EXPECT_EQ(code(R"({"role": "narrator", "content": "x"})"), "D032");
  EXPECT_EQ(code(R"({"role": 3, "content": "x"})"), "D033");
  EXPECT_EQ(code(R"({"role": "user"})"), "D033");
  EXPECT_EQ(code(R"({"role": "user", "content": 3})"), "D033");
  EXPECT_EQ(code(R"({"from": "function_call"})"), "D033");
  const Json later = Json::parse(R"({"messages": [{"role": "user", "content": "x"}, "y"]})");
  EXPECT_EQ(error_of([&] { first(later); }).code().text(), "D033");
}

TEST(Shapes, PreviewIsShortAndWhole) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += "ä";
  }
  const std::string shown = preview(Json{{"text", text}});
  EXPECT_LT(shown.size(), 410U);
  EXPECT_NO_THROW(Json(shown).dump());
}

TEST(Shapes, TakesNamesThatTheUserGives) {
  DataOptions options;
  options.column_map = {"dialogue=messages"};
  options.role_map = {"Customer=user,agent=assistant"};
  options.message_role_key = "speaker";
  options.message_content_key = "says";
  const Json row = Json::parse(
      R"({"dialogue": [{"speaker": "customer", "says": "a"}, {"speaker": "agent", "says": "b"}]})");
  const RowShape shape(std::vector<Json>{row}, "here:1", ShapeOptions(options));
  EXPECT_EQ(
      shape.read(row, "here:1").messages,
      Json::parse(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])"));
  EXPECT_NE(shape.report().find("agent → assistant, customer → user"), std::string::npos);
  EXPECT_NE(shape.report().find("dialogue → messages"), std::string::npos);
  options.role_map = {"agent"};
  EXPECT_EQ(error_of([&] { ShapeOptions wrong(options); }).code().text(), "D037");
}

TEST(Shapes, ReadsTheSwitchOfEachMessage) {
  const Json row = Json::parse(R"({"messages": [{"role": "user", "content": "a"},
      {"role": "assistant", "content": "b", "weight": 0},
      {"role": "assistant", "content": "c", "train": true}], "system": "s"})");
  const RowShape shape = shape_of(Json::array({row}));
  EXPECT_TRUE(shape.has_switches());
  const ShapedRow read = shape.read(row, "here:1");
  EXPECT_EQ(read.trained_messages, (std::vector<bool>{false, true, false, true}));
  EXPECT_FALSE(read.messages[2].contains("weight"));
  Json half = row;
  half["messages"][1]["weight"] = 0.5;
  EXPECT_EQ(error_of([&] { shape.read(half, "here:1"); }).code().text(), "D035");
}

// Rows of every shape, the later ones with columns and switches that the first do not have.
const Json kMixed = Json::parse(R"([
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    {"messages": [{"role": "user", "content": "q"},
                  {"role": "assistant", "content": "a", "weight": 0}]},
    {"messages": [{"role": "user", "content": "q"}], "tools": [{"name": "f"}], "system": "s"},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"instruction": "i", "output": "o"},
    {"instruction": "i", "output": "o", "input": "x", "system": "s", "history": [["h", "r"]]},
    {"prompt": "p", "completion": "c"},
    {"prompt": [{"role": "user", "content": "q"}],
     "completion": [{"role": "assistant", "content": "a"}], "chat_template_kwargs": {"k": 1}},
    {"text": "t"},
    {"input_ids": [1, 2]},
    {"input_ids": [1, 2], "labels": [-100, 2]},
    {"input_ids": [1, 2], "completion_mask": [0, 1], "assistant_masks": [0, 1]}])");

Json facts_of(const ShapedRow& row) {
  return {static_cast<int>(row.kind),
          row.text,
          row.prompt,
          row.completion,
          row.messages,
          row.tools,
          row.prompt_messages,
          row.trained_messages,
          row.template_kwargs,
          row.input_ids,
          row.labels,
          row.completion_mask,
          row.assistant_mask};
}

TEST(Shapes, ARowMeansTheSameWhateverRowsComeBeforeIt) {
  for (const Json& row : kMixed) {
    const Json alone = facts_of(first(row));
    for (const Json& other : kMixed) {
      const RowShape shape = shape_of(Json::array({other}));
      EXPECT_EQ(facts_of(shape.read(row, "")), alone) << row << " behind " << other;
    }
  }
}

TEST(Shapes, EveryColumnThatSomeRowMayHaveIsRead) {
  const RowShape shape = shape_of(Json::array({kMixed[0]}));
  for (const Json& row : kMixed) {
    for (const auto& [column, value] : row.items()) {
      EXPECT_EQ(std::ranges::count(shape.used_columns(), column), 1) << column;
    }
  }
}

TEST(Shapes, TheReportNamesColumnsOfTheSchemaToo) {
  const std::vector<Json> rows = {kMixed[0]};
  const std::vector<std::string> columns = {"messages", "tools", "id"};
  const RowShape shape(rows, "", "text", columns);
  EXPECT_EQ(shape.report(), "conversations from the columns messages, tools; ignored: id");
}

TEST(Shapes, AColumnThatTheUserNamedIsNotReplacedByAnother) {
  const RowShape shape = shape_of(Json::parse(R"([{"body": "b", "text": "t"}])"), "body");
  EXPECT_EQ(error_of([&] { shape.read(Json{{"text", "t"}}, ""); }).code().text(), "D031");
  const RowShape chats = shape_of(Json::array({kMixed[0]}));
  EXPECT_EQ(error_of([&] { chats.read(Json{{"messages", 3}, {"text", "t"}}, ""); }).code().text(),
            "D031");
}

TEST(Shapes, AToolThatIsTextIsRefused) {
  Json row = kMixed[0];
  row["tools"] = Json::array({R"({"name": "f"})"});
  EXPECT_EQ(error_of([&] { first(row); }).code().text(), "D038");
  row["tools"] = R"(["f"])";
  EXPECT_EQ(error_of([&] { first(row); }).code().text(), "D038");
  row["tools"] = R"([{"name": "f"}])";
  EXPECT_EQ(first(row).tools, Json::parse(R"([{"name": "f"}])"));
}

TEST(Shapes, RefusesPictures) {
  const Json row = Json::parse(
      R"({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]})");
  EXPECT_EQ(error_of([&] { shape_of(Json::array({row})).read(row, "here:1"); }).code().text(),
            "D036");
}

}  // namespace
}  // namespace sft
