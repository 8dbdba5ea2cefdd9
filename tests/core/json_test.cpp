#include "core/json.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/error.h"
#include "core/json_text.h"

namespace sft {
namespace {

Error error_of(const std::string& text) {
  try {
    parse_json(text, "config.json");
  } catch (const Error& e) {
    return e;
  }
  return {"X000", "nothing was thrown"};
}

TEST(Json, keeps_the_order_of_keys) {
  EXPECT_EQ(parse_json(R"({"z": 1, "a": 2, "m": {"y": 0, "b": 0}})", "x").dump(),
            R"({"z":1,"a":2,"m":{"y":0,"b":0}})");
}

TEST(Json, bytes_that_are_not_utf8_are_written_all_the_same) {
  EXPECT_EQ(to_text({{"run",
                      "a\xff"
                      "b"}}),
            "{\"run\":\"a\xEF\xBF\xBD"
            "b\"}");
  EXPECT_EQ(to_text({{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(Json, an_error_names_the_file_and_line) {
  const Error e = error_of("{\n  \"a\": 1,\n  \"b\": }\n");
  EXPECT_EQ(e.code().text(), "M010");
  EXPECT_EQ(e.where(), "config.json:3:8");
  EXPECT_NE(e.message().find("config.json"), std::string::npos);
  EXPECT_EQ(e.exit_code(), ExitCode::model);
}

TEST(Json, whatever_is_broken_is_our_error) {
  for (const char* text : {"", "{", "[1,", "{\"a\" 1}", "\"\xff\"", "\"\\ud800\"", "nul", "1 2",
                           "{\"a\": 1e999}", "[NaN]", "'x'"}) {
    EXPECT_EQ(error_of(text).code().text(), "M010") << text;
  }
  EXPECT_EQ(error_of(std::string(100000, '[')).code().text(), "M010");
}

// n arrays in one another.
std::string nested(int n) { return std::string(n, '[') + std::string(n, ']'); }

TEST(Json, nested_as_deep_as_allowed_and_no_deeper) {
  EXPECT_EQ(error_of(nested(kMaxJsonDepth)).code().text(), "X000");
  const Error e = error_of(nested(kMaxJsonDepth + 1));
  EXPECT_EQ(e.code().text(), "M010");
  EXPECT_NE(e.message().find("nested more than 1000 deep"), std::string::npos) << e.message();
  EXPECT_FALSE(json_of(nested(kMaxJsonDepth)).is_discarded());
  EXPECT_TRUE(json_of(nested(kMaxJsonDepth + 1)).is_discarded());
  EXPECT_TRUE(json_of("[1").is_discarded());
}

TEST(Json, brackets_in_text_are_not_depth) {
  const std::string brackets(3000, '[');
  EXPECT_FALSE(too_deep("{\"" + brackets + "\": \"\\\"" + brackets + "\"}"));
  EXPECT_TRUE(too_deep("[\"\\\\\"," + brackets));
  std::string beside = "[";
  for (int i = 0; i < 3000; ++i) {
    beside += "[{}],";
  }
  EXPECT_FALSE(too_deep(beside));
  EXPECT_FALSE(too_deep("\"ends within"));
  EXPECT_FALSE(too_deep("\"ends within\\"));
}

TEST(Json, many_keys_are_read_in_linear_time_and_the_last_of_a_name_counts) {
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) {
    text += (i == 0 ? "\"" : ",\"") + std::string("model.layers.") + std::to_string(i % 199999) +
            "\": " + std::to_string(i);
  }
  text += "}";
  const auto begun = std::chrono::steady_clock::now();
  const Json json = parse_json(text, "many.json");
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  ASSERT_EQ(json.size(), 199999u);
  EXPECT_EQ(json.begin().key(), "model.layers.0");
  EXPECT_EQ(json.begin().value(), 199999);
}

TEST(Json, linear_reading_gives_what_the_library_gives) {
  std::string wide = "{";
  for (int i = 0; i < 100; ++i) {
    wide += "\"k" + std::to_string(i % 70) + "\": {\"a\": [" + std::to_string(i) + ", {}]},";
  }
  wide += "\"end\": null}";
  for (const std::string& text :
       {std::string("1"), std::string("\"a\""), std::string("[]"), std::string("{}"),
        std::string("[1,-2,3.5,true,null,\"x\",[[]],{\"a\":{\"a\":1,\"a\":2}}]"), wide}) {
    EXPECT_EQ(parse_linear(text).dump(), Json::parse(text).dump()) << text;
  }
}

TEST(Json, a_file_that_is_missing) { EXPECT_THROW(read_json("/nowhere/config.json"), Error); }

}  // namespace
}  // namespace sft
