#include "core/json.h"

#include <gtest/gtest.h>

#include "core/error.h"

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

TEST(Json, a_file_that_is_missing) { EXPECT_THROW(read_json("/nowhere/config.json"), Error); }

}  // namespace
}  // namespace sft
