#include "io/json_edit.h"

#include "io/support.h"

namespace sft {
namespace {

const char* const kPretty = R"({
  "architectures": [
    "LlamaForCausalLM"
  ],
  "eps": 1e-06,
  "model_max_length": 1000000000000000019884624838656,
  "text": "a \"quoted\" } ] , \\",
  "zeta": {"b": [1, {"c": "}"}], "a": null}
}
)";

std::string after(std::string text, const std::string& key, const Json& value) {
  JsonEditor editor(std::move(text), "x.json");
  editor.set(key, value);
  EXPECT_EQ(nlohmann::json::parse(editor.text()), nlohmann::json::parse(editor.json().dump()))
      << editor.text();
  return editor.text();
}

std::string without(std::string text, const std::string& key) {
  JsonEditor editor(std::move(text), "x.json");
  editor.erase(key);
  EXPECT_EQ(nlohmann::json::parse(editor.text()), nlohmann::json::parse(editor.json().dump()))
      << editor.text();
  return editor.text();
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(JsonEditor, ReplacesOnlyTheValue) {
  EXPECT_EQ(after(kPretty, "eps", 2), replaced(kPretty, "1e-06", "2"));
  EXPECT_EQ(after(kPretty, "zeta", 3),
            replaced(kPretty, R"({"b": [1, {"c": "}"}], "a": null})", "3"));
  EXPECT_EQ(after(kPretty, "architectures", Json::array({"A", "B"})),
            replaced(kPretty, "[\n    \"LlamaForCausalLM\"\n  ]", "[\n    \"A\",\n    \"B\"\n  ]"));
}

TEST(JsonEditor, AnEqualValueChangesNothing) {
  JsonEditor editor(kPretty, "x.json");
  editor.set("eps", 1e-6);
  editor.set("architectures", Json::array({"LlamaForCausalLM"}));
  editor.erase("absent");
  EXPECT_EQ(editor.text(), kPretty);
  EXPECT_TRUE(editor.changed().empty());
  editor.set("eps", 1);
  editor.set("eps", 2);
  EXPECT_EQ(editor.changed(), std::vector<std::string>{"eps"});
}

TEST(JsonEditor, ANewKeyGoesWhereTheAlphabetWantsIt) {
  EXPECT_EQ(after(kPretty, "dtype", "float32"),
            replaced(kPretty, "\"eps\"", "\"dtype\": \"float32\",\n  \"eps\""));
  EXPECT_EQ(after(kPretty, "a", true), replaced(kPretty, "\"arch", "\"a\": true,\n  \"arch"));
  EXPECT_EQ(after(kPretty, "zz", 1), replaced(kPretty, "null}\n", "null},\n  \"zz\": 1\n"));
  EXPECT_EQ(after("{\n  \"b\": 1,\n  \"a\": 2\n}", "aa", 3),
            "{\n  \"b\": 1,\n  \"a\": 2,\n  \"aa\": 3\n}");  // not sorted: to the end
}

TEST(JsonEditor, KeepsTheStyleOfCompactAndTabbedFiles) {
  EXPECT_EQ(after(R"({"a":1,"c":2})", "b", 3), R"({"a":1,"b":3,"c":2})");
  EXPECT_EQ(after(R"({"a": 1, "c": 2})", "d", Json::array({1, 2})),
            R"({"a": 1, "c": 2, "d": [1,2]})");
  EXPECT_EQ(after("{\n\t\"a\": 1\n}", "b", Json{{"c", 1}}),
            "{\n\t\"a\": 1,\n\t\"b\": {\n\t\t\"c\": 1\n\t}\n}");
  EXPECT_EQ(after("{}", "a", 1), "{\n  \"a\": 1\n}");
  EXPECT_EQ(after(" { \n } \n", "a", 1), " {\n  \"a\": 1\n} \n");
  EXPECT_EQ(after("{\n    \"a\": 1\n}", "b", Json{{"c", 1}}),
            "{\n    \"a\": 1,\n    \"b\": {\n        \"c\": 1\n    }\n}");
}

TEST(JsonEditor, ErasesWithItsComma) {
  EXPECT_EQ(without("{\n  \"a\": 1,\n  \"b\": 2\n}", "a"), "{\n  \"b\": 2\n}");
  EXPECT_EQ(without("{\n  \"a\": 1,\n  \"b\": 2\n}", "b"), "{\n  \"a\": 1\n}");
  EXPECT_EQ(without(R"({"a":1})", "a"), "{}");
}

TEST(JsonEditor, ADoubledKeyIsEditedWhereItCounts) {
  EXPECT_EQ(after(R"({"a":1,"a":2})", "a", 3), R"({"a":1,"a":3})");
  EXPECT_EQ(without(R"({"a":1,"b":0,"a":2})", "a"), R"({"b":0})");
}

TEST(JsonEditor, EscapedKeysAreKeys) {
  EXPECT_EQ(after(R"({"\u0061\"":1})", "a\"", 2), R"({"\u0061\"":2})");
  EXPECT_EQ(after("{}", "q\"\n", "ü\n"), "{\n  \"q\\\"\\n\": \"ü\\n\"\n}");
}

TEST(JsonEditor, RefusesWhatIsNotAnObject) {
  EXPECT_EQ(code_of([] { JsonEditor("[1]", "x.json"); }), "M248");
  EXPECT_EQ(code_of([] { JsonEditor("{", "x.json"); }), "M010");
}

}  // namespace
}  // namespace sft
