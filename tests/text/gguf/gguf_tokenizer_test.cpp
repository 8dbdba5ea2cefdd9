#include "core/json.h"
#include "support/paths.h"
#include "text/gguf/tokenizer.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

// What a GGUF file would say of a tokenizer.json: vocabulary, types and merges as lists.
GgufVocabulary to_gguf(const Json& tokenizer, const std::string& pre) {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  const Json& vocab = tokenizer["model"]["vocab"];
  v.tokens.resize(vocab.size());
  v.token_types.assign(vocab.size(), 1);
  for (const auto& [text, id] : vocab.items()) {
    v.tokens[id.get<size_t>()] = text;
  }
  for (const Json& token : tokenizer["added_tokens"]) {
    const auto id = token["id"].get<size_t>();
    v.tokens.resize(std::max(v.tokens.size(), id + 1));
    v.token_types.resize(v.tokens.size());
    v.tokens[id] = token["content"];
    v.token_types[id] = token["special"] ? 3 : 4;
  }
  for (const Json& merge : tokenizer["model"]["merges"]) {
    v.merges.push_back(merge.is_string()
                           ? merge.get<std::string>()
                           : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return v;
}

std::string code_of(const GgufVocabulary& v) {
  try {
    tokenizer_json_from_gguf(v);
  } catch (const Error& e) {
    return std::string(e.code().text());
  }
  return "";
}

TEST(GgufTokenizer, EncodesAsTheTokenizerItCameFrom) {
  for (const auto& [kind, pre] :
       {std::pair{"smollm", "smollm"}, std::pair{"qwen", "qwen2"}, std::pair{"tekken", "tekken"}}) {
    const Json file = read_json(fs::path(SFT_TEST_DIR) / "text/golden" /
                                (std::string("tokenizer_") + kind + ".json"));
    GgufVocabulary v = to_gguf(file["tokenizer"], pre);
    v.add_bos = false;
    const Tokenizer tokenizer =
        Tokenizer::from_json(tokenizer_json_from_gguf(v), tokenizer_config_from_gguf(v), kind);
    for (const Json& one : file["cases"]) {
      EXPECT_EQ(tokenizer.encode(one[0].get<std::string>(), true),
                one[1].get<std::vector<int32_t>>())
          << kind << " " << one[0].dump();
    }
  }
}

TEST(GgufTokenizer, KeepsTheSpecialTokensAndTheTemplate) {
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = "llama-bpe";
  v.tokens = {"<|bos|>", "<|eot|>", "a", "[PAD3]"};
  v.token_types = {3, 3, 1, 5};
  v.bos_id = 0;
  v.eos_id = 1;
  v.chat_template = "{{ messages }}";
  v.context_length = 4096;
  const Json config = tokenizer_config_from_gguf(v);
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json_from_gguf(v), config, "x.gguf");
  EXPECT_EQ(tokenizer.encode("aa<|eot|>", true), std::vector<int32_t>({0, 2, 2, 1}));
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.eos_token(), "<|eot|>");
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.model_max_length(), 4096);
  EXPECT_FALSE(tokenizer.id_of("[PAD3]"));
  EXPECT_EQ(config["chat_template"], "{{ messages }}");
}

TEST(GgufTokenizer, MakesMergesFromScores) {
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = {"<unk>",
              "<s>",
              "</s>",
              "\xE2\x96\x81",
              "a",
              "b",
              "ab",
              "\xE2\x96\x81"
              "a",
              "\xE2\x96\x81"
              "ab"};
  v.token_types = {2, 3, 3, 1, 1, 1, 1, 1, 1};
  v.scores = {0, 0, 0, -9, -8, -7, -1, -2, -3};
  v.unk_id = 0;
  v.bos_id = 1;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr const char* hex = "0123456789ABCDEF";
    v.tokens.push_back(std::string("<0x") + hex[byte / 16] + hex[byte % 16] + ">");
    v.token_types.push_back(6);
    v.scores.push_back(0);
  }
  const Tokenizer tokenizer =
      Tokenizer::from_json(tokenizer_json_from_gguf(v), tokenizer_config_from_gguf(v), "x");
  const auto ids = tokenizer.encode("ab a\n", true);
  // ▁ab, ▁a, and the byte 0x0A: "ab" has the best score and goes first.
  EXPECT_EQ(ids, std::vector<int32_t>({1, 8, 7, 9 + 10}));
  EXPECT_EQ(tokenizer.decode(ids, true), "ab a\n");
}

TEST(GgufTokenizer, RefusesWhatDoesNotFit) {
  GgufVocabulary good;
  good.model = "gpt2";
  good.pre = "gpt-2";
  good.tokens = {"a", "b", "ab"};
  good.merges = {"a b"};
  EXPECT_EQ(code_of(good), "");
  const auto changed = [&](auto change) {
    GgufVocabulary v = good;
    change(v);
    return code_of(v);
  };
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.model = "bert"; }), "M112");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.pre = "unheard-of"; }), "M112");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.tokens.clear(); }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.token_types = {1}; }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.merges = {"ab"}; }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.eos_id = 3; }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.bos_id = -1; }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.tokens[0] = "\xFF"; }), "M113");
  EXPECT_EQ(changed([](GgufVocabulary& v) { v.model = "llama"; }), "M113");
}

}  // namespace
}  // namespace sft
