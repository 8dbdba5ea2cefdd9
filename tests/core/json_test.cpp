#include "core/json.h"

#include <gtest/gtest.h>

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
  return {"none", "nothing was thrown"};
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
  EXPECT_EQ(e.code(), "M010");
  EXPECT_EQ(e.where(), "config.json:3:8");
  EXPECT_NE(e.message().find("config.json"), std::string::npos);
  EXPECT_EQ(e.exit_code(), ExitCode::model);
}

TEST(Json, whatever_is_broken_is_our_error) {
  for (const char* text : {"", "{", "[1,", "{\"a\" 1}", "\"\xff\"", "\"\\ud800\"", "nul", "1 2",
                           "{\"a\": 1e999}", "[NaN]", "'x'"}) {
    EXPECT_EQ(error_of(text).code(), "M010") << text;
  }
  EXPECT_EQ(error_of(std::string(100000, '[')).code(), "M010");
}

// n arrays in one another.
std::string nested(int n) { return std::string(n, '[') + std::string(n, ']'); }

TEST(Json, nested_as_deep_as_allowed_and_no_deeper) {
  EXPECT_EQ(error_of(nested(kMaxJsonDepth)).code(), "none");
  const Error e = error_of(nested(kMaxJsonDepth + 1));
  EXPECT_EQ(e.code(), "M010");
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

TEST(Json, a_file_that_is_missing) { EXPECT_THROW(read_json("/nowhere/config.json"), Error); }

}  // namespace
}  // namespace sft
