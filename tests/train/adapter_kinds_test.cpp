// Every kind of adapter with everything that a run can be: recomputation, accumulation, ranks and
// stages, evaluation and resuming change nothing, to the bit where the same sums are made.
#include "small_runs.h"

namespace sft {
namespace {

struct Kind {
  const char* name;
  const char* config;  // --lora_config
  double dropout = 0.0;
  bool dora = false;
  const char* model = "qwen2";
};

constexpr const char* kExperts =
    R"({"target_modules": ["q_proj", "v_proj"],
        "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]})";

constexpr const char* kExpertsOfLayers =
    R"({"target_modules": ["q_proj", "v_proj", "router.proj"],
        "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]})";

const Kind kKinds[] = {
    {"lora", "{}", 0.3},
    {"dora", R"({"rank_pattern": {"v_proj": 2}})", 0.0, true},
    {"dora that drops", "{}", 0.3, true},
    {"whole modules", R"({"modules_to_save": ["embed_tokens", "norm", "k_proj"]})", 0.2},
    {"a whole head", R"({"modules_to_save": ["lm_head", "down_proj"], "bias": "all"})", 0.0, true},
    {"tables", R"({"target_modules": ["embed_tokens", "lm_head", "q_proj"]})", 0.2},
    {"dora on tables", R"({"target_modules": ["embed_tokens", "q_proj"]})", 0.2, true},
    {"words", R"({"trainable_token_indices": [1, 5, 9], "bias": "lora_only"})", 0.2, true},
    {"pissa", R"({"init_lora_weights": "pissa"})", 0.2},
    {"olora", R"({"init_lora_weights": "olora"})", 0.0, true},
    {"experts", "{}", 0.0, false, "qwen3_moe"},
    {"experts as one", kExperts, 0.0, false, "gpt_oss"},
    {"experts in MXFP4", kExperts, 0.0, false, "../../io/golden/quantised/mxfp4"},
    {"experts beside one for all", "{}", 0.0, false, "glm4_moe"},
    {"experts beside a gated one", "{}", 0.0, false, "qwen3_next"},
    {"experts beside an MLP", kExpertsOfLayers, 0.0, false, "gemma4_experts"},
    {"words of layers", R"({"modules_to_save": ["embed_tokens_per_layer"]})", 0.2, true, "gemma4"},
};

TrainOptions run_of(const Kind& kind, const std::string& folder) {
  TrainOptions o = small_run(fresh_folder(folder));
  o.model.model_name_or_path = (kModel.parent_path() / kind.model).string();
  o.model.use_peft = true;
  o.model.lora_r = 4;
  o.model.lora_alpha = 16;
  o.model.lora_dropout = kind.dropout;
  o.model.use_dora = kind.dora;
  o.model.lora_config = Json::parse(kind.config);
  if (!o.model.lora_config.contains("target_modules")) {
    o.model.lora_target_modules = {"all-linear"};
  }
  o.max_steps = 6;
  o.per_device_train_batch_size = 6;
  return o;
}

class AdapterKinds : public ::testing::TestWithParam<Kind> {};

// With SFT_TEST_CUDA on the GPU, in bfloat16.
TEST_P(AdapterKinds, neither_recomputation_nor_offloading_changes_a_bit) {
  expect_same_under_every_policy(run_of(GetParam(), "recomputed"));
}

TEST_P(AdapterKinds, threads_micro_batches_and_ranks_change_no_more_than_rounding) {
  const Rows rows(40);
  TrainOptions o = run_of(GetParam(), "parted");
  if (std::string_view(GetParam().name).starts_with("experts")) {
    o.model.router_aux_loss_coef = 0;  // that loss is of each micro-batch by itself
  }
  const RunResult one = run_one(o, rows);
  for (const int ranks : {1, 2, 3}) {
    SCOPED_TRACE(ranks);
    o.per_device_train_batch_size = 1;
    o.gradient_accumulation_steps = 6 / ranks;
    EXPECT_LT(relative_distance(one.weights, run_ranks(ranks, o, rows)[0].weights), 2e-5);
  }
}

// At any stage, in groups, and going on from a checkpoint: the same bits with the same ranks.
TEST_P(AdapterKinds, stages_and_resuming_change_no_bit) {
  const Rows rows(40), eval(5);
  TrainOptions o = run_of(GetParam(), "staged");
  o.per_device_train_batch_size = 2;
  o.gradient_accumulation_steps = 2;
  o.sharding.reduce_gradients = "micro_batch";
  const RunResult whole = run_ranks(2, o, rows)[0];
  for (const int64_t stage : {0, 1, 2, 3}) {
    SCOPED_TRACE(stage);
    TrainOptions part = o;
    part.output_dir = fresh_folder("staged_part").string();
    part.sharding.zero_stage = stage;
    part.sharding.reduce_gradients = stage < 2 ? "micro_batch" : "auto";
    part.save_strategy = "steps";
    part.save_steps = 3;
    part.eval_strategy = "steps";
    part.eval_steps = 3;
    part.load_best_model_at_end = false;
    EXPECT_EQ(whole.weights, run_ranks(2, part, rows, {.eval = &eval})[0].weights);
    RunSetup again{.resume_from = (fs::path(part.output_dir) / "checkpoint-3").string(),
                   .eval = &eval};
    part.save_strategy = "no";
    EXPECT_EQ(whole.weights, run_ranks(2, part, rows, again)[0].weights);
    // On one rank the same rows are four micro-batches, not two times two.
    part.gradient_accumulation_steps = 4;
    part.sharding.zero_stage = 0;
    EXPECT_LT(relative_distance(whole.weights, run_ranks(1, part, rows, again)[0].weights), 2e-5);
  }
}

TEST_P(AdapterKinds, groups_of_ranks_change_no_more_than_rounding) {
  const Rows rows(40);
  TrainOptions o = run_of(GetParam(), "grouped");
  o.per_device_train_batch_size = 2;
  const RunResult whole = run_ranks(4, o, rows)[0];
  o.sharding.zero_shard_group = 2;
  o.sharding.zero_stage = 3;
  EXPECT_LT(relative_distance(whole.weights, run_ranks(4, o, rows)[0].weights), 2e-5);
}

// Every kind learns: the loss of the last steps is below that of the first.
TEST_P(AdapterKinds, learns) {
  const Rows rows(12);
  TrainOptions o = run_of(GetParam(), "learning");
  o.max_steps = 30;
  o.per_device_train_batch_size = 12;
  o.optim.learning_rate = 5e-3;
  const Json log = run_one(o, rows).log;
  EXPECT_LT(log[log.size() - 2]["loss"].get<double>(), log[0]["loss"].get<double>() - 0.02);
}

// With more loss as the better one the first evaluation is the best and the second ends the run.
TEST_P(AdapterKinds, the_best_model_and_an_early_end_are_those_of_a_run_that_ends_there) {
  const Rows rows(12), eval(5);
  TrainOptions o = run_of(GetParam(), "early");
  o.optim.lr_scheduler_type = "constant";
  o.optim.learning_rate = 5e-3;
  TrainOptions shorter = o;
  o.max_steps = 30;
  o.eval_strategy = o.save_strategy = "steps";
  o.eval_steps = o.save_steps = 10;
  o.metric_for_best_model = "loss";
  o.greater_is_better = true;
  o.report.early_stopping_patience = 1;
  const auto ends_as = [&](int64_t step) {
    shorter.max_steps = step;
    EXPECT_EQ(run_one(shorter, rows).weights, run_one(o, rows, {.eval = &eval}).weights);
  };
  ends_as(20);
  o.output_dir = fresh_folder("best").string();
  o.load_best_model_at_end = true;
  ends_as(10);
}

// Gradients are scaled in float16: what is learned is that of float32 but for rounding, and for
// steps that are skipped while the scale is found; a run that goes on has the bits of one that was
// never stopped.
TEST_P(AdapterKinds, float16_trains_the_same_and_goes_on_to_the_bit) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const Rows rows(40);
  TrainOptions o = run_of(GetParam(), "float16");
  RunSetup setup{.gpu = true};
  setup.cache = fresh_folder("float16_cache");  // products choose once
  o.bf16 = false;
  const RunResult wide = run_one(o, rows, setup);
  o.fp16 = true;
  o.save_strategy = "steps";
  o.save_steps = 3;
  const RunResult narrow = run_one(o, rows, setup);
  EXPECT_LT(relative_distance(wide.weights, narrow.weights), 2e-2);
  const auto loss = [](const RunResult& r) { return r.log[4]["loss"].get<double>(); };
  EXPECT_NEAR(loss(narrow), loss(wide), narrow.outcome.skipped_steps == 0 ? 5e-3 : 2e-2);
  setup.resume_from = (fs::path(o.output_dir) / "checkpoint-3").string();
  o.save_strategy = "no";
  EXPECT_EQ(narrow.weights, run_one(o, rows, setup).weights);
}

// Rows of the table are read in the host's memory.
TEST(Adapters, a_table_in_the_hosts_memory_changes_no_bit) {
  if (std::getenv("SFT_TEST_CUDA") == nullptr) {
    GTEST_SKIP() << "SFT_TEST_CUDA is not set";
  }
  const Rows rows(40);
  TrainOptions o = run_of({"untied", "{}", 0.3, false, "llama3"}, "embeddings");
  const RunSetup setup{.gpu = true, .cache = fresh_folder("embeddings_cache")};
  for (const bool packed : {false, true}) {
    o.model.load_in_4bit = packed;
    o.sharding.offload_embeddings = false;
    const RunResult there = run_one(o, rows, setup);
    o.sharding.offload_embeddings = true;
    EXPECT_EQ(there.weights, run_one(o, rows, setup).weights);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AdapterKinds, ::testing::ValuesIn(kKinds), [](const auto& test) {
  std::string name = test.param.name;
  std::ranges::replace(name, ' ', '_');
  return name;
});

}  // namespace
}  // namespace sft
