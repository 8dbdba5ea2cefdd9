#include "io/token_donor.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "text/added_token_list.h"
#include "text/tokenizer.h"

namespace sft {
namespace {

const fs::path kModels = fs::path(SFT_TEST_DIR) / "golden/models";

TokenDonor donor(const std::string& name) {
  return {name, read_text(kModels / name / "tokenizer.json"),
          read_json(kModels / name / "tokenizer_config.json")};
}

Tokenizer tokenizer_of(const ModelSource& source) {
  return Tokenizer::from_text(*source.file_text("tokenizer.json"),
                              parse_json(*source.file_text("tokenizer_config.json"), ""), "");
}

// smol has 900 tokens and embeddings for 928; q2gqa's added tokens are among them.
TEST(TokenDonor, VocabularyGrowsToAMultipleOf64WithMeanRows) {
  const auto before = ModelSource::open((kModels / "smol").string(), "", {});
  const DonatedModel out =
      with_tokens_of(ModelSource::open((kModels / "smol").string(), "", {}), donor("q2gqa"));
  EXPECT_EQ(out.tokens, 0);
  EXPECT_EQ(out.eos, "<|im_end|>");
  EXPECT_EQ(out.vocab_before, 928);
  EXPECT_EQ(out.vocab_after, 960);
  EXPECT_EQ(out.source->config()["vocab_size"], 960);
  const std::string name = "model.embed_tokens.weight";
  const Shape shape = out.source->shape(name);
  ASSERT_EQ(shape, (Shape{960, 48}));
  std::vector<float> own(928 * 48);
  std::vector<float> grown(960 * 48);
  before->read_f32(name, own.data());
  out.source->read_f32(name, grown.data());
  EXPECT_TRUE(std::equal(own.begin(), own.end(), grown.begin()));
  for (size_t i = 0; i < 48; ++i) {
    double mean = 0.0;
    for (size_t row = 0; row < 928; ++row) {
      mean += own[row * 48 + i] / 928.0;
    }
    EXPECT_NEAR(grown[959 * 48 + i], mean, 1e-7);
  }
  // Any part of the tensor is the same part of the whole.
  std::vector<float> part(100);
  out.source->read_f32(name, {928 * 48 - 50, 928 * 48 + 50}, part.data());
  EXPECT_TRUE(std::equal(part.begin(), part.end(), grown.begin() + 928 * 48 - 50));
  const Tokenizer tokenizer = tokenizer_of(*out.source);
  EXPECT_EQ(tokenizer.vocab_size(), 960);
  EXPECT_EQ(tokenizer.id_of("<extra_id_0>"), 900);
  EXPECT_EQ(tokenizer.id_of("<extra_id_59>"), 959);
  EXPECT_EQ(tokenizer.encode("<|im_start|>a", false)[0], 1);
}

TEST(TokenDonor, MissingTokensAndTheEosComeAlong) {
  TokenDonor other = donor("q2gqa");
  other.tokenizer_json =
      with_added_tokens(other.tokenizer_json,
                        Json::array({{{"id", 1103}, {"content", "<|turn|>"}, {"special", true}},
                                     {{"id", 1104}, {"content", "<|stop|>"}, {"special", true}}}),
                        "");
  other.tokenizer_config["eos_token"] = "<|stop|>";
  const DonatedModel out =
      with_tokens_of(ModelSource::open((kModels / "smol").string(), "", {}), other);
  EXPECT_EQ(out.tokens, 2);
  EXPECT_EQ(out.eos, "<|stop|>");
  const Tokenizer tokenizer = tokenizer_of(*out.source);
  EXPECT_EQ(tokenizer.id_of("<|turn|>"), 900);
  EXPECT_EQ(tokenizer.eos_id(), 901);
  EXPECT_TRUE(tokenizer.is_special(901));
  EXPECT_EQ(tokenizer.id_of("<extra_id_0>"), 902);
  EXPECT_EQ(out.source->config()["eos_token_id"], 901);
  EXPECT_EQ((*out.source->generation_config())["eos_token_id"], 901);
}

// A vocabulary with more rows than tokens and a multiple of 64 shrinks, as in TRL.
TEST(TokenDonor, VocabularyShrinksToTheMultiple) {
  const DonatedModel out =
      with_tokens_of(ModelSource::open((kModels / "tail").string(), "", {}), donor("smol"));
  EXPECT_EQ(out.vocab_before, 49152);
  EXPECT_EQ(out.vocab_after, 960);
  EXPECT_EQ(out.source->shape("model.embed_tokens.weight")[0], 960);
}

}  // namespace
}  // namespace sft
