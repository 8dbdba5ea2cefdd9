// accelerate's YAML, TRL's profiles and FSDP's flags.
#include "settings/sharding_config/accelerate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"
#include "settings/train_options.h"
#include "support/paths.h"

namespace sft {
namespace {

using Args = std::vector<std::string>;

class Accelerate : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove(file_); }
  std::string write(const std::string& text) {
    write_text(file_, text);
    return file_;
  }
  Error error_of(const Args& args) {
    try {
      read_train_options(args);
    } catch (const Error& error) {
      return error;
    }
    return Error("X000", "nothing was thrown");
  }
  std::string code(const std::string& yaml, Args more = {}) {
    more.insert(more.end(), {"--accelerate_config", write(yaml)});
    return std::string(error_of(more).code().text());
  }
  fs::path file_ =
      fs::temp_directory_path() / ("sft_accelerate_" + std::to_string(getpid()) + ".yaml");
};

TEST_F(Accelerate, EveryProfile) {
  const std::vector<std::pair<std::string, int>> stages{
      {"single_gpu", 0}, {"multi_gpu", 0}, {"zero1", 1}, {"zero2", 2},
      {"zero3", 3},      {"fsdp1", 3},     {"fsdp2", 3}};
  ASSERT_EQ(accelerate_profiles().size(), stages.size());
  for (const auto& [name, stage] : stages) {
    const TrainOptions o =
        read_train_options(Args{"--accelerate_config", name, "--gradient_accumulation_steps", "6"});
    EXPECT_EQ(o.sharding.zero_stage, stage) << name;
    EXPECT_EQ(o.wants_bf16(), true) << name;
    EXPECT_EQ(o.launch.processes, name == "single_gpu" ? 1 : 8) << name;
  }
  EXPECT_EQ(error_of({"--accelerate_config", "zero4"}).hint(), "did you mean  zero1?");
  EXPECT_EQ(error_of({"--config_file", "nothing.yaml"}).code().text(), "C120");
}

TEST_F(Accelerate, AFileAsTheWizardWritesIt) {
  const std::string path = write(
      "compute_environment: LOCAL_MACHINE\ndebug: false\ndeepspeed_config:\n"
      "  deepspeed_multinode_launcher: standard\n  gradient_accumulation_steps: 4\n"
      "  gradient_clipping: 1.0\n  offload_optimizer_device: none\n  offload_param_device: none\n"
      "  zero3_init_flag: true\n  zero3_save_16bit_model: true\n  zero_stage: 3\n"
      "distributed_type: DEEPSPEED\ndowncast_bf16: 'no'\nmachine_rank: 1\n"
      "main_process_ip: 10.0.0.1\nmain_process_port: 29501\nmain_training_function: main\n"
      "mixed_precision: bf16\nnum_machines: 2\nnum_processes: 16\nrdzv_backend: static\n"
      "same_network: true\ntpu_env: []\ntpu_use_cluster: false\ntpu_use_sudo: false\n"
      "use_cpu: false\n");
  const TrainOptions o =
      read_train_options(Args{"--config_file", path, "--gradient_accumulation_steps", "4"});
  EXPECT_EQ(o.sharding.zero_stage, 3);
  EXPECT_EQ(o.launch.machines, 2);
  EXPECT_EQ(o.launch.machine_rank, 1);
  EXPECT_EQ(o.launch.main_address, "10.0.0.1");
  EXPECT_EQ(o.launch.main_port, 29501);
  const Error e = error_of({"--config_file", path});
  EXPECT_EQ(e.code().text(), "C124");
  EXPECT_NE(e.message().find("gradient_accumulation_steps is 4"), std::string::npos) << e.message();
}

TEST_F(Accelerate, MistakesAreNamed) {
  EXPECT_EQ(code("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stag: 2}\n"), "C122");
  EXPECT_EQ(code("distributed_type: FSDP\nfsdp_config: {fsdp_verzion: 2}\n"), "C122");
  EXPECT_EQ(code("num_procesess: 2\ndistributed_type: MULTI_GPU\n"), "C122");
  EXPECT_EQ(code("distributed_type: TPU\n"), "C123");
  EXPECT_EQ(code("distributed_type: MULTI_GPU\nnum_processes: \xff\xfe\n"), "C123");
  EXPECT_EQ(code("mixed_precision: bf16\n"), "C129");
  EXPECT_EQ(code("distributed_type: MULTI_GPU\nmixed_precision: fp8\n"), "C123");
  EXPECT_EQ(code("distributed_type: MULTI_GPU\ndistributed_type: FSDP\n"), "C024");
  EXPECT_EQ(code("fsdp_config: {fsdp_version: 2, fsdp_version: 1}\n"), "C024");
  EXPECT_EQ(code("fsdp_config: &x {fsdp_version: *x}\n"), "C023");
  EXPECT_EQ(code("[a]: 1\n"), "C023");
  EXPECT_EQ(code("distributed_type: [\n"), "C120");
  EXPECT_EQ(code("- 1\n"), "C120");
  EXPECT_EQ(
      code("distributed_type: MULTI_GPU\nparallelism_config: {parallelism_config_tp_size: 2}\n"),
      "C125");
  EXPECT_EQ(code("distributed_type: DEEPSPEED\n", {"--deepspeed", "{}"}), "C126");
  EXPECT_EQ(code("distributed_type: FSDP\n", {"--fsdp", "full_shard"}), "C126");
  EXPECT_EQ(code("distributed_type: NO\n"), "X000");  // nothing was thrown
  EXPECT_EQ(code("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 2, "
                 "deepspeed_config_file: x.json}\n"),
            "C126");
}

TEST_F(Accelerate, ADeepSpeedFileInside) {
  const TrainOptions o = read_train_options(Args{
      "--accelerate_config",
      write("distributed_type: DEEPSPEED\ndeepspeed_config:\n  deepspeed_config_file: " SFT_TEST_DIR
            "/../examples/ds-config.json\n")});
  EXPECT_EQ(o.sharding.zero_stage, 2);
  EXPECT_FALSE(o.sharding.overlap_comm);
}

TEST_F(Accelerate, FlagsOfFsdp) {
  const auto sharding = [](const Args& args) { return read_train_options(args).sharding; };
  EXPECT_EQ(sharding({"--fsdp"}).zero_stage, 3);
  EXPECT_EQ(sharding({"--fsdp", "full_shard auto_wrap"}).zero_stage, 3);
  EXPECT_EQ(sharding({"--fsdp", "shard_grad_op"}).zero_stage, 2);
  EXPECT_EQ(sharding({"--fsdp", "no_shard"}).zero_stage, 0);
  TrainOptions hybrid;
  apply_fsdp(hybrid, "hybrid_shard", nullptr, {16, 8});
  EXPECT_EQ(hybrid.sharding.zero_stage, 3);
  EXPECT_EQ(hybrid.sharding.zero_shard_group, 8);
  EXPECT_EQ(sharding({"--fsdp", "hybrid_shard_zero2"}).zero_stage, 2);
  EXPECT_EQ(sharding({"--fsdp", "true", "--fsdp_config", R"({"reshard_after_forward": false})"})
                .zero_stage,
            2);
  apply_fsdp(hybrid, "true", {{"fsdp_sharding_strategy", 5}}, {16, 4});
  EXPECT_EQ(hybrid.sharding.zero_stage, 2);
  EXPECT_EQ(hybrid.sharding.zero_shard_group, 4);
  EXPECT_TRUE(sharding({"--fsdp", "full_shard offload"}).offload_param);
  EXPECT_TRUE(sharding({"--fsdp", "shard_grad_op offload"}).offload_optimizer);
  EXPECT_FALSE(sharding({"--fsdp", "shard_grad_op offload"}).offload_param);
  EXPECT_EQ(error_of({"--fsdp", "full_shart"}).code().text(), "C123");
  EXPECT_EQ(error_of({"--fsdp_config", R"({"version": 2})"}).code().text(), "C126");
  EXPECT_EQ(error_of({"--fsdp", "true", "--fsdp_config", R"({"verson": 2})"}).code().text(),
            "C122");
  EXPECT_EQ(error_of({"--fsdp", "true", "--deepspeed", "{}"}).code().text(), "C126");
  EXPECT_EQ(read_train_options(
                Args{"--fsdp", "true", "--fsdp_config", R"({"activation_checkpointing": true})"})
                .recompute(),
            "block");
}

}  // namespace
}  // namespace sft
