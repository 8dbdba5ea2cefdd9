// Which layers get an adapter, as PEFT decides it, the parameters that they add, and the numbers
// that they start with, as torch draws them.
#include "model/adapters.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "model/options.h"
#include "support/paths.h"

namespace sft {
namespace {

Model tiny() {
  return Model::from_config(read_json(SFT_TEST_DIR "/golden/models/chatml/config.json"));
}

std::set<std::string> targets_of(const LoraConfig& config) {
  std::set<std::string> out;
  for (const AdapterTarget& t : plan_adapters(tiny(), config).targets) {
    out.insert(t.module);
  }
  return out;
}

LoraConfig named(std::vector<std::string> names) {
  LoraConfig c;
  c.target_modules = std::move(names);
  return c;
}

LoraConfig expressed(const std::string& expression) {
  LoraConfig c;
  c.target_expression = expression;
  return c;
}

TEST(Adapters, names_are_ends_and_expressions_are_whole) {
  const std::set<std::string> all = targets_of(expressed("all-linear"));
  EXPECT_EQ(all.size(), 7U * static_cast<size_t>(tiny().config.layers));
  EXPECT_FALSE(all.contains("lm_head"));
  const std::set<std::string> q = targets_of(named({"q_proj"}));
  EXPECT_EQ(q.size(), static_cast<size_t>(tiny().config.layers));
  EXPECT_EQ(q, targets_of(expressed(".*\\.q_proj")));
  EXPECT_EQ(targets_of(named({})), targets_of(named({"q_proj", "v_proj"})));
  EXPECT_EQ(targets_of(named({"self_attn.q_proj"})), q);
  EXPECT_EQ(targets_of(named({"model.layers.0.mlp.up_proj"})),
            std::set<std::string>{"model.layers.0.mlp.up_proj"});
  // "proj" is no name behind a dot, and an expression must match the whole name.
  for (const LoraConfig& none :
       {named({"proj"}), expressed("q_proj"), named({"input_layernorm"}), expressed("(unclosed")}) {
    EXPECT_THROW(plan_adapters(tiny(), none), Error);
  }
}

TEST(Adapters, names_of_a_text_part_are_those_of_the_whole) {
  const char* const expression = "model\\.language_model\\.layers\\..*\\.q_proj";
  EXPECT_THROW(plan_adapters(tiny(), expressed(expression)), Error);
  LoraConfig c = expressed(expression);
  c.text_part = "language_model.";
  EXPECT_EQ(targets_of(c), targets_of(named({"q_proj"})));
  c.exclude_expression = ".*language_model\\.layers\\.0\\..*";
  EXPECT_EQ(targets_of(c).size(), static_cast<size_t>(tiny().config.layers) - 1);
  c = named({"model.language_model.layers.0.mlp.up_proj"});
  c.text_part = "language_model.";
  EXPECT_EQ(targets_of(c), std::set<std::string>{"model.layers.0.mlp.up_proj"});
}

TEST(Adapters, layers_are_left_out_and_ranks_differ) {
  LoraConfig c = named({"q_proj", "up_proj"});
  c.layers_to_transform = {1};
  EXPECT_EQ(targets_of(c), (std::set<std::string>{"model.layers.1.self_attn.q_proj",
                                                  "model.layers.1.mlp.up_proj"}));
  c.exclude_modules = {"up_proj"};
  EXPECT_EQ(targets_of(c), std::set<std::string>{"model.layers.1.self_attn.q_proj"});
  LoraConfig patterns = named({"q_proj", "k_proj", "v_proj"});
  patterns.r = 4;
  patterns.alpha = 8;
  patterns.rank_pattern = {{"k_proj", 2}};
  patterns.alpha_pattern = {{"layers.1.self_attn.v_proj", 6}};
  Model model = tiny();
  const AdapterPlan plan = plan_adapters(model, patterns);
  const std::vector<AdapterTarget>& targets = plan.targets;
  for (const AdapterTarget& t : targets) {
    const bool k = t.module.ends_with("k_proj");
    EXPECT_EQ(t.rank, k ? 2 : 4);
    EXPECT_EQ(t.scale, k ? 4.0F : t.module == "model.layers.1.self_attn.v_proj" ? 1.5F : 2.0F);
  }
  add_adapters(model, plan, patterns);
  const auto& groups = model.adapters.at("model.layers.1.self_attn.qkv_proj.weight");
  ASSERT_EQ(groups.size(), 2U);  // q and v share the product with the input
  EXPECT_EQ(groups[0].pieces.size(), 2U);
  int64_t trained = 0;
  for (const AdapterTarget& t : targets) {
    trained += t.rank * (t.in + t.out);
  }
  EXPECT_EQ(count_parameters(model.trained), trained);
  EXPECT_EQ(count_parameters(model.frozen), count_parameters(tiny().trained));
}

// Blocks and scales are those of the published tensors, which is what files hold.
TEST(Adapters, what_is_packed_is_one_parameter_for_each_published_tensor) {
  Model model = tiny();
  const LoraConfig c = named({"k_proj"});
  const AdapterPlan plan = plan_adapters(model, c);
  const auto stored = [](const std::string& name) -> std::optional<DType> {
    return name.ends_with("up_proj.weight")           ? DType::q4_k
           : name.find("gate") != std::string::npos   ? DType::q6_k
           : name.find("q_proj") != std::string::npos ? std::optional(DType::bf16)
                                                      : std::nullopt;
  };
  add_adapters(model, plan, c, stored);
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(
      model.parts.at(layer + "mlp.gate_up_proj.weight"),
      (std::vector<std::string>{layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight"}));
  EXPECT_EQ(model.parts.at(layer + "self_attn.qkv_proj.weight").size(), 3U);  // of two types
  EXPECT_FALSE(model.parts.contains(layer + "self_attn.o_proj.weight"));
  EXPECT_TRUE(model.adapters.contains(layer + "self_attn.qkv_proj.weight"));
  EXPECT_EQ(count_parameters(model.frozen), count_parameters(tiny().trained));
  add_adapters(model, plan, c, [](const std::string&) { return DType::bf16; });
  EXPECT_TRUE(model.parts.empty());
}

TEST(Adapters, a_base_is_packed_with_and_without_adapters_there) {
  LoraConfig c = named({"q_proj", "v_proj"});
  c.r = 16;  // what it gets by default
  const Model fresh = with_packed_base(tiny(), DType::nf4);
  Model given = tiny();
  add_adapters(given, plan_adapters(given, c), c, [](const std::string&) { return DType::bf16; });
  const Model again = with_packed_base(given, DType::nf4);
  ASSERT_EQ(again.frozen.size(), fresh.frozen.size());
  for (size_t i = 0; i < fresh.frozen.size(); ++i) {
    EXPECT_EQ(again.frozen[i].name, fresh.frozen[i].name);
    EXPECT_EQ(read_type(again.frozen[i], DType::f32), read_type(fresh.frozen[i], DType::f32));
  }
  EXPECT_EQ(again.parts, fresh.parts);
  EXPECT_EQ(count_parameters(again.trained), count_parameters(fresh.trained));
}

// torch 2.15 and PEFT 0.21: torch.manual_seed(42), r 4, q_proj and v_proj of this model.
TEST(Adapters, the_first_numbers_are_those_of_peft) {
  LoraConfig c = named({"q_proj", "v_proj"});
  c.r = 4;
  const auto drawn = draw_adapters(plan_adapters(tiny(), c).targets, "true", 42).values;
  const auto first = [&](const std::string& module) {
    const std::vector<float>& a = drawn.at("base_model.model." + module + ".lora_A.weight");
    return std::vector<float>(a.begin(), a.begin() + 3);
  };
  EXPECT_EQ(
      first("model.layers.0.self_attn.q_proj"),
      (std::vector<float>{0.13047756254673004F, 0.17542420327663422F, -0.020207751542329788F}));
  EXPECT_EQ(
      first("model.layers.0.self_attn.v_proj"),
      (std::vector<float>{-0.08337794244289398F, 0.07502388954162598F, -0.13600285351276398F}));
  for (const float b : drawn.at("base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight")) {
    EXPECT_EQ(b, 0.0F);
  }
}

std::set<std::string> trained_names(const Model& model) {
  std::set<std::string> out;
  for (const ParamSpec& spec : model.trained) {
    for (const ParamPiece& piece : spec.pieces) {
      out.insert(piece.name);
    }
  }
  return out;
}

Model adapted(Model model, const LoraConfig& c) {
  add_adapters(model, plan_adapters(model, c), c);
  return model;
}

TEST(Adapters, what_is_trained_whole_has_its_own_name_and_no_adapter) {
  LoraConfig c = named({"q_proj", "down_proj"});
  c.modules_to_save = {"down_proj", "norm"};
  const Model model = adapted(tiny(), c);
  const std::set<std::string> names = trained_names(model);
  EXPECT_TRUE(names.contains("base_model.model.model.layers.1.mlp.down_proj.weight"));
  EXPECT_FALSE(names.contains("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"));
  // A name is the end of one, dot or not: every norm.
  EXPECT_TRUE(names.contains("base_model.model.model.norm.weight"));
  EXPECT_TRUE(names.contains("base_model.model.model.layers.0.input_layernorm.weight"));
  c.modules_to_save = {"nrom"};
  EXPECT_THROW(plan_adapters(tiny(), c), Error);
}

// chatml's head is its embeddings: what is trained of the two is a copy, the other reads the table.
TEST(Adapters, a_head_and_its_embeddings_part_where_one_is_trained) {
  LoraConfig c = named({"q_proj"});
  c.modules_to_save = {"embed_tokens"};
  Model model = adapted(tiny(), c);
  EXPECT_TRUE(model.has(kEmbeddingCopy));
  EXPECT_EQ(model.head_name(), kEmbeddingWeight);
  c.modules_to_save = {"lm_head"};
  model = adapted(tiny(), c);
  EXPECT_FALSE(model.has(kEmbeddingCopy));
  EXPECT_EQ(model.head_name(), kHeadWeight);
  EXPECT_TRUE(trained_names(model).contains("base_model.model.lm_head.weight"));
  EXPECT_EQ(plan_adapters(tiny(), c).warnings.size(), 1U);
}

// ensure_weight_tying: whichever of the two names is meant, one table is trained and read by both.
TEST(Adapters, a_head_and_its_embeddings_stay_one_table_where_that_is_asked_for) {
  LoraConfig c = named({"q_proj"});
  c.keeps_tied = true;
  for (const std::vector<std::string>& whole : std::vector<std::vector<std::string>>{
           {"embed_tokens"}, {"lm_head"}, {"embed_tokens", "lm_head"}}) {
    c.modules_to_save = whole;
    const Model model = adapted(tiny(), c);
    EXPECT_FALSE(model.has(kEmbeddingCopy));
    EXPECT_EQ(model.head_name(), kEmbeddingWeight);
    EXPECT_TRUE(trained_names(model).contains("base_model.model.model.embed_tokens.weight"));
    EXPECT_FALSE(trained_names(model).contains("base_model.model.lm_head.weight"));
    EXPECT_EQ(plan_adapters(tiny(), c).warnings.size(), 0U);
  }
  c.modules_to_save.clear();
  c.target_modules = {"q_proj", "embed_tokens"};
  EXPECT_THROW(plan_adapters(tiny(), c), Error);
}

TEST(Adapters, of_a_fused_weight_a_part_is_trained_whole) {
  LoraConfig c = named({"q_proj"});
  c.modules_to_save = {"k_proj"};
  const Model model = adapted(tiny(), c);
  EXPECT_EQ(model.zeroed, (std::set<std::string>{"model.layers.0.self_attn.k_proj.weight",
                                                 "model.layers.1.self_attn.k_proj.weight"}));
  const std::set<std::string> names = trained_names(model);
  EXPECT_TRUE(names.contains("base_model.model.model.layers.0.self_attn.k_proj.weight"));
  EXPECT_TRUE(names.contains("base_model.model.model.layers.0.self_attn.k_proj.bias"));
  EXPECT_FALSE(names.contains("base_model.model.model.layers.0.self_attn.v_proj.bias"));
  const auto& fixed = model.fixed_rows.at("model.layers.0.self_attn.qkv_proj.bias");
  ASSERT_EQ(fixed.size(), 2U);  // q's rows and v's
  EXPECT_EQ(fixed[0].begin, 0);
}

TEST(Adapters, biases_are_those_of_layers_with_an_adapter_or_all) {
  LoraConfig c = named({"q_proj"});
  c.biases = TrainedBiases::lora_only;
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias";
  const std::string k = "base_model.model.model.layers.0.self_attn.k_proj.bias";
  EXPECT_TRUE(trained_names(adapted(tiny(), c)).contains(q));
  EXPECT_FALSE(trained_names(adapted(tiny(), c)).contains(k));
  c.biases = TrainedBiases::all;
  EXPECT_TRUE(trained_names(adapted(tiny(), c)).contains(q));
  EXPECT_TRUE(trained_names(adapted(tiny(), c)).contains(k));
}

TEST(Adapters, default_layers_are_those_that_peft_has_for_the_family) {
  const auto plan = [](const char* family) {
    const fs::path golden = fs::path(SFT_TEST_DIR) / "model" / "golden" / family;
    return plan_adapters(Model::from_config(read_json(golden / "config.json")), LoraConfig{});
  };
  for (const char* family : {"llama3", "qwen2", "qwen3", "mistral", "gemma2", "gemma3"}) {
    for (const AdapterTarget& target : plan(family).targets) {
      EXPECT_TRUE(target.module.ends_with("q_proj") || target.module.ends_with("v_proj"));
    }
  }
  for (const char* family : {"phi3", "smollm3", "ministral3", "starcoder2"}) {
    try {
      plan(family);
      FAIL() << family;
    } catch (const Error& e) {
      EXPECT_EQ(e.code().text(), "C193");
      EXPECT_NE(e.hint().find("all-linear"), std::string::npos);
    }
  }
}

TEST(Adapters, rows_have_magnitudes_and_words_are_trained) {
  LoraConfig c = named({"q_proj", "v_proj"});
  c.dora = true;
  c.trainable_tokens = {{"embed_tokens", {3, 17}}};
  const Model model = adapted(tiny(), c);
  const auto tensors = adapter_tensors(model);
  EXPECT_EQ(tensors.at("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"),
            (Shape{24}));
  EXPECT_EQ(tensors.at("base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"),
            (Shape{2, 24}));
  c.trainable_tokens = {{"embed_tokens", {336}}};
  EXPECT_THROW(plan_adapters(tiny(), c), Error);
  c.trainable_tokens.clear();
  c.target_modules = {"embed_tokens", "q_proj"};
  EXPECT_EQ(adapter_tensors(adapted(tiny(), c))
                .at("base_model.model.model.embed_tokens.lora_magnitude_vector"),
            (Shape{24}));
  c.dora = false;
  EXPECT_EQ(adapter_tensors(adapted(tiny(), c))
                .at("base_model.model.model.embed_tokens.lora_embedding_A"),
            (Shape{8, 336}));
}

TEST(LoraConfigs, what_peft_writes_is_read_and_written) {
  const Json peft = Json::parse(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 32, "lora_dropout":
    0.05, "target_modules": ["v_proj", "q_proj"], "bias": "none", "use_rslora": true, "use_dora":
    false, "ensure_weight_tying": true, "loftq_config": {}, "modules_to_save": null, "rank_pattern": {"k_proj": 2},
    "base_model_name_or_path": "base"})");
  const LoraConfig c = LoraConfig::from_json(peft, "adapter_config.json");
  EXPECT_EQ(c.r, 4);
  EXPECT_EQ(c.alpha, 32);
  EXPECT_EQ(c.dropout, 0.05);
  EXPECT_TRUE(c.rslora);
  EXPECT_EQ(c.base_model, "base");
  const Json again = c.to_json(c.target_modules);
  for (const char* key :
       {"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora",
        "rank_pattern", "ensure_weight_tying", "base_model_name_or_path"}) {
    EXPECT_EQ(again.at(key), peft.at(key)) << key;
  }
  for (const auto& [key, value] : {std::pair<const char*, Json>{"use_dora", 1},
                                   {"bias", "some"},
                                   {"peft_type", "IA3"},
                                   {"lora_bias", true},
                                   {"init_lora_weights", "loftq"},
                                   {"init_lora_weights", "pissa_niter_x"},
                                   {"target_parameters", "experts.up"},
                                   {"trainable_token_indices", Json::array({1, 1})},
                                   {"layers_pattern", "layers"},
                                   {"rank_patern", Json{{"q_proj", 1}}},
                                   {"r", 0},
                                   {"r", 2.5},
                                   {"lora_dropout", 1.5},
                                   {"modules_to_save", "lm_head"},
                                   {"rank_pattern", 3},
                                   {"target_modules", 3},
                                   {"layers_to_transform", "a"}}) {
    Json wrong = peft;
    wrong[key] = value;
    EXPECT_THROW(LoraConfig::from_json(wrong, "adapter_config.json"), Error) << key;
  }
}

TEST(Adapters, a_beginning_is_taken_out_of_what_the_layer_has) {
  LoraConfig c = named({"q_proj"});
  for (const char* init : {"pissa", "pissa_niter_2", "olora"}) {
    c.init = init;
    c.r = 24;
    EXPECT_NO_THROW(plan_adapters(tiny(), c));
    c.r = 25;
    EXPECT_THROW(plan_adapters(tiny(), c), Error);
  }
  c.r = 4;
  c.target_modules = {"lm_head"};  // which is the embeddings, and they stay
  EXPECT_THROW(plan_adapters(tiny(), c), Error);
}

std::string refusal_of(const ModelOptions& options) {
  try {
    LoraConfig::from_options(options);
    return "";
  } catch (const Error& e) {
    return std::string(e.code().text());
  }
}

TEST(LoraConfigs, fields_stand_for_flags_and_do_not_contradict_them) {
  ModelOptions o;
  o.lora_r = 8;
  o.lora_config = {{"lora_alpha", 4}, {"target_modules", "all-linear"}, {"bias", "all"}};
  const LoraConfig c = LoraConfig::from_options(o);
  EXPECT_EQ(c.r, 8);
  EXPECT_EQ(c.alpha, 4);
  EXPECT_EQ(c.dropout, 0.05);  // TRL's
  EXPECT_EQ(c.target_expression, "all-linear");
  EXPECT_EQ(c.biases, TrainedBiases::all);
  o.lora_config["r"] = 8;
  EXPECT_EQ(refusal_of(o), "");
  o.lora_config["r"] = 4;
  EXPECT_EQ(refusal_of(o), "C191");
  o.lora_config.erase("r");
  o.lora_target_modules = {"q_proj", "v_proj"};
  EXPECT_EQ(refusal_of(o), "C191");
  o.lora_target_modules.clear();
  for (const auto& [key, value] :
       {std::pair<const char*, Json>{"rank_patern", Json::object()},  // a new one has no such name
        {"init_lora_weights", "eva"},
        {"use_qalora", true},
        {"layers_to_transform", Json::array({0})}}) {  // beside an expression
    ModelOptions wrong = o;
    wrong.lora_config[key] = value;
    EXPECT_EQ(refusal_of(wrong), "C192") << key;
  }
}

}  // namespace
}  // namespace sft
