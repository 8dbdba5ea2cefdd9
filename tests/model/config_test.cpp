// Numbers of config.json that no model has: each is refused by name before anything is made of it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "core/error.h"
#include "core/json.h"
#include "model/model.h"
#include "support/paths.h"

namespace sft {
namespace {

Json config_of(const std::string& family) {
  return read_json(fmt::format("{}/model/golden/{}/config.json", SFT_TEST_DIR, family));
}

// The error's code, or "taken".
std::string code_of(const Json& config, const std::string& named) {
  try {
    Model::from_config(config);
    return "taken";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find(named), std::string::npos) << error.message();
    return std::string(error.code().text());
  }
}

std::vector<std::string> families() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SFT_TEST_DIR "/model/golden")) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST(Config, EveryNumberHasARangeAndAType) {
  const std::vector<std::string> wrong = {
      "3.9",  "-1",    "-9223372036854775808", "4294967297", "9223372036854775807",
      "1e18", "1e300", "18446744073709551615", "\"8\"",      "true",
      "[]",   "{}"};
  for (const std::string& family : families()) {
    const Json sound = config_of(family);
    for (const char* field :
         {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
          "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
      for (const std::string& value : wrong) {
        Json config = sound;
        config[field] = Json::parse(value);
        EXPECT_EQ(code_of(config, field), "M034") << family << ' ' << field << ' ' << value;
      }
    }
    const char* const eps = sound.contains("norm_eps") ? "norm_eps" : "rms_norm_eps";
    for (const char* field : {eps, "attention_dropout", "initializer_range"}) {
      for (const char* value : {"-1", "1e300", "9223372036854775807", "\"x\"", "true", "[]"}) {
        Json config = sound;
        config[field] = Json::parse(value);
        EXPECT_EQ(code_of(config, field), "M034") << family << ' ' << field << ' ' << value;
      }
    }
  }
}

TEST(Config, RopeParametersAreAnObjectOfNumbersInTheirRanges) {
  Json sound = config_of("llama3");
  sound.erase("rope_scaling");
  for (const char* value : {"\"default\"", "[]", "3", "true"}) {
    for (const char* field : {"rope_parameters", "rope_scaling"}) {
      Json config = sound;
      config.erase("rope_parameters");
      config[field] = Json::parse(value);
      EXPECT_EQ(code_of(config, "rope"), "M034") << field << ' ' << value;
    }
  }
  for (const char* field : {"factor", "low_freq_factor", "high_freq_factor",
                            "original_max_position_embeddings", "rope_theta"}) {
    for (const char* value : {"0", "-1", "1e300", "\"8\"", "null"}) {
      Json rope = {{"rope_type", "llama3"},   {"rope_theta", 500000.0},
                   {"factor", 8.0},           {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
      rope[field] = Json::parse(value);
      Json config = sound;
      config["rope_parameters"] = rope;
      if (std::string(field) == "rope_theta" && std::string(value) == "null") {
        continue;  // there is a default
      }
      EXPECT_EQ(code_of(config, field), "M034") << field << ' ' << value;
    }
  }
}

TEST(Config, WhatIsNotComputedIsRefusedByName) {
  struct Case {
    const char *family, *field;
    Json value;
    const char* code;
    const char* named = nullptr;  // in the message; null: the field
  };
  for (const Case& c :
       std::vector<Case>{{"seed_oss", "residual_dropout", 1.0, "M034"},
                         {"glm4", "attention_dropout", -0.1, "M034"},
                         {"llama3", "hidden_act", "relu", "M033", "activation"},
                         {"gemma3", "use_bidirectional_attention", true, "M033"},
                         {"gemma2", "use_bidirectional_attention", true, "M033"},
                         {"cohere2", "layer_types",
                          Json::array({"chunked_attention", "full_attention", "full_attention"}),
                          "M033", "chunked"},
                         {"llama3", "partial_rotary_factor", 0.5, "M032"},
                         {"glm4", "partial_rotary_factor", 0.01, "M034"},
                         {"smollm3", "no_rope_layers", {1, 0}, "M034"},
                         {"smollm3", "no_rope_layers", {1, 0, 2, 1}, "M034"},
                         {"ministral3",
                          "rope_parameters",
                          {{"rope_type", "yarn"}, {"factor", 4.0}},
                          "M034",
                          "llama_4_scaling_beta"}}) {
    SCOPED_TRACE(c.family);
    Json config = config_of(c.family);
    if (std::string_view(c.field) == "partial_rotary_factor") {
      config.erase("rope_parameters");
    }
    config[c.field] = c.value;
    EXPECT_EQ(code_of(config, c.named == nullptr ? c.field : c.named), c.code);
  }
  Json config = config_of("llama3");
  config["rope_parameters"]["rope_type"] = "spiral";
  EXPECT_EQ(code_of(config, "spiral"), "M032");
  config = config_of("llama_longrope");
  config["rope_parameters"]["long_factor"] = {1.0, 2.0};
  EXPECT_EQ(code_of(config, "long_factor"), "M034");
}

TEST(Config, WhatTrainingDrops) {
  const auto drops = [](const char* family, const Json& fields) {
    Json config = config_of(family);
    config.erase("attention_dropout");
    config.erase("residual_dropout");
    config.update(fields);
    const ModelConfig::Drops d = read_model_config(config).drops;
    return std::array{d.attention, d.residual, d.embedding};
  };
  using Shares = std::array<float, 3>;
  EXPECT_EQ(drops("llama3", Json::object()), (Shares{0.0F, 0.0F, 0.0F}));
  EXPECT_EQ(drops("llama3", {{"attention_dropout", 0.1}}), (Shares{0.1F, 0.0F, 0.0F}));
  EXPECT_EQ(drops("seed_oss", Json::object()), (Shares{0.1F, 0.1F, 0.0F}));  // what files leave out
  EXPECT_EQ(drops("starcoder2", {{"residual_dropout", 0.2}, {"embedding_dropout", 0.3}}),
            (Shares{0.0F, 0.2F, 0.3F}));
  EXPECT_EQ(drops("lfm2", {{"attention_dropout", 0.1}}), (Shares{0.0F, 0.0F, 0.0F}));
  EXPECT_EQ(drops("phi3", {{"resid_pdrop", 0.2}}), (Shares{0.0F, 0.2F, 0.0F}));
}

// EXAONE 4's files write it so, beside the list that counts.
TEST(Config, APatternInLettersIsTakenWhereEveryLayersTypeIsListed) {
  Json config = config_of("exaone4");
  config["sliding_window_pattern"] = "LLLG";
  EXPECT_EQ(code_of(config, ""), "taken");
  config.erase("layer_types");
  EXPECT_EQ(code_of(config, "sliding_window_pattern"), "M034");
}

TEST(Config, ADynamicRopeReachesAsFarAsItsFactor) {
  EXPECT_EQ(read_model_config(config_of("llama_dynamic")).max_positions, 64);
  EXPECT_EQ(read_model_config(config_of("llama_linear")).max_positions, 256);
}

TEST(Config, WindowsAndLayerTypesAreChecked) {
  for (const char* value : {"\"full_attention\"", "{}", "3", "[\"full_attention\"]"}) {
    Json config = config_of("qwen2_window");
    config["layer_types"] = Json::parse(value);
    EXPECT_EQ(code_of(config, "layer_types"), "M034") << value;
  }
  for (const std::string& family : families()) {
    Json windows = config_of(family);
    if (!windows.contains("sliding_window")) {
      continue;
    }
    for (const char* value : {"-1", "3.5", "4294967296", "\"x\""}) {
      windows["sliding_window"] = Json::parse(value);
      EXPECT_EQ(code_of(windows, "sliding_window"), "M034") << family << ' ' << value;
    }
  }
}

TEST(Config, ARopeThatIsNotFiniteIsRefused) {
  Json config = config_of("llama3");
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"rope_type", "yarn"},
                               {"factor", 4.0},
                               {"rope_theta", 1.0},
                               {"original_max_position_embeddings", 1024}};
  EXPECT_EQ(code_of(config, "rope_theta"), "M034");
  config["rope_parameters"]["rope_theta"] = 10000.0;
  EXPECT_EQ(code_of(config, ""), "taken");
}

}  // namespace
}  // namespace sft
