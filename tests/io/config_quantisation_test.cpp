// What a config.json alone says of how weights are kept.
#include "io/config_quantisation.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace sft {
namespace {

ConfigQuantisation read(const char* quantisation) {
  Json config = Json::object();
  config["quantization_config"] = Json::parse(quantisation);
  return {config, "some/model", "config.json"};
}

constexpr const char* kLayer = "model.layers.3.self_attn.q_proj.weight";
constexpr const char* kExperts = "model.layers.3.mlp.experts.gate_up_proj";

TEST(ConfigQuantisation, says_nothing_where_there_is_none) {
  const ConfigQuantisation none(Json{{"quantization_config", nullptr}}, "some/model", "");
  EXPECT_EQ(none.words(), "");
  EXPECT_EQ(none.type_of(kLayer), std::nullopt);
  EXPECT_EQ(none.bnb(), nullptr);
}

TEST(ConfigQuantisation, of_mxfp4_means_the_matrices_of_experts) {
  const auto q = read(R"({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})");
  EXPECT_EQ(q.words(), "MXFP4");
  EXPECT_EQ(q.type_of(kExperts), DType::mxfp4);
  EXPECT_EQ(q.type_of("model.layers.3.mlp.experts.down_proj_bias"), std::nullopt);
  EXPECT_EQ(q.type_of(kLayer), std::nullopt);
  const auto skips =
      read(R"({"quant_method": "mxfp4", "modules_to_not_convert": ["mlp.experts"]})");
  EXPECT_EQ(skips.type_of(kExperts), std::nullopt);
}

TEST(ConfigQuantisation, of_float8_and_of_bitsandbytes_means_layers) {
  const auto tiles = read(R"({"quant_method": "fp8", "weight_block_size": [128, 128]})");
  EXPECT_EQ(tiles.type_of(kLayer), DType::f8_blocks);
  EXPECT_EQ(tiles.type_of("lm_head.weight"), std::nullopt);
  const auto rows = read(R"({"quant_method": "fp8", "weight_block_size": null})");
  EXPECT_EQ(rows.type_of(kLayer), DType::f8_rows);
  const auto bnb = read(R"({"quant_method": "bitsandbytes", "load_in_8bit": true})");
  ASSERT_NE(bnb.bnb(), nullptr);
  EXPECT_EQ(bnb.type_of(kLayer), DType::i8_rows);
}

TEST(ConfigQuantisation, names_a_method_that_is_not_read) {
  try {
    read(R"({"quant_method": "gptq"})");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code().text(), "M243");
    EXPECT_NE(std::string(error.what()).find("gptq"), std::string::npos);
  }
}

}  // namespace
}  // namespace sft
