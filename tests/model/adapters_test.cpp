// Which layers get an adapter, as PEFT decides it, the parameters that they add, and the numbers
// that they start with, as torch draws them.
#include "model/adapters.h"

#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "support/paths.h"

namespace sft {
namespace {

Model tiny() {
  return Model::from_config(read_json(SFT_TEST_DIR "/golden/models/chatml/config.json"));
}

std::set<std::string> targets_of(const LoraConfig& config) {
  std::set<std::string> out;
  for (const AdapterTarget& t : find_targets(tiny(), config)) {
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
       {named({"proj"}), expressed("q_proj"), named({"lm_head"}), expressed("(unclosed")}) {
    EXPECT_THROW(find_targets(tiny(), none), Error);
  }
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
  const std::vector<AdapterTarget> targets = find_targets(model, patterns);
  for (const AdapterTarget& t : targets) {
    const bool k = t.module.ends_with("k_proj");
    EXPECT_EQ(t.rank, k ? 2 : 4);
    EXPECT_EQ(t.scale, k ? 4.0F : t.module == "model.layers.1.self_attn.v_proj" ? 1.5F : 2.0F);
  }
  add_adapters(model, targets, 0.0);
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
  const std::vector<AdapterTarget> targets = find_targets(model, named({"k_proj"}));
  const auto stored = [](const std::string& name) -> std::optional<DType> {
    return name.ends_with("up_proj.weight")           ? DType::q4_k
           : name.find("gate") != std::string::npos   ? DType::q6_k
           : name.find("q_proj") != std::string::npos ? std::optional(DType::bf16)
                                                      : std::nullopt;
  };
  add_adapters(model, targets, 0.0, stored);
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(
      model.parts.at(layer + "mlp.gate_up_proj.weight"),
      (std::vector<std::string>{layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight"}));
  EXPECT_EQ(model.parts.at(layer + "self_attn.qkv_proj.weight").size(), 3U);  // of two types
  EXPECT_FALSE(model.parts.contains(layer + "self_attn.o_proj.weight"));
  EXPECT_TRUE(model.adapters.contains(layer + "self_attn.qkv_proj.weight"));
  EXPECT_EQ(count_parameters(model.frozen), count_parameters(tiny().trained));
  add_adapters(model, targets, 0.0, [](const std::string&) { return DType::bf16; });
  EXPECT_TRUE(model.parts.empty());
}

TEST(Adapters, a_base_is_packed_with_and_without_adapters_there) {
  const std::vector<AdapterTarget> targets = find_targets(tiny(), named({"q_proj", "v_proj"}));
  const Model fresh = with_packed_base(tiny(), targets, DType::nf4);
  Model given = tiny();
  add_adapters(given, targets, 0.0, [](const std::string&) { return DType::bf16; });
  const Model again = with_packed_base(given, {}, DType::nf4);
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
  const auto drawn = draw_adapters(find_targets(tiny(), c), 42);
  const auto first = [&](const char* module) {
    const std::vector<float>& a = drawn.at(adapter_tensor(module, 'A'));
    return std::vector<float>(a.begin(), a.begin() + 3);
  };
  EXPECT_EQ(
      first("model.layers.0.self_attn.q_proj"),
      (std::vector<float>{0.13047756254673004F, 0.17542420327663422F, -0.020207751542329788F}));
  EXPECT_EQ(
      first("model.layers.0.self_attn.v_proj"),
      (std::vector<float>{-0.08337794244289398F, 0.07502388954162598F, -0.13600285351276398F}));
  for (const float b : drawn.at(adapter_tensor("model.layers.1.self_attn.v_proj", 'B'))) {
    EXPECT_EQ(b, 0.0F);
  }
}

TEST(LoraConfigs, what_peft_writes_is_read_and_written) {
  const Json peft = Json::parse(R"({"peft_type": "LORA", "r": 4, "lora_alpha": 32, "lora_dropout":
    0.05, "target_modules": ["v_proj", "q_proj"], "bias": "none", "use_rslora": true, "use_dora":
    false, "loftq_config": {}, "modules_to_save": null, "rank_pattern": {"k_proj": 2},
    "base_model_name_or_path": "base"})");
  const LoraConfig c = LoraConfig::from_json(peft, "adapter_config.json");
  EXPECT_EQ(c.r, 4);
  EXPECT_EQ(c.alpha, 32);
  EXPECT_EQ(c.dropout, 0.05);
  EXPECT_TRUE(c.rslora);
  EXPECT_EQ(c.base_model, "base");
  const Json again = c.to_json(c.target_modules);
  for (const char* key : {"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules",
                          "use_rslora", "rank_pattern", "base_model_name_or_path"}) {
    EXPECT_EQ(again.at(key), peft.at(key)) << key;
  }
  for (const auto& [key, value] : {std::pair<const char*, Json>{"use_dora", true},
                                   {"bias", "all"},
                                   {"peft_type", "IA3"},
                                   {"r", 0},
                                   {"r", 2.5},
                                   {"lora_dropout", 1.5},
                                   {"modules_to_save", Json::array({"lm_head"})},
                                   {"rank_pattern", 3},
                                   {"target_modules", 3},
                                   {"layers_to_transform", "a"}}) {
    Json wrong = peft;
    wrong[key] = value;
    EXPECT_THROW(LoraConfig::from_json(wrong, "adapter_config.json"), Error) << key;
  }
}

}  // namespace
}  // namespace sft
