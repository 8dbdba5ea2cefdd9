// Every family that llama.cpp has a layout for, written as a GGUF file and read again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "core/error.h"
#include "core/file.h"
#include "io/gguf/file.h"
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

constexpr size_t kSpare = 4096;  // more than the frozen ones of a tiny model take

// Pieces with merges and bytes, as Gemma 4 has them, with fewer of each.
void write_pieces(const fs::path& folder) {
  Json tokenizer = {{"model",
                     {{"type", "BPE"},
                      {"byte_fallback", true},
                      {"vocab",
                       {{"<pad>", 0},
                        {"<eos>", 1},
                        {"<bos>", 2},
                        {"<unk>", 3},
                        {"a", 4},
                        {"b", 5},
                        {"ab", 6},
                        {"<0x0A>", 7},
                        {"<|channel>", 8}}},
                      {"merges", Json::array({"a b"})}}}};
  for (const auto& [text, id] : {std::pair{"<pad>", 0},
                                 {"<eos>", 1},
                                 {"<bos>", 2},
                                 {"<unk>", 3},
                                 {"<|channel>", 8},
                                 {"<turn|>", 9},
                                 {"<think>", 10}}) {
    tokenizer["added_tokens"].push_back({{"id", id}, {"content", text}, {"special", true}});
  }
  write_text(folder / "tokenizer.json", tokenizer.dump());
  write_text(folder / "tokenizer_config.json", Json{{"bos_token", "<bos>"},
                                                    {"eos_token", "<eos>"},
                                                    {"pad_token", "<pad>"},
                                                    {"unk_token", "<unk>"},
                                                    {"extra_special_tokens", {"<turn|>"}}}
                                                   .dump());
}

// A folder with a family's config.json for the vocabulary of a tokenizer, and random weights.
fs::path random_model(const char* family, const fs::path& folder) {
  Json config = read_json(fs::path(SFT_TEST_DIR) / "model" / "golden" / family / "config.json");
  const fs::path tokenizer = fs::path(SFT_TEST_DIR) / "golden" / "models" / "chatml";
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}) {
    fs::copy_file(tokenizer / file, folder / file, fs::copy_options::overwrite_existing);
  }
  config["vocab_size"] = read_json(tokenizer / "config.json")["vocab_size"];
  if (config.contains("query_pre_attn_scalar")) {  // Gemma: what the runtime takes it to be
    config["query_pre_attn_scalar"] = config["head_dim"];
    config.erase("layer_types");
  }
  if (config.contains("linear_key_head_dim")) {  // the runtime has one width for both
    config["linear_value_head_dim"] = config["linear_key_head_dim"];
    config["attention_bias"] = false;
  }
  if (config["model_type"] == "gemma4_text") {
    config["attention_bias"] = false;
    config["final_logit_softcapping"] = 30.0;
    if (config["num_kv_shared_layers"] > 0) {
      config["num_kv_shared_layers"] =
          config["num_hidden_layers"] < 5
              ? 0
              : 3;  // the last two before them are a sliding and a full one
    }
    config["rope_parameters"]["full_attention"].erase("factor");
    write_pieces(folder);
    if (config["vocab_size_per_layer_input"] < config["vocab_size"]) {
      config["vocab_size_per_layer_input"] = config["vocab_size"];
    }
  }
  if (config["model_type"] == "cohere2") {
    config.erase("layer_types");  // the usual ones
  }
  if (config["model_type"] == "hunyuan_v1_dense") {
    config["attention_bias"] = false;
  }
  if (config["model_type"] == "olmoe") {
    config["rms_norm_eps"] = 1e-5;
    config["norm_topk_prob"] = false;
  }
  if (config["model_type"] == "qwen3_moe" || config["model_type"] == "qwen3_next") {
    config["norm_topk_prob"] = true;
    config["mlp_only_layers"] = Json::array();
    config["decoder_sparse_step"] = 1;
    config["use_sliding_window"] = false;
  }
  if (config["model_type"] == "mixtral" || config["model_type"] == "phi3") {
    config["sliding_window"] = nullptr;  // the runtime has none
  }
  write_text(folder / "config.json", config.dump());
  const Model described = Model::from_config(config);
  std::vector<StreamedTensor> tensors;
  std::vector<float> values(static_cast<size_t>(described.layout.elements) + kSpare);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = std::sin(static_cast<float>(i));
  }
  // The frozen ones are what routers correct their choice by.
  for (const auto* const specs : {&described.trained, &described.frozen}) {
    const ParamLayout layout = layout_parameters(*specs, described.blocks());
    SFT_ASSERT(layout.elements <= static_cast<int64_t>(values.size()));
    for (StreamedTensor& t : streamed(named_tensors(*specs, layout, values.data()))) {
      tensors.push_back(std::move(t));
    }
  }
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
  out += fmt::format("; experts {} {} {} {} {} {} {} {}", c.routing.experts, c.routing.chosen,
                     c.routing.normalise, c.routing.scale, c.routing.groups,
                     c.routing.chosen_groups, c.expert_intermediate, c.shared_intermediate);
  out += fmt::format("; sinks {} taps {} delta {} {} {} {} gates {}", c.sinks, c.conv_taps,
                     c.delta.key_heads, c.delta.value_heads, c.delta.key_dim, c.delta.value_dim,
                     c.query_gates);
  out += fmt::format("; words {} {}", c.layer_word, c.layer_word > 0 ? c.layer_words : 0);
  int at = 0;
  for (const ModelConfig::Layer& layer : c.layer) {
    out += fmt::format("; mixer {} experts {}", static_cast<int>(layer.mixer), layer.experts);
    const RopeFrequencies* const rope =
        layer.rope < 0 ? nullptr : &c.ropes[static_cast<size_t>(layer.rope)];
    out += fmt::format("; shares {} keys {} width {} heads {} {}; window {} rope", layer.shares,
                       layer.values_are_keys, c.wide(at), c.attention_heads(at).kv_heads,
                       c.attention_heads(at).head_dim, layer.window);
    ++at;
    if (rope == nullptr) {
      continue;
    }
    for (const float frequency : rope->inv_freq) {
      out += fmt::format(" {:.5g}", frequency);
    }
    for (const float frequency : rope->long_inv_freq) {
      out += fmt::format(" long {:.5g}", frequency);
    }
    out += fmt::format(" short {} attention {:.5g} queries {:.5g} {}", rope->short_length,
                       rope->attention_factor, rope->query_beta, rope->query_period);
  }
  return out;
}

TEST(GgufFamilies, EveryFamilyIsReadAgainAsItWas) {
  for (const char* family : {"gemma2",
                             "gemma3",
                             "gemma4",
                             "gemma4_keys",
                             "gemma4_keys_shared",
                             "gemma4_published",
                             "gemma4_experts",
                             "gemma4_experts_words",
                             "granite",
                             "smollm3",
                             "seed_oss",
                             "seed_oss_tied",
                             "olmo2_equal_heads",
                             "olmo2_grouped",
                             "olmo3_old",
                             "exaone4",
                             "exaone4_full",
                             "starcoder2_plain",
                             "phi3",
                             "phi3_longrope",
                             "glm4",
                             "glm4_old",
                             "ernie4_5",
                             "hunyuan",
                             "hunyuan_plain",
                             "cohere2",
                             "ministral3",
                             "qwen3_moe",
                             "qwen3_moe_plain",
                             "mixtral",
                             "olmoe",
                             "gpt_oss",
                             "glm4_moe",
                             "glm4_moe_plain",
                             "qwen3_5",
                             "qwen3_5_grouped",
                             "qwen3_5_moe",
                             "qwen3_5_moe_tied",
                             "qwen3_next",
                             "qwen3_next_plain",
                             "lfm2"}) {
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
        // 1 is added to norms, and taken off; of a rate the file has the exponential.
        ASSERT_NEAR(got[i], want[i], 2e-7) << tensor;
      }
      const ElementRange part{shape.elements() / 3, shape.elements() / 2 + 1};
      std::vector<float> piece(static_cast<size_t>(part.size()));
      after->read_f32(tensor, part, piece.data());
      EXPECT_TRUE(std::equal(piece.begin(), piece.end(), got.begin() + part.begin)) << tensor;
    }
  }
}

TEST(GgufFamilies, PiecesWithMergesAreReadAgain) {
  const TemporaryFolder folder("pieces");
  const auto before = opened(random_model("gemma4", folder.path()));
  const fs::path path = folder.path() / "model.gguf";
  const GgufPlan plan = plan_gguf(*before, folder.path(), *find_gguf_mix("f32"), "");
  EXPECT_TRUE(plan.adds_bos);
  write_gguf(path, plan.metadata, plan.tensors, nullptr);
  const GgufFile file(path);
  EXPECT_EQ(file.string("tokenizer.ggml.model"), "gemma4");
  const std::vector<int64_t> types = *file.integers("tokenizer.ggml.token_type");
  EXPECT_EQ(std::vector(types.begin(), types.begin() + 12),
            (std::vector<int64_t>{3, 3, 3, 3, 1, 1, 1, 6, 4, 3, 4, 5}));
  const Json tokenizer = Json::parse(*opened(path)->file_text("tokenizer.json"));
  EXPECT_EQ(tokenizer["model"]["merges"], Json::array({"a b"}));
  EXPECT_TRUE(tokenizer["model"]["byte_fallback"].get<bool>());
  EXPECT_EQ(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<bos>");
}

TEST(GgufFamilies, Mxfp4ExpertsStayAsTheyAreBothWays) {
  const TemporaryFolder folder("mxfp4");
  const fs::path tests(SFT_TEST_DIR);
  for (const fs::path& from :
       {tests / "io" / "golden" / "quantised" / "mxfp4", tests / "golden" / "models" / "chatml"}) {
    for (const auto& entry : fs::directory_iterator(from)) {
      fs::copy_file(entry.path(), folder.path() / entry.path().filename(),
                    fs::copy_options::skip_existing);
    }
  }
  const auto before = opened(folder.path());
  const fs::path file = folder.path() / "model.gguf";
  const GgufPlan plan = plan_gguf(*before, folder.path(), *find_gguf_mix("f16"), "");
  EXPECT_TRUE(plan.file_name.ends_with("-MXFP4_MOE.gguf")) << plan.file_name;
  write_gguf(file, plan.metadata, plan.tensors, nullptr);
  const auto after = opened(file);
  int packed = 0;
  for (const std::string& name : before->names()) {
    if (before->stored_type(name) != DType::mxfp4) {
      continue;
    }
    ++packed;
    ASSERT_EQ(after->stored_type(name), DType::mxfp4) << name;
    const Shape shape = before->shape(name);
    Tensor want{nullptr, shape, DType::mxfp4}, got = want;
    std::vector<std::byte> wanted(want.bytes()), gotten(want.bytes());
    want.data = wanted.data(), got.data = gotten.data();
    ASSERT_TRUE(before->read_packed(name, want) && after->read_packed(name, got));
    EXPECT_EQ(gotten, wanted) << name;
    std::vector<float> values(static_cast<size_t>(shape.elements())), same(values.size());
    before->read_f32(name, values.data());
    after->read_f32(name, same.data());
    EXPECT_EQ(same, values) << name;
  }
  EXPECT_GT(packed, 0);
}

TEST(GgufFamilies, WhatAFileHasNoKeyForIsRefused) {
  for (const auto& [family, field, value] : std::vector<std::tuple<const char*, const char*, Json>>{
           {"gemma2", "query_pre_attn_scalar", 20},
           {"gemma2", "layer_types", {"full_attention", "full_attention", "full_attention"}},
           {"gemma4", "attention_bias", true},
           {"gemma4", "final_logit_softcapping", nullptr},
           {"gemma4", "num_kv_shared_layers", 2},
           {"gemma4_keys",
            "per_layer_config",
            {{"1", {{"head_dim", 16}}}, {"4", {{"head_dim", 16}, {"num_key_value_heads", 1}}}}},
           {"smollm3", "no_rope_layers", {1, 0, 1, 0}},
           {"cohere2", "layer_types", {"full_attention", "full_attention", "full_attention"}},
           {"gpt_oss", "swiglu_limit", 5.0},
           {"qwen3_moe", "norm_topk_prob", false},
           {"qwen3_next", "norm_topk_prob", false},
           {"qwen3_next", "mlp_only_layers", {1}},
           {"olmoe", "norm_topk_prob", true},
           {"olmoe_grouped", "num_hidden_layers", 2},
           {"lfm2_adjusted", "conv_bias", true},
           {"ernie4_5_bias", "use_bias", true},
           {"qwen3_5", "linear_value_head_dim", 12}}) {
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
