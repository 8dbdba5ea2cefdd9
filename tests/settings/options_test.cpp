#include "settings/train_options.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "run/choose_device.h"
#include "settings/nested_options.h"

namespace sft {
namespace {

using Args = std::vector<std::string>;

std::string code(const Args& args) {
  try {
    read_train_options(args);
  } catch (const Error& error) {
    return std::string(error.code().text());
  }
  return "";
}

bool has_note(const TrainOptions& options, const std::string& part) {
  for (const std::string& note : options.notes) {
    if (note.find(part) != std::string::npos) {
      return true;
    }
  }
  return false;
}

TEST(TrainOptions, TheTutorialsCommand) {
  const TrainOptions o = read_train_options(
      Args{"--model_name_or_path", "Qwen/Qwen2.5-0.5B", "--dataset_name", "BAAI/Infinity-Instruct",
           "--dataset_config", "0625", "--do_train", "--per_device_train_batch_size", "4",
           "--output_dir", "/tmp/my-first-sft-exp", "--max_steps", "10", "--logging_steps", "1"});
  EXPECT_EQ(*o.model.model_name_or_path, "Qwen/Qwen2.5-0.5B");
  EXPECT_EQ(*o.data.dataset_config, "0625");
  EXPECT_EQ(o.per_device_train_batch_size, 4);
  EXPECT_EQ(o.max_steps, 10);
  EXPECT_EQ(o.logging_steps, 1);
  EXPECT_EQ(o.optim.learning_rate, 2e-5);
  EXPECT_TRUE(o.is_set("max_steps"));
  EXPECT_FALSE(o.is_set("seed"));
}

TEST(TrainOptions, TheTutorialsFlagsOfLaterParts) {
  const TrainOptions o = read_train_options(
      Args{"--gradient_checkpointing", "--use_liger", "--bf16", "--lr_scheduler_type",
           "cosine_with_min_lr", "--lr_scheduler_kwargs", R"({"min_lr": 0})", "--warmup_ratio",
           "0.03", "--torch_dtype", "bfloat16", "--max_seq_length", "2048"});
  EXPECT_EQ(o.recompute(), "block");
  EXPECT_EQ(*o.data.max_length, 2048);
  EXPECT_TRUE(has_note(o, "--torch_dtype is now --dtype"));
  EXPECT_TRUE(has_note(o, "float32"));
  EXPECT_EQ(code({"--deepspeed", "no-such-file.json"}), "C120");
}

std::string said_on_the_cpu(const Args& args) {
  std::string said;
  const Logger log(Logger::Level::notes,
                   [&](Logger::Level, std::string_view text) { said += text; });
  const ChosenDevice chosen = choose_device(
      {.use_cpu = true, .bf16 = read_train_options(args).wants_bf16(), .threads = 1}, log);
  EXPECT_EQ(chosen.device->kind(), DeviceKind::cpu);
  EXPECT_EQ(chosen.compute, DType::f32);
  return said;
}

TEST(TrainOptions, Bf16FallsBackInOneLineUnlessTurnedOff) {
  const std::string line = "computing in float32: bfloat16 is for GPUs";
  EXPECT_EQ(said_on_the_cpu({}), line);
  EXPECT_EQ(said_on_the_cpu({"--bf16"}), line);
  EXPECT_EQ(said_on_the_cpu({"--bf16", "false"}), "");
  EXPECT_EQ(said_on_the_cpu({"--mixed_precision", "no"}), "");
}

TEST(TrainOptions, WhatFollowsFromOthersIsFilledIn) {
  const TrainOptions o = read_train_options(Args{"--eval_strategy", "steps", "--logging_steps", "5",
                                                 "--save_steps", "10", "--load_best_model_at_end",
                                                 "--packing_strategy", "bfd-requeue"});
  EXPECT_EQ(*o.eval_steps, 5);
  EXPECT_EQ(*o.metric_for_best_model, "loss");
  EXPECT_FALSE(*o.greater_is_better);
  EXPECT_EQ(o.data.packing_strategy, "bfd_split");
  const TrainOptions accuracy = read_train_options(
      Args{"--eval_strategy=epoch", "--metric_for_best_model", "mean_token_accuracy"});
  EXPECT_TRUE(*accuracy.greater_is_better);
}

TEST(TrainOptions, Resume) {
  const auto resume = [](const Args& args) {
    return read_train_options(args).resume_from_checkpoint.value_or("-");
  };
  EXPECT_EQ(resume({}), "-");
  EXPECT_EQ(resume({"--resume_from_checkpoint"}), "true");
  EXPECT_EQ(resume({"--resume_from_checkpoint", "True"}), "true");
  EXPECT_EQ(resume({"--resume_from_checkpoint", "false"}), "-");
  EXPECT_EQ(resume({"--resume_from_checkpoint", "latest"}), "latest");
  EXPECT_EQ(resume({"--resume_from_checkpoint", "out/checkpoint-5"}), "out/checkpoint-5");
}

TEST(TrainOptions, RulesThatSpanOptions) {
  EXPECT_EQ(code({"--logging_steps", "0"}), "C040");
  EXPECT_EQ(code({"--logging_steps", "1.5"}), "C040");
  EXPECT_EQ(code({"--logging_steps", "0.5"}), "");
  EXPECT_EQ(code({"--logging_strategy", "no", "--logging_steps", "0"}), "");
  EXPECT_EQ(code({"--eval_strategy", "steps", "--eval_steps", "2.5"}), "C041");
  EXPECT_EQ(code({"--lr_scheduler_type", "reduce_lr_on_plateau"}), "C042");
  EXPECT_EQ(code({"--lr_scheduler_type", "reduce_lr_on_plateau", "--eval_strategy", "epoch"}), "");
  EXPECT_EQ(code({"--save_steps", "7.5"}), "C043");
  EXPECT_EQ(code({"--save_strategy", "best"}), "C044");
  EXPECT_EQ(code({"--load_best_model_at_end"}), "C045");
  EXPECT_EQ(
      code({"--load_best_model_at_end", "--eval_strategy", "epoch", "--save_strategy", "epoch"}),
      "");
  EXPECT_EQ(code({"--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "20",
                  "--save_steps", "50"}),
            "C046");
  EXPECT_EQ(code({"--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "0.1",
                  "--save_steps", "0.3"}),
            "");
  EXPECT_EQ(code({"--packing", "--max_length", "none"}), "C047");
  EXPECT_EQ(code({"--dataloader_prefetch_factor", "2"}), "C048");
  EXPECT_EQ(code({"--max_shard_size", "big"}), "C090");
  EXPECT_EQ(code({"--warmup_steps", "2.5"}), "C051");
  EXPECT_EQ(code({"--output_dir", ""}), "C052");
  EXPECT_EQ(code({"--dtype", "float16"}), "C054");
  EXPECT_EQ(code({"--dtype", "bfloat16", "--fp16"}), "C050");
  EXPECT_EQ(code({"--lr_scheduler_type", "cosine_with_min_lr"}), "C103");
  EXPECT_EQ(code({"--lr_scheduler_kwargs", R"({"x": 1})"}), "C101");
}

TEST(TrainOptions, WhatIsNotBuiltIsRefused) {
  const Args refused[] = {{"--optim", "lomo"},
                          {"--num_processes", "8"},
                          {"--optim_target_modules", "mlp"},
                          {"--parallelism_config", "{}"}};
  for (const Args& args : refused) {
    EXPECT_EQ(code(args), "C010") << args[0];
  }
  const Args fine[] = {{"--optim", "adamw_torch"},
                       {"--optim", "adamw_8bit"},
                       {"--optim", "adamw_bf16"},
                       {"--fp16"},
                       {"--tf32"},
                       {"--dtype", "bfloat16"},
                       {"--report_to", "none"},
                       {"--tf32", "false"},
                       {"--no_fp16"},
                       {"--torch_compile"},
                       {"--num_processes", "1"},
                       {"--gradient_checkpointing", "block"},
                       {"--gradient_checkpointing", "mlp"},
                       {"--activation_offloading"},
                       {"--dataloader_num_workers", "4"}};
  for (const Args& args : fine) {
    EXPECT_EQ(code(args), "") << args[0];
  }
}

TEST(TrainOptions, NestedSettingsAreRead) {
  const TrainOptions o = read_train_options(
      Args{"--model_init_kwargs", R"({"dtype": "torch.bfloat16", "revision": "v2", "rope_theta": 5,
                                      "device_map": "auto"})",
           "--dataset_kwargs", R"({"skip_prepare_dataset": true})", "--packing",
           "--shuffle_dataset", "--accelerator_config", R"({"use_seedable_sampler": false,
                                      "split_batches": false, "dispatch_batches": true})"});
  EXPECT_EQ(o.model.dtype, "bfloat16");
  EXPECT_EQ(o.model.model_revision, "v2");
  EXPECT_EQ(config_overrides(o.model), Json({{"rope_theta", 5}}));
  EXPECT_FALSE(o.data.packing || o.data.shuffle_dataset || o.data.max_length);
  EXPECT_TRUE(o.data.padding_free);
  EXPECT_EQ(sampling_of(o), Sampling::unseeded);
  EXPECT_EQ(sampling_of(read_train_options(Args{"--group_by_length"})), Sampling::group_by_length);
  EXPECT_EQ(
      read_train_options(Args{"--include_num_input_tokens_seen"}).include_num_input_tokens_seen,
      "all");
}

TEST(TrainOptions, NestedSettingsThatAreWrongAreNamed) {
  EXPECT_EQ(code({"--dataset_kwargs", R"({"skip_prepare": true})"}), "C075");
  EXPECT_EQ(code({"--dataset_kwargs", R"({"skip_prepare_dataset": "yes"})"}), "C076");
  EXPECT_EQ(code({"--dataset_kwargs", "[1]"}), "C076");
  EXPECT_EQ(code({"--model_init_kwargs", R"({"dtype": "int8"})"}), "C076");
  EXPECT_EQ(code({"--model_init_kwargs", R"({"revision": 3})"}), "C076");
  EXPECT_EQ(code({"--model_init_kwargs", R"({"quantization_config": {}})"}), "C202");
  EXPECT_EQ(code({"--model_init_kwargs", R"({"quantization_config": {"load_in_4bits": true}})"}),
            "C202");
  EXPECT_EQ(code({"--model_init_kwargs", R"({"quantization_config": {"load_in_4bit": true}})",
                  "--load_in_8bit"}),
            "C201");
  EXPECT_EQ(code({"--load_in_4bit", "--load_in_8bit"}), "C201");
  EXPECT_EQ(code({"--accelerator_config", R"({"even_batches": false})"}), "C077");
  EXPECT_EQ(code({"--accelerator_config", R"({"even_batch": false})"}), "C075");
  EXPECT_EQ(code({"--bf16_full_eval", "--fp16_full_eval"}), "C050");
  EXPECT_EQ(code({"--lr_scheduler_type", "greedy"}), "C042");
  EXPECT_EQ(code({"--lr_scheduler_type", "greedy", "--eval_strategy", "epoch"}), "");
}

TEST(TrainOptions, RangesOfTrlsLossSettings) {
  for (const Args& args : {Args{"--label_smoothing_factor", "1"},
                           {"--label_smoothing_factor", "-0.1"},
                           {"--neftune_noise_alpha", "-1"},
                           {"--torch_empty_cache_steps", "0"}}) {
    EXPECT_EQ(code(args), "C005") << args[0] << args[1];
  }
}

TEST(TrainOptions, AStreamedMixtureHasNoNumberOfRows) {
  const auto streamed = [](const std::string& entries, const Args& more = {}) {
    Args args{"--streaming", "--max_steps", "5", "--datasets", entries};
    args.insert(args.end(), more.begin(), more.end());
    return code(args);
  };
  EXPECT_EQ(streamed(R"([{"path": "a"}, {"path": "b"}])"), "");
  EXPECT_EQ(streamed(R"([{"path": "a", "fraction": 0.5}])"), "C078");
  EXPECT_EQ(streamed(R"([{"path": "a"}])", {"--test_split_size", "0.1"}), "C078");
  EXPECT_EQ(code({"--streaming", "--datasets", R"([{"path": "a"}])"}), "C049");
}

TEST(TrainOptions, InputsAreAskedFor) {
  const auto missing = [](const Args& args) -> std::string {
    try {
      const TrainOptions options = read_train_options(args);
      require_model(options);
      require_data(options);
    } catch (const Error& error) {
      return std::string(error.code().text());
    }
    return "";
  };
  EXPECT_EQ(missing({"--dataset_name", "d"}), "C030");
  EXPECT_EQ(missing({"--model_name_or_path", "m"}), "C031");
  EXPECT_EQ(missing({"--model_name_or_path", "m", "--dataset_name", "d"}), "");
}

}  // namespace
}  // namespace sft
