// Every family that llama.cpp has a layout for, written as a GGUF file and read again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "io/gguf/write/mix.h"
#include "io/gguf/write/model.h"
#include "io/model_source.h"
#include "io/safetensors_writer.h"
#include "model/model.h"
#include "support/paths.h"
#include "support/temporary_folder.h"

namespace sft {
namespace {

std::unique_ptr<ModelSource> opened(const fs::path& path) {
  return ModelSource::open(path.string(), "", {});
}

// A folder with a family's config.json for the vocabulary of a tokenizer, and random weights.
fs::path random_model(const char* family, const fs::path& folder) {
  const fs::path tokenizer = fs::path(SFT_TEST_DIR) / "golden" / "models" / "chatml";
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    fs::copy_file(tokenizer / file, folder / file, fs::copy_options::overwrite_existing);
  }
  Json config = read_json(fs::path(SFT_TEST_DIR) / "model" / "golden" / family / "config.json");
  config["vocab_size"] = read_json(tokenizer / "config.json")["vocab_size"];
  if (config.contains("query_pre_attn_scalar")) {  // Gemma: what the runtime takes it to be
    config["query_pre_attn_scalar"] = config["head_dim"];
    config.erase("layer_types");
  }
  write_text(folder / "config.json", config.dump());
  const Model described = Model::from_config(config);
  std::vector<float> values(static_cast<size_t>(described.layout.elements));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i));
  }
  const auto tensors = streamed(named_tensors(described.trained, described.layout, values.data()));
  write_safetensors(folder / "model.safetensors", tensors, DType::f32);
  return folder;
}

// What decides how a model computes, but for its weights.
std::string said(const ModelConfig& c) {
  std::string out = fmt::format(
      "{} {} {} {} {} {} {} tied {} biases {} {} {} scales {:.6g} {:.6g} {:.6g} {:.6g} caps {} {} "
      "norm {:.6g} {} act {} interleaved {}",
      c.architecture, c.vocab, c.hidden, c.intermediate, c.layers, c.heads, c.kv_heads, c.tied,
      c.qkv_bias, c.output_bias, c.mlp_bias, c.embedding_scale, c.attention_scale, c.residual_scale,
      c.logit_scale, c.score_cap, c.logit_cap, c.norm.eps, c.norm.weight_offset,
      static_cast<int>(c.activation), c.interleaved_rope);
  for (const ModelConfig::Layer& layer : c.layer) {
    const RopeFrequencies* const rope =
        layer.rope < 0 ? nullptr : &c.ropes[static_cast<size_t>(layer.rope)];
    out += fmt::format("; window {} rope", layer.window);
    for (size_t i = 0; rope != nullptr && i < rope->inv_freq.size(); ++i) {
      out += fmt::format(" {:.5g}", rope->inv_freq[i]);
    }
  }
  return out;
}

TEST(GgufFamilies, EveryFamilyIsReadAgainAsItWas) {
  for (const char* family :
       {"gemma2", "gemma3", "granite", "smollm3", "seed_oss", "seed_oss_tied", "olmo2_equal_heads",
        "olmo2_grouped", "olmo3_old", "exaone4", "exaone4_full", "starcoder2_plain"}) {
    SCOPED_TRACE(family);
    const TemporaryFolder folder(family);
    const auto before = opened(random_model(family, folder.path()));
    const fs::path file = folder.path() / "model.gguf";
    const GgufPlan plan = plan_gguf(*before, folder.path(), *find_gguf_mix("f32"), "");
    write_gguf(file, plan.metadata, plan.tensors, nullptr);
    const auto after = opened(file);
    EXPECT_EQ(said(read_model_config(after->config())), said(read_model_config(before->config())));
    for (const std::string& tensor : before->names()) {
      const Shape shape = before->shape(tensor);
      ASSERT_TRUE(after->has(tensor)) << tensor;
      ASSERT_EQ(after->shape(tensor), shape) << tensor;
      std::vector<float> want(static_cast<size_t>(shape.elements())), got(want.size());
      before->read_f32(tensor, want.data());
      after->read_f32(tensor, got.data());
      for (size_t i = 0; i < want.size(); ++i) {
        ASSERT_NEAR(got[i], want[i], 2e-7) << tensor;  // 1 is added to Gemma's norms, and taken off
      }
    }
  }
}

TEST(GgufFamilies, WhatAFileHasNoKeyForIsRefused) {
  for (const auto& [family, field, value] : std::vector<std::tuple<const char*, const char*, Json>>{
           {"gemma2", "query_pre_attn_scalar", 20},
           {"gemma2", "layer_types", {"full_attention", "full_attention", "full_attention"}},
           {"smollm3", "no_rope_layers", {1, 0, 1, 0}}}) {
    SCOPED_TRACE(family);
    const TemporaryFolder folder(family);
    random_model(family, folder.path());
    Json config = read_json(folder.path() / "config.json");
    config[field] = value;
    write_text(folder.path() / "config.json", config.dump());
    const auto source = opened(folder.path());
    try {
      plan_gguf(*source, folder.path(), *find_gguf_mix("f32"), "");
      ADD_FAILURE() << "was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "M284") << e.what();
    }
  }
}

}  // namespace
}  // namespace sft
