// A model's experts under ZeRO, and under an optimizer that takes matrices.
#include "small_runs.h"

namespace sft {
namespace {

TrainOptions expert_run(const char* family) {
  TrainOptions o = small_run(fresh_folder("experts"));
  o.model.model_name_or_path = (kModel.parent_path() / family).string();
  o.per_device_train_batch_size = 2;
  o.gradient_accumulation_steps = 2;
  return o;
}

// Experts are parameters like any other: each rank has its part of all of them. The routers'
// auxiliary loss is about a micro-batch, so that one rank with as many micro-batches has the same.
TEST(ExpertSharding, experts_are_shared_out_like_all_weights) {
  const Rows rows(40);
  for (const char* family : {"qwen3_moe", "mixtral", "olmoe", "gpt_oss", "glm4_moe", "qwen3_next",
                             "qwen3_5_moe", "gemma4_experts"}) {
    SCOPED_TRACE(family);
    TrainOptions o = expert_run(family);
    o.sharding.reduce_gradients = "micro_batch";
    const RunResult whole = run_ranks(2, o, rows)[0];
    for (const int64_t stage : {1, 2, 3}) {
      SCOPED_TRACE(stage);
      TrainOptions part = o;
      part.sharding.zero_stage = stage;
      part.sharding.reduce_gradients = stage == 1 ? "micro_batch" : "auto";
      const RunResult parts = run_ranks(2, part, rows)[0];
      EXPECT_EQ(whole.weights, parts.weights);
      EXPECT_EQ(without_times(whole.log), without_times(parts.log));
    }
    o.gradient_accumulation_steps = 4;
    const RunResult one = run_one(o, rows);
    for (size_t i = 0; i < 8; ++i) {
      for (const char* key : {"loss", "grad_norm"}) {
        EXPECT_NEAR(whole.log[i][key].get<double>(), one.log[i][key].get<double>(), 2e-4) << i;
      }
    }
    EXPECT_LT(relative_distance(whole.weights, one.weights), 2e-4);
  }
}

TEST(ExpertSharding, adafactor_is_refused_where_a_tensor_holds_several_matrices) {
  const Rows rows(8);
  TrainOptions o = expert_run("gpt_oss");
  o.optim.optim = "adafactor";
  try {
    run_one(o, rows);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code().text(), "C182");
    EXPECT_NE(e.message().find("gate_up_proj"), std::string::npos) << e.message();
  }
  o.model.use_peft = true;  // their adapters are matrices
  o.model.lora_target_modules = {"q_proj", "v_proj"};
  EXPECT_NO_THROW(run_one(o, rows));
}

}  // namespace
}  // namespace sft
