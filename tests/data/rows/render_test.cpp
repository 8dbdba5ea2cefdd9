#include "data/rows/render.h"

#include <algorithm>

#include "data/dataset.h"
#include "data/model.h"
#include "data/support.h"

namespace sft {
namespace {

using test::Preparing;
using test::TemporaryFolder;

Json trained_positions(const Example& row) {
  Json out = Json::array();
  for (size_t i = 0; i < row.labels.size(); ++i) {
    if (row.labels[i] != kIgnored) {
      EXPECT_EQ(row.labels[i], row.input_ids[i]);
      out.push_back(i);
    }
  }
  return out;
}

TEST(Render, PreparesRowsAsTrl) {
  for (const Json& c : test::golden("render")) {
    const TemporaryFolder folder;
    const auto path = folder.write("train.json", c["rows"].dump());
    Preparing preparing(c["model"].get<std::string>());
    const Prepared data = preparing.prepare(test::options_of(c["args"], path), Part::train,
                                            c["args"].value("seed", uint64_t{42}));
    const std::string name = c["name"].get<std::string>();
    ASSERT_EQ(data.rows->size(), static_cast<int64_t>(c["prepared"].size())) << name;
    for (size_t i = 0; i < c["prepared"].size(); ++i) {
      const Example row = data.rows->example(static_cast<int64_t>(i));
      const Json& wanted = c["prepared"][i];
      EXPECT_EQ(row.input_ids, wanted[0].get<std::vector<int32_t>>()) << name << " row " << i;
      EXPECT_EQ(trained_positions(row), wanted[1]) << name << " row " << i;
      EXPECT_EQ(row.documents, wanted[2].get<std::vector<int32_t>>()) << name << " row " << i;
      EXPECT_EQ(data.rows->length(static_cast<int64_t>(i)),
                static_cast<int64_t>(row.input_ids.size()));
    }
  }
}

// Prepares the rows with the tiny chatml tokenizer and gives the error.
Error refused(const Json& rows, DataOptions options = {}, bool with_template = true) {
  const TemporaryFolder folder;
  options.dataset_name = folder.write("train.json", rows.dump()).string();
  Preparing preparing;
  preparing.with_template = with_template;
  return error_of([&] { preparing.prepare(options); });
}

const Json kChat = Json::parse(R"([{"messages": [{"role": "user", "content": "question here"},
    {"role": "assistant", "content": "answer there"}]}])");

TEST(Render, RefusesConversationsWithoutATemplate) {
  EXPECT_EQ(refused(kChat, {}, false).code().text(), "D040");
}

TEST(Render, RefusesAssistantOnlyLossOfText) {
  DataOptions options;
  options.assistant_only_loss = true;
  EXPECT_EQ(refused(Json::parse(R"([{"text": "x"}])"), options).code().text(), "D041");
}

TEST(Render, RefusesAnEosThatIsNoToken) {
  DataOptions options;
  options.eos_token = "<nope>";
  EXPECT_EQ(refused(kChat, options).code().text(), "D046");
}

TEST(Render, RefusesForeignTokens) {
  EXPECT_EQ(refused(Json::parse(R"([{"input_ids": [1, 1000000]}])")).code().text(), "D047");
  EXPECT_EQ(refused(Json::parse(R"([{"input_ids": [1, -5]}])")).code().text(), "D047");
  EXPECT_EQ(refused(Json::parse(R"([{"input_ids": [1, 2], "labels": [-100, -7]}])")).code().text(),
            "D047");
}

TEST(Render, ShowsTheRowThatTheTemplateLoses) {
  const std::string only_system =
      "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}";
  const Json row = Json::parse(R"({"messages": [{"role": "system", "content": "s"},
      {"role": "user", "content": "question here"}, {"role": "assistant", "content": "answer"}]})");
  const RowShape shape(std::vector<Json>{row}, "", "text");
  const test::Model model = test::golden_model("chatml");
  const ChatTemplate loses(only_system);
  const Renderer renderer(shape, {}, model.tokenizer, &loses);
  Tokenizer::Scratch scratch(model.tokenizer);
  const Error e = error_of([&] { renderer.render(row, "a.jsonl:9", scratch); });
  EXPECT_EQ(e.code().text(), "D044");
  EXPECT_EQ(e.where(), "a.jsonl:9");
  EXPECT_NE(e.message().find("question here"), std::string::npos);
}

TEST(Render, PlacesTheTemplatesOwnRefusal) {
  const Json row = kChat[0];
  const RowShape shape(std::vector<Json>{row}, "", "text");
  const test::Model model = test::golden_model("chatml");
  const ChatTemplate refuses("{{ raise_exception('no system prompt') }}");
  const Renderer renderer(shape, {}, model.tokenizer, &refuses);
  Tokenizer::Scratch scratch(model.tokenizer);
  const Error e = error_of([&] { renderer.render(row, "a.jsonl:9", scratch); });
  EXPECT_EQ(e.code().text(), "D055");
  EXPECT_EQ(e.where(), "a.jsonl:9");
  EXPECT_NE(e.message().find("no system prompt"), std::string::npos);
}

TEST(Render, FindsAssistantTurnsWithoutMarks) {
  const std::string plain =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
  const Json row = Json::parse(R"({"messages": [{"role": "user", "content": "a b"},
      {"role": "assistant", "content": "c d"}, {"role": "user", "content": "e"},
      {"role": "assistant", "content": "f"}]})");
  const RowShape shape(std::vector<Json>{row}, "", "text");
  const test::Model model = test::golden_model("chatml");
  const ChatTemplate unmarked(plain);
  DataOptions options;
  options.assistant_only_loss = true;
  const Renderer renderer(shape, options, model.tokenizer, &unmarked);
  Tokenizer::Scratch scratch(model.tokenizer);
  const Example out = renderer.render(row, "", scratch).example;
  std::vector<int32_t> trained;
  std::ranges::copy_if(out.labels, std::back_inserter(trained),
                       [](int32_t l) { return l != kIgnored; });
  const std::string text = model.tokenizer.decode(trained, false);
  EXPECT_NE(text.find("c d<|im_end|>"), std::string::npos) << text;
  EXPECT_NE(text.find("f<|im_end|>"), std::string::npos) << text;
  EXPECT_EQ(text.find("a b"), std::string::npos) << text;
  EXPECT_EQ(text.find("user"), std::string::npos) << text;
}

TEST(Render, AddsTheEndOfTextToAnyTextColumn) {
  Preparing preparing;
  const TemporaryFolder folder;
  DataOptions options;
  options.dataset_name =
      folder.write("train.jsonl", "{\"text\": \"a\", \"body\": \"a b\"}\n").string();
  const auto end = *preparing.model.tokenizer.eos_id();
  for (const char* column : {"text", "body"}) {
    options.dataset_text_field = column;
    EXPECT_EQ(preparing.prepare(options).rows->example(0).input_ids.back(), end) << column;
  }
}

// TRL counts a completion_mask where the completion is asked for, or where the row has the columns
// prompt and completion itself.
TEST(Render, ACompletionMaskAloneMasksNothing) {
  Preparing preparing;
  const TemporaryFolder folder;
  const auto labels = [&](const std::string& more, std::optional<bool> completion_only) {
    DataOptions options;
    options.dataset_name =
        folder
            .write("train.jsonl",
                   R"({"input_ids": [5, 6, 7], "completion_mask": [0, 1, 1])" + more + "}\n")
            .string();
    options.completion_only_loss = completion_only;
    const Prepared data = preparing.prepare(options);
    const std::vector<int32_t> given = data.rows->example(0).labels;
    EXPECT_EQ(data.statistics.rows_with_mask_ignored, given[0] == kIgnored ? 0 : 1);
    return given;
  };
  const std::vector<int32_t> all = {5, 6, 7};
  const std::vector<int32_t> completion = {kIgnored, 6, 7};
  const std::string columns = R"(, "prompt": "a", "completion": "b")";
  EXPECT_EQ(labels("", std::nullopt), all);
  EXPECT_EQ(labels("", false), all);
  EXPECT_EQ(labels("", true), completion);
  EXPECT_EQ(labels(columns, std::nullopt), completion);
  EXPECT_EQ(labels(columns, false), all);
}

TEST(Render, LeavesOutASecondBos) {
  Preparing preparing("windowed");
  const auto bos = preparing.model.tokenizer.bos_id();
  ASSERT_TRUE(bos.has_value());
  const TemporaryFolder folder;
  const std::string text = preparing.model.tokenizer.bos_token() + "the fox";
  DataOptions options;
  options.dataset_name =
      folder.write("train.json", Json::array({Json{{"text", text}}}).dump()).string();
  const Prepared data = preparing.prepare(options);
  const auto ids = data.rows->example(0).input_ids;
  EXPECT_EQ(std::ranges::count(ids, *bos), 1);
  EXPECT_EQ(data.statistics.rows_with_second_bos, 1);
}

}  // namespace
}  // namespace sft
