// The routers' auxiliary loss in a model's program, and what must not change it. Its value and its
// part of training are compared with TRL's in tests/golden (experts*.json).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "model/adapters.h"
#include "support/paths.h"
#include "support/tiny_run.h"

namespace sft::testing {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(SFT_TEST_DIR) / "model" / "golden";

struct Balanced {
  float loss = 0, auxiliary = 0;
  std::vector<float> gradients;
};

class Experts : public ::testing::TestWithParam<const char*> {
 protected:
  Experts() : run(kGolden / GetParam()), json(read_json(kGolden / GetParam() / "expected.json")) {
    for (const Json& d : json["documents"]) {
      documents.push_back(
          {d["input_ids"].get<std::vector<int32_t>>(), d["labels"].get<std::vector<int32_t>>()});
    }
    run.set_documents(documents);
  }

  Balanced train(MemoryPolicy memory = {}) {
    BatchSize size = run.size();
    size.balance = true;
    auto recorded = record_training(run.model, size, LossType::nll, true, memory);
    run.bindings.inputs["balance_scale"] = {&scale, {1}, DType::f32};
    Executor executor(*run.device, run.arena, std::move(recorded.program));
    executor.run(run.bindings);
    const float* const gradients = run.gradients.f32();
    return {executor.tensor(recorded.stats).f32()[0],
            executor.tensor(recorded.balance_loss).f32()[0],
            {gradients, gradients + run.model.layout.elements}};
  }

  TinyRun run;
  Json json;
  std::vector<Document> documents;
  float scale = 0.3F;
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    norm += double{a[i]} * a[i];
  }
  return std::sqrt(error / norm);
}

TEST_P(Experts, recompute_changes_no_bit_of_the_auxiliary_loss_and_its_gradients) {
  const Balanced plain = train();
  EXPECT_GT(plain.auxiliary, 1.0F);
  scale = 0.0F;
  EXPECT_GT(distance(plain.gradients, train().gradients), 1e-4);
  scale = 0.3F;
  for (const Recompute recompute : {Recompute::norms, Recompute::mlp, Recompute::block}) {
    const Balanced again = train(recompute);
    EXPECT_EQ(again.auxiliary, plain.auxiliary);
    EXPECT_EQ(again.gradients, plain.gradients) << name_of(recompute);
  }
}

// It is about all tokens of the documents: those without a label count, those that fill a program's
// size do not.
TEST_P(Experts, the_auxiliary_loss_is_about_the_documents_tokens) {
  const Balanced plain = train();
  run.set_documents(documents, 96);
  const Balanced padded = train();
  EXPECT_NEAR(padded.auxiliary, plain.auxiliary, 1e-6);
  EXPECT_LT(distance(plain.gradients, padded.gradients), 2e-6);
  run.drop_untrained(40);
  const Balanced dropped = train();
  EXPECT_EQ(dropped.auxiliary, padded.auxiliary);
  EXPECT_NEAR(dropped.loss, plain.loss, 2e-6 * plain.loss);
  EXPECT_LT(distance(plain.gradients, dropped.gradients), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Golden, Experts,
                         ::testing::Values("qwen3_moe", "qwen3_moe_plain", "mixtral", "olmoe",
                                           "gpt_oss", "gpt_oss_plain", "qwen3_next",
                                           "qwen3_5_moe"));

// --- adapters -----------------------------------------------------------------------------------

Model mixture(const char* folder = "qwen3_moe") {
  return Model::from_config(read_json(kGolden / folder / "config.json"));
}

TEST(ExpertAdapters, all_linear_means_the_experts_and_the_routers_as_in_peft) {
  LoraConfig c;
  c.r = 4;
  c.target_expression = "all-linear";
  Model model = mixture();
  const AdapterPlan plan = plan_adapters(model, c);
  EXPECT_EQ(plan.config.target_parameters,
            (std::vector<std::string>{"down_proj", "gate.weight", "gate_up_proj"}));
  add_adapters(model, plan, c);
  const auto tensors = adapter_tensors(model);
  const std::string layer = "base_model.model.model.layers.1.";
  EXPECT_EQ(tensors.at(layer + "mlp.experts.base_layer.lora_A.weight"), (Shape{8 * 8, 32}));
  EXPECT_EQ(tensors.at(layer + "mlp.experts.base_layer.lora_B.weight"), (Shape{48, 8 * 8}));
  EXPECT_EQ(tensors.at(layer + "mlp.experts.lora_A.weight"), (Shape{4 * 8, 24}));
  EXPECT_EQ(tensors.at(layer + "mlp.experts.lora_B.weight"), (Shape{32, 4 * 8}));
  EXPECT_EQ(tensors.at(layer + "mlp.gate.lora_A.weight"), (Shape{4, 32}));
  EXPECT_EQ(tensors.at(layer + "self_attn.o_proj.lora_A.weight"), (Shape{4, 64}));
  // The MLP of a layer without experts drops out with the names of theirs.
  EXPECT_FALSE(tensors.contains("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"));
}

// gpt-oss's experts never were layers: their names mean nothing but as parameters.
TEST(ExpertAdapters, all_linear_leaves_out_experts_that_never_were_layers) {
  LoraConfig c;
  c.r = 4;
  c.target_expression = "all-linear";
  const AdapterPlan plan = plan_adapters(mixture("gpt_oss"), c);
  EXPECT_EQ(plan.targets.size(), 4U * 3);  // q, k, v and o of each layer
  EXPECT_TRUE(plan.config.target_parameters.empty());
  c.target_expression.reset();
  c.target_parameters = {"mlp.router.weight", "mlp.experts.gate_up_proj"};
  Model model = mixture("gpt_oss");
  add_adapters(model, plan_adapters(model, c), c);
  const auto tensors = adapter_tensors(model);
  const std::string layer = "base_model.model.model.layers.1.mlp.";
  EXPECT_EQ(tensors.at(layer + "experts.lora_A.weight"), (Shape{4 * 6, 32}));
  EXPECT_EQ(tensors.at(layer + "experts.lora_B.weight"), (Shape{96, 4 * 6}));
  EXPECT_EQ(tensors.at(layer + "router.lora_A.weight"), (Shape{4, 32}));
}

// Qwen3.5 is published with its experts in one tensor; the one for all tokens is layers.
TEST(ExpertAdapters, all_linear_means_an_expert_for_all_tokens_where_its_names_are_its_own) {
  LoraConfig c;
  c.r = 4;
  c.target_expression = "all-linear";
  const AdapterPlan apart = plan_adapters(mixture("qwen3_5_moe"), c);
  EXPECT_EQ(apart.targets.size(), 35U);
  EXPECT_TRUE(apart.config.target_parameters.empty());
  Model model = mixture("qwen3_5_moe");
  add_adapters(model, apart, c);
  const std::string block = "base_model.model.model.layers.1.mlp.";
  EXPECT_TRUE(adapter_tensors(model).contains(block + "shared_expert.up_proj.lora_A.weight"));
  // Qwen3-Next's were layers: the names that they share with the others go to these alone.
  const AdapterPlan shared = plan_adapters(mixture("qwen3_next"), c);
  EXPECT_EQ(shared.targets.size(), 25U);
  EXPECT_EQ(shared.config.target_parameters,
            (std::vector<std::string>{"down_proj", "gate.weight", "gate_up_proj"}));
  Model next = mixture("qwen3_next");
  add_adapters(next, shared, c);
  const auto tensors = adapter_tensors(next);
  const std::string third = "base_model.model.model.layers.2.mlp.";
  EXPECT_EQ(tensors.at(third + "shared_expert_gate.lora_B.weight"), (Shape{1, 4}));
  EXPECT_FALSE(tensors.contains(third + "shared_expert.up_proj.lora_A.weight"));
}

// Gemma 4's router is a layer, and its experts stand in the decoder layer itself.
TEST(ExpertAdapters, all_linear_means_a_router_that_is_a_layer) {
  LoraConfig c;
  c.r = 4;
  c.target_expression = "all-linear";
  // Three layers: q, k, o, three of the MLP, the router; v where values are not keys.
  const AdapterPlan plan = plan_adapters(mixture("gemma4_experts"), c);
  EXPECT_EQ(plan.targets.size(), 3U * 7 + 2);
  EXPECT_TRUE(plan.config.target_parameters.empty());
  c.target_expression.reset();
  c.target_modules = {"router.proj"};
  c.target_parameters = {"experts.gate_up_proj", "experts.down_proj"};
  Model model = mixture("gemma4_experts");
  add_adapters(model, plan_adapters(model, c), c);
  const auto tensors = adapter_tensors(model);
  const std::string layer = "base_model.model.model.layers.1.";
  EXPECT_EQ(tensors.at(layer + "router.proj.lora_B.weight"), (Shape{8, 4}));
  EXPECT_EQ(tensors.at(layer + "experts.base_layer.lora_A.weight"), (Shape{4 * 8, 32}));
  EXPECT_EQ(tensors.at(layer + "experts.lora_A.weight"), (Shape{4 * 8, 28}));
  c.target_parameters = {"mlp.experts.gate_up_proj"};
  try {
    plan_adapters(mixture("gemma4_experts"), c);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "C193");
    EXPECT_EQ(e.hint(), "--lora_target_parameters experts.gate_up_proj experts.down_proj");
  }
}

TEST(ExpertAdapters, one_parameter_is_wrapped_once) {
  LoraConfig c;
  c.target_parameters = {"mlp.experts.down_proj"};
  Model model = mixture("mixtral");
  add_adapters(model, plan_adapters(model, c), c);
  const auto tensors = adapter_tensors(model);
  EXPECT_EQ(tensors.size(), 4U);  // two layers' A and B: nothing else is adapted
  EXPECT_TRUE(tensors.contains("base_model.model.model.layers.0.mlp.experts.lora_A.weight"));
}

TEST(ExpertAdapters, what_experts_cannot_have_is_refused) {
  const auto refused = [](const LoraConfig& c) {
    try {
      plan_adapters(mixture(), c);
      return std::string("taken");
    } catch (const Error& e) {
      return std::string(e.code().text());
    }
  };
  LoraConfig c;
  c.target_parameters = {"mlp.experts.gate_up_proj"};
  EXPECT_EQ(refused(c), "taken");
  c.dropout = 0.1;
  EXPECT_EQ(refused(c), "C194");
  c.dropout = 0;
  c.dora = true;
  EXPECT_EQ(refused(c), "C194");
  c.dora = false;
  c.target_parameters = {"mlp.experts.no_such"};
  EXPECT_EQ(refused(c), "C193");
  c.target_parameters.clear();
  c.target_modules = {"up_proj"};  // it shares a parameter with gate_proj
  EXPECT_EQ(refused(c), "C194");
}

}  // namespace
}  // namespace sft::testing
