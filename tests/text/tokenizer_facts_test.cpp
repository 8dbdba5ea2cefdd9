// What the files beside tokenizer.json change, against transformers:
// tools/golden/tokenizer_facts.py.
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "support/paths.h"
#include "text/special_tokens.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

Tokenizer tokenizer_of(const Json& c) {
  const auto path = std::filesystem::path(SFT_TEST_DIR) / "golden" / "models" /
                    c["model"].get<std::string>() / "tokenizer.json";
  return Tokenizer::from_text(read_text(path), whole_tokenizer_config([&](const std::string& file) {
                                const Json& given = c["files"].at(file);
                                return given.is_null() ? std::nullopt
                                                       : std::optional(to_text(given));
                              }),
                              "tokenizer.json");
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

TEST(TokenizerFacts, TokensAreThoseOfTransformersWhicheverFileSaysIt) {
  const Json golden =
      read_json(std::filesystem::path(SFT_TEST_DIR) / "text" / "golden" / "tokenizer_facts.json");
  ASSERT_GT(golden["cases"].size(), 50U);
  for (const Json& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const Tokenizer tokenizer = tokenizer_of(c);
    EXPECT_EQ(text_or_null(tokenizer.bos_token()), c["bos_token"]);
    EXPECT_EQ(text_or_null(tokenizer.eos_token()), c["eos_token"]);
    EXPECT_EQ(text_or_null(tokenizer.pad_token()), c["pad_token"]);
    EXPECT_EQ(text_or_null(tokenizer.unk_token()), c["unk_token"]);
    EXPECT_EQ(tokenizer.vocab_size(), c["size"].get<int>());
    for (size_t i = 0; i < golden["texts"].size(); ++i) {
      const std::string text = golden["texts"][i].get<std::string>();
      const auto ids = tokenizer.encode(text, true);
      EXPECT_EQ(Json(ids), c["with"][i]) << text;
      EXPECT_EQ(Json(tokenizer.encode(text, false)), c["without"][i]) << text;
      EXPECT_EQ(tokenizer.decode(ids, true), c["decoded"][i].get<std::string>()) << text;
    }
  }
}

TEST(TokenizerFacts, AMalformedFileIsNamed) {
  const auto code = [](const Json& config, const Json& added = {}) -> std::string {
    try {
      tokenizer_of({{"model", "chatml"},
                    {"files",
                     {{"tokenizer_config.json", config},
                      {"special_tokens_map.json", nullptr},
                      {"added_tokens.json", added}}}});
      return "";
    } catch (const Error& e) {
      return std::string(e.code().text());
    }
  };
  EXPECT_EQ(code(Json::array({1})), "M110");
  EXPECT_EQ(code({{"added_tokens_decoder", {{"x", {{"content", "<a>"}}}}}}), "M110");
  EXPECT_EQ(code({{"added_tokens_decoder", {{"7", {{"special", true}}}}}}), "M110");
  EXPECT_EQ(code({{"extra_special_tokens", {"<a>", 3}}}), "M110");
  EXPECT_EQ(code(Json::object(), {{"<a>", "seven"}}), "M110");
}

}  // namespace
}  // namespace sft
