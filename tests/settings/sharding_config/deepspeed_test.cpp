// DeepSpeed's JSON against the flags, and what of it reaches the options of a run.
#include "settings/sharding_config/deepspeed.h"
#include "support/paths.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "settings/train_options.h"

namespace sft {
namespace {

using Args = std::vector<std::string>;

Error error_of(const Json& json, const Args& flags = {}, int64_t world = 1) {
  try {
    TrainOptions options = read_train_options(flags);
    apply_deepspeed(options, {"ds.json", json}, world);
  } catch (const Error& error) {
    return error;
  }
  return Error("X000", "nothing was thrown");
}

TrainOptions applied(const Json& json, const Args& flags = {}, int64_t world = 1) {
  TrainOptions options = read_train_options(flags);
  apply_deepspeed(options, {"ds.json", json}, world);
  return options;
}

bool says(const std::vector<std::string>& notes, const std::string& part) {
  for (const std::string& note : notes) {
    if (note.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

TEST(DeepSpeed, TheTutorialsCommand) {
  const TrainOptions o = read_train_options(Args{"--model_name_or_path",
                                                 "Qwen/Qwen2.5-3B",
                                                 "--dataset_name",
                                                 "BAAI/Infinity-Instruct",
                                                 "--dataset_config",
                                                 "0625",
                                                 "--do_train",
                                                 "--learning_rate",
                                                 "1e-5",
                                                 "--lr_scheduler_type",
                                                 "cosine_with_min_lr",
                                                 "--lr_scheduler_kwargs",
                                                 R"({"min_lr": 0})",
                                                 "--warmup_steps",
                                                 "40",
                                                 "--weight_decay",
                                                 "0.0",
                                                 "--max_grad_norm",
                                                 "1.0",
                                                 "--adam_beta1",
                                                 "0.9",
                                                 "--adam_beta2",
                                                 "0.95",
                                                 "--per_device_train_batch_size",
                                                 "11",
                                                 "--gradient_accumulation_steps",
                                                 "6",
                                                 "--gradient_checkpointing",
                                                 "--gradient_checkpointing_kwargs",
                                                 R"({"use_reentrant": false})",
                                                 "--num_train_epochs",
                                                 "3",
                                                 "--use_liger",
                                                 "--deepspeed",
                                                 SFT_TEST_DIR "/../examples/ds-config.json",
                                                 "--output_dir",
                                                 "out",
                                                 "--report_to",
                                                 "wandb",
                                                 "--run_name",
                                                 "my-second-sft-exp"});
  EXPECT_EQ(o.sharding.zero_stage, 2);
  EXPECT_FALSE(o.sharding.overlap_comm);
  EXPECT_EQ(o.sharding.zero_shard_group, 0);
  EXPECT_EQ(o.optim.lr_scheduler_type, "cosine_with_min_lr");
  EXPECT_EQ(o.report_to, std::vector<std::string>{"wandb"});
  EXPECT_EQ(o.recompute(), "block");
  EXPECT_FALSE(o.wants_bf16().has_value());
  EXPECT_TRUE(says(o.notes, "bfloat16 where the device has it"));
  EXPECT_TRUE(says(o.notes,
                   "without effect here: zero_optimization.allgather_bucket_size, "
                   "zero_optimization.reduce_bucket_size, zero_optimization.allgather_partitions, "
                   "zero_optimization.reduce_scatter, zero_optimization.contiguous_gradients, "
                   "zero_optimization.round_robin_gradients, wall_clock_breakdown"));
}

TEST(DeepSpeed, AllMismatchesAreOneError) {
  const Error e = error_of(
      {{"train_micro_batch_size_per_gpu", 4},
       {"gradient_accumulation_steps", 3},
       {"train_batch_size", 96},
       {"gradient_clipping", 0.5},
       {"optimizer",
        {{"type", "AdamW"},
         {"params", {{"lr", 3e-5}, {"betas", {0.9, 0.95}}, {"eps", 1e-6}, {"weight_decay", 0.1}}}}},
       {"fp16", {{"enabled", true}}}},
      {"--per_device_train_batch_size", "8"}, 4);
  EXPECT_EQ(e.code().text(), "C124");
  for (const char* part :
       {"in 9 values", "train_micro_batch_size_per_gpu is 4, per_device_train_batch_size is 8",
        "gradient_accumulation_steps is 3, gradient_accumulation_steps is 1",
        "train_batch_size is 96, per_device_train_batch_size x gradient_accumulation_steps x 4 "
        "ranks is 32",
        "gradient_clipping is 0.5, max_grad_norm is 1", "optimizer.params.lr is 3e-05",
        "optimizer.params.betas", "optimizer.params.eps", "weight_decay is 0.1",
        "fp16.enabled is true, fp16 is false"}) {
    EXPECT_NE(e.message().find(part), std::string::npos) << part << "\n" << e.message();
  }
}

TEST(DeepSpeed, EqualValuesAndAutoAreTaken) {
  const TrainOptions o = applied({{"train_batch_size", 64},
                                  {"train_micro_batch_size_per_gpu", "auto"},
                                  {"gradient_clipping", 1},
                                  {"bf16", {{"enabled", true}}},
                                  {"fp16", {{"enabled", false}, {"loss_scale", 0}}}},
                                 {"--gradient_accumulation_steps", "2"}, 4);
  EXPECT_EQ(o.wants_bf16(), true);
  EXPECT_EQ(error_of({{"bf16", {{"enabled", false}}}}, {"--bf16"}).code().text(), "C124");
  EXPECT_EQ(applied({{"bf16", {{"enabled", "auto"}}}}, {"--bf16"}).wants_bf16(), true);
  EXPECT_EQ(applied({{"bf16", {{"enabled", false}}}}).wants_bf16(), false);
}

TEST(DeepSpeed, UnknownKeysAreNamedTogetherWithTheNearest) {
  const Error e = error_of({{"zero_optimisation", {{"stage", 2}}},
                            {"zero_optimization", {{"stag", 2}, {"gradient_clipping", 1}}},
                            {"nonsense_of_mine", 1}});
  EXPECT_EQ(e.code().text(), "C122");
  EXPECT_NE(e.message().find("zero_optimisation (did you mean zero_optimization?)"),
            std::string::npos);
  EXPECT_NE(e.message().find("zero_optimization.stag (did you mean zero_optimization.stage?)"),
            std::string::npos);
  EXPECT_NE(e.message().find("zero_optimization.gradient_clipping (did you mean gradient_clipping"),
            std::string::npos);
  EXPECT_NE(e.message().find("nonsense_of_mine"), std::string::npos);
}

TEST(DeepSpeed, WrongValuesAreRefused) {
  for (const Json& json : std::vector<Json>{
           {{"zero_optimization", {{"stage", "two"}}}},
           {{"zero_optimization", {{"stage", 4}}}},
           {{"zero_optimization", {{"stage", 1.5}}}},
           {{"train_batch_size", 0}},
           {{"gradient_accumulation_steps", -2}},
           {{"optimizer", {{"type", "Lamb"}}}},
           {{"scheduler", {{"type", "OneCycle"}}}},
       }) {
    EXPECT_EQ(error_of(json).code().text(), "C123") << json;
  }
  for (const Json& json : std::vector<Json>{
           {{"zero_optimization", {{"stage", 0}, {"offload_optimizer", {{"device", "cpu"}}}}}},
           {{"zero_optimization", {{"stage", 2}, {"offload_param", {{"device", "cpu"}}}}}},
           {{"zero_optimization", {{"stage", 2}, {"mics_shard_size", 8}}}},
       }) {
    EXPECT_EQ(error_of(json).code().text(), "C128") << json;
  }
  for (const Json& json : std::vector<Json>{
           {{"optimizer", Json::object()}},
           {{"scheduler", Json::object()}},
           {{"scheduler", {{"type", "WarmupDecayLR"}}}},
       }) {
    EXPECT_EQ(error_of(json).code().text(), "C129") << json;
  }
  for (const Json& json : std::vector<Json>{
           {{"tensor_parallel", {{"autotp_size", 2}}}},
           {{"elasticity", {{"enabled", true}}}},
           {{"optimizer", {{"type", "Adam"}, {"params", {{"adam_w_mode", false}}}}}},
           {{"zero_optimization", {{"stage", 3}, {"zero_quantized_weights", true}}}},
           {{"zero_optimization", {{"stage", 3}, {"offload_param", {{"device", "nvme"}}}}}},
       }) {
    EXPECT_EQ(error_of(json).code().text(), "C125") << json;
  }
  EXPECT_EQ(error_of({{"elasticity", {{"enabled", false}}}}).code().text(), "X000");
  EXPECT_EQ(error_of({{"optimizer", {{"type", "Adam"}, {"params", {{"adam_w_mode", true}}}}}})
                .code()
                .text(),
            "X000");  // nothing was thrown
}

TEST(DeepSpeed, StateGoesToTheHostsMemory) {
  const Json cpu = {{"device", "cpu"}};
  const auto sharding = [](const Json& zero) {
    return applied({{"zero_optimization", zero}}).sharding;
  };
  EXPECT_TRUE(sharding({{"stage", 2}, {"offload_optimizer", cpu}}).offload_optimizer);
  EXPECT_FALSE(sharding({{"stage", 2}, {"offload_optimizer", cpu}}).offload_param);
  EXPECT_TRUE(sharding({{"stage", 3}, {"offload_param", cpu}}).offload_param);
  EXPECT_FALSE(sharding({{"stage", 3}, {"offload_param", {{"device", "none"}}}}).offload_param);
}

TEST(DeepSpeed, OlderNamesAreMapped) {
  const TrainOptions o = applied({{"bfloat16", {{"enabled", true}}},
                                  {"zero_optimization", {{"stage", 2}, {"cpu_offload", false}}}});
  EXPECT_EQ(o.wants_bf16(), true);
  EXPECT_TRUE(says(o.notes, "bfloat16 is now bf16"));
  EXPECT_TRUE(says(o.notes, "cpu_offload is now zero_optimization.offload_optimizer"));
  EXPECT_EQ(applied({{"zero_optimization", true}}).sharding.zero_stage, 1);
  EXPECT_FALSE(o.sharding.offload_optimizer);
  EXPECT_TRUE(applied({{"zero_optimization", {{"stage", 2}, {"cpu_offload", true}}}})
                  .sharding.offload_optimizer);
}

TEST(DeepSpeed, HybridGroups) {
  const auto group = [](const char* key, int64_t size) {
    return applied({{"zero_optimization", {{"stage", 3}, {key, size}}}}).sharding.zero_shard_group;
  };
  EXPECT_EQ(group("zero_hpz_partition_size", 8), 8);
  EXPECT_EQ(group("mics_shard_size", 4), 4);
  EXPECT_EQ(error_of({{"zero_optimization", {{"stage", 3}}}}, {"--zero_stage", "2"}).code().text(),
            "C124");
}

TEST(DeepSpeed, SchedulesReplaceTheFlags) {
  const TrainOptions o = applied({{"scheduler",
                                   {{"type", "WarmupLR"},
                                    {"params",
                                     {{"warmup_min_lr", "auto"},
                                      {"warmup_max_lr", "auto"},
                                      {"warmup_num_steps", 7},
                                      {"warmup_type", "linear"}}}}}},
                                 {"--lr_scheduler_type", "cosine"});
  EXPECT_EQ(o.optim.lr_scheduler_type, "deepspeed_warmup");
  EXPECT_EQ(o.optim.lr_scheduler_kwargs,
            (Json{{"warmup_num_steps", 7}, {"warmup_type", "linear"}}));
  EXPECT_TRUE(says(o.notes, "--lr_scheduler_type cosine does not count"));
  EXPECT_EQ(applied({{"scheduler", {{"type", "WarmupLR"}}}})
                .optim.lr_scheduler_kwargs["warmup_num_steps"],
            1000);
  const TrainOptions decay =
      applied({{"scheduler",
                {{"type", "WarmupDecayLR"},
                 {"params", {{"total_num_steps", 50}, {"warmup_num_steps", "auto"}}}}}});
  EXPECT_FALSE(decay.optim.lr_scheduler_kwargs.contains("warmup_num_steps"));
  EXPECT_EQ(
      error_of({{"scheduler", {{"type", "WarmupDecayLR"}, {"params", {{"total_num_steps", 50}}}}}},
               {"--max_steps", "40"})
          .code()
          .text(),
      "C124");
  TrainOptions checked = decay;
  checked.distributed.deepspeed = "x";
  EXPECT_THROW(check_deepspeed_steps(checked, 51), Error);
  EXPECT_NO_THROW(check_deepspeed_steps(checked, 50));
}

TEST(DeepSpeed, TextIsAPathJsonOrBase64) {
  EXPECT_EQ(read_config_json(R"({"a": 1, // why
    "b": 2})",
                             "--deepspeed")
                .value["b"],
            2);
  EXPECT_EQ(read_config_json("eyJ6ZXJvX29wdGltaXphdGlvbiI6IHsic3RhZ2UiOiAyfX0=", "--deepspeed")
                .value["zero_optimization"]["stage"],
            2);
  const auto code = [](const std::string& text) {
    try {
      read_config_json(text, "--deepspeed");
    } catch (const Error& error) {
      return std::string(error.code().text());
    }
    return std::string();
  };
  EXPECT_EQ(code("no-such-file.json"), "C120");
  EXPECT_EQ(code("{\"a\": }"), "C120");
  EXPECT_EQ(code("{\"a\": 1e999}"), "C120");
  EXPECT_EQ(code("{\"a\": " + std::string(2000, '[') + std::string(2000, ']') + "}"), "C120");
  EXPECT_EQ(code("W10="), "C120");  // base64 of []
  EXPECT_EQ(code(R"({"a": {"b": 1, "b": 2}})"), "C024");
  EXPECT_EQ(code(R"({"a": {"b": 1}, "c": {"b": 2}})"), "");
}

// To accept a change: build/sft help deepspeed > docs/deepspeed.md
TEST(DeepSpeed, EveryDefaultIsJsonAndEveryTypeKnown) {
  for (const ConfigKey& key : deepspeed_keys()) {
    if (!key.default_value.empty()) {
      EXPECT_NO_THROW(Json::parse(key.default_value)) << key.path;
    }
  }
}

}  // namespace
}  // namespace sft
