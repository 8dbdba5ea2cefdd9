// Models whose layers differ in their heads' sizes, look at keys of other layers, read words of
// their own, or have experts beside their MLPs (Gemma 4): under ZeRO, and as packed bases.
#include "small_runs.h"

namespace sft {
namespace {

constexpr const char* kModels[] = {"gemma4", "gemma4_published", "gemma4_keys", "gemma4_experts",
                                   "gemma4_experts_words"};

TrainOptions run_of(const char* model, const std::string& folder) {
  TrainOptions o = small_run(fresh_folder(folder));
  o.model.model_name_or_path = (kModel.parent_path() / model).string();
  o.per_device_train_batch_size = 2;
  o.gradient_accumulation_steps = 2;
  o.max_steps = 6;
  o.sharding.reduce_gradients = "micro_batch";
  return o;
}

// Two ranks at each stage, which also go on from a checkpoint in the middle.
void expect_same_at_every_stage(const TrainOptions& o) {
  const Rows rows(40);
  const RunResult whole = run_ranks(2, o, rows)[0];
  for (const int64_t stage : {1, 2, 3}) {
    SCOPED_TRACE(stage);
    TrainOptions part = o;
    part.output_dir = fresh_folder("uneven_part").string();
    part.sharding.zero_stage = stage;
    part.sharding.reduce_gradients = stage == 1 ? "micro_batch" : "auto";
    part.save_strategy = "steps";
    part.save_steps = 3;
    const RunResult parts = run_ranks(2, part, rows)[0];
    EXPECT_EQ(whole.weights, parts.weights);
    EXPECT_EQ(without_times(whole.log), without_times(parts.log));
    const RunSetup again{.resume_from = (fs::path(part.output_dir) / "checkpoint-3").string()};
    part.save_strategy = "no";
    EXPECT_EQ(whole.weights, run_ranks(2, part, rows, again)[0].weights);
  }
}

TEST(UnevenLayers, are_shared_out_as_all_layers) {
  for (const char* model : kModels) {
    SCOPED_TRACE(model);
    expect_same_at_every_stage(run_of(model, "uneven"));
  }
}

ModelOptions on_base(ModelOptions o, const char* type) {
  o.use_peft = true;
  o.lora_r = 4;
  o.lora_alpha = 16;
  o.lora_target_modules = {"all-linear"};
  const std::string_view name = type;
  o.load_in_4bit = name == "nf4";
  o.load_in_8bit = name == "int8";
  o.base_dtype = name == "fp8" ? "fp8" : o.base_dtype;
  return o;
}

// Adapters on all linear layers over a base that is packed. With SFT_TEST_CUDA recomputation is
// tried on the GPU, in bfloat16.
TEST(UnevenLayers, can_be_packed_beneath_adapters) {
  for (const char* model : kModels) {
    for (const char* type : {"nf4", "int8", "fp8"}) {
      SCOPED_TRACE(fmt::format("{} in {}", model, type));
      TrainOptions o = run_of(model, "uneven_packed");
      o.max_steps = 4;
      o.model = on_base(o.model, type);
      expect_same_under_every_policy(o);
      if (std::string_view(type) == "nf4") {
        o.max_steps = 6;
        expect_same_at_every_stage(o);
      }
    }
  }
}

// Packing rounds the base and nothing else: the first loss is near that of the base as it is.
TEST(UnevenLayers, packed_ones_have_nearly_the_same_loss) {
  const Rows rows(40);
  for (const char* model : kModels) {
    const auto first_loss = [&](const char* type) {
      TrainOptions o = run_of(model, "uneven_loss");
      o.max_steps = 1;
      o.model = on_base(o.model, type);
      return run_one(o, rows).log[0]["loss"].get<double>();
    };
    const double plain = first_loss("none");
    EXPECT_NEAR(first_loss("nf4"), plain, 0.05) << model;
    EXPECT_NEAR(first_loss("int8"), plain, 0.01) << model;
    EXPECT_NEAR(first_loss("fp8"), plain, 0.03) << model;
    EXPECT_NE(first_loss("nf4"), plain) << model;
  }
}

}  // namespace
}  // namespace sft
