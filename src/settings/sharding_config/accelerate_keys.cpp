// Every key of accelerate's YAML and of FSDP's settings, with what it does here, and TRL's
// profiles.
#include "settings/sharding_config/accelerate.h"

namespace sft {
namespace {

constexpr KeyUse kWorks = KeyUse::works;
constexpr KeyUse kNone = KeyUse::no_effect;
constexpr KeyUse kRefused = KeyUse::refused;

constexpr ConfigKey kAccelerate[] = {
    {"compute_environment", "'LOCAL_MACHINE'", "\"LOCAL_MACHINE\"", kWorks, ""},
    {"distributed_type", "'NO'|'MULTI_CPU'|'MULTI_GPU'|'DEEPSPEED'|'FSDP'|bool", "\"NO\"", kWorks,
     "which of the sections below counts"},
    {"mixed_precision", "'no'|'fp16'|'bf16'|bool", "\"no\"", kWorks,
     "bf16 and fp16, where no flag says it"},
    {"num_processes", "int", "1", kWorks, "what a launcher starts; compared with what runs"},
    {"num_machines", "int", "1", kWorks, "for a launcher"},
    {"machine_rank", "int", "0", kWorks, "for a launcher"},
    {"main_process_ip", "text|null", "null", kWorks, "for a launcher"},
    {"main_process_port", "int|null", "null", kWorks, "for a launcher"},
    {"use_cpu", "bool", "false", kWorks, "use_cpu"},
    {"gpu_ids", "'all'|text|int|null", "\"all\"", kNone, "CUDA_VISIBLE_DEVICES chooses"},
    {"rdzv_backend", "text", "\"static\"", kNone, "ranks meet in one way"},
    {"rdzv_conf", "object", "", kNone, "ranks meet in one way"},
    {"same_network", "bool", "true", kNone, "addresses are looked up"},
    {"main_training_function", "text", "\"main\"", kNone, "of Python notebooks"},
    {"max_restarts", "int", "0", kNone, "sft launch --max_restarts"},
    {"debug", "bool", "false", kNone, "collectives are always checked"},
    {"downcast_bf16", "bool|'no'", "\"no\"", kNone, "of TPUs"},
    {"enable_cpu_affinity", "bool", "false", kNone, "the system places threads"},
    {"tpu_env", "list", "[]", kNone, "of TPUs"},
    {"tpu_use_cluster", "bool", "false", kNone, "of TPUs"},
    {"tpu_use_sudo", "bool", "false", kNone, "of TPUs"},
    {"tpu_name", "text|null", "null", kRefused, "there are no TPUs"},
    {"tpu_zone", "text|null", "null", kRefused, "there are no TPUs"},
    {"tpu_vm", "list|null", "null", kRefused, "there are no TPUs"},
    {"command_file", "text|null", "null", kRefused, "of TPUs"},
    {"commands", "list|null", "null", kRefused, "of TPUs"},
    {"dynamo_config", "object", "", kNone, "the program is recorded and replayed in any case"},
    {"fp8_config", "object", "", kRefused, "fp8 is not built"},
    {"megatron_lm_config", "object", "", kRefused, "Megatron's parallelism is not built"},
    {"parallelism_config", "object", "", kRefused, "tensors and sequences are not split"},
    {"mpirun_config", "object", "", kNone, "mpirun starts sft itself"},
    {"deepspeed_config", "object", "", kWorks, "with distributed_type DEEPSPEED"},
    {"deepspeed_config.deepspeed_config_file", "text", "", kWorks, "as --deepspeed"},
    {"deepspeed_config.zero_stage", "int", "2", kWorks, "zero_optimization.stage"},
    {"deepspeed_config.gradient_accumulation_steps", "int|auto", "\"auto\"", kWorks,
     "gradient_accumulation_steps"},
    {"deepspeed_config.gradient_clipping", "float|auto", "\"auto\"", kWorks, "max_grad_norm"},
    {"deepspeed_config.offload_optimizer_device", "'none'|'cpu'|'nvme'", "\"none\"", kWorks,
     "none or cpu"},
    {"deepspeed_config.offload_param_device", "'none'|'cpu'|'nvme'", "\"none\"", kWorks,
     "none or cpu"},
    {"deepspeed_config.offload_optimizer_nvme_path", "text|null", "null", kNone, "nvme is refused"},
    {"deepspeed_config.offload_param_nvme_path", "text|null", "null", kNone, "nvme is refused"},
    {"deepspeed_config.zero3_init_flag", "bool", "true", kNone,
     "the model is always sharded while it is read"},
    {"deepspeed_config.zero3_save_16bit_model", "bool", "false", kNone,
     "the model is always saved whole"},
    {"deepspeed_config.deepspeed_multinode_launcher", "text", "\"pdsh\"", kNone,
     "sft launch runs on every machine"},
    {"deepspeed_config.deepspeed_hostfile", "text|null", "null", kNone,
     "sft launch runs on every machine"},
    {"deepspeed_config.deepspeed_inclusion_filter", "text|null", "null", kNone,
     "sft launch runs on every machine"},
    {"deepspeed_config.deepspeed_exclusion_filter", "text|null", "null", kNone,
     "sft launch runs on every machine"},
    {"deepspeed_config.deepspeed_moe_layer_cls_names", "text|null", "null", kNone,
     "there are no experts"},
    {"fsdp_config", "object", "", kWorks, "with distributed_type FSDP, keys as in the next table"},
};

constexpr ConfigKey kFsdp[] = {
    {"version", "int", "2", kWorks, "1 or 2"},
    {"reshard_after_forward",
     "bool|'FULL_SHARD'|'SHARD_GRAD_OP'|'NO_SHARD'|'HYBRID_SHARD'|'HYBRID_SHARD_ZERO2'", "true",
     kWorks,
     "true, full_shard: stage 3; false, shard_grad_op: 2; no_shard: 0; hybrid_*: within a "
     "machine"},
    {"sharding_strategy",
     "int|'FULL_SHARD'|'SHARD_GRAD_OP'|'NO_SHARD'|'HYBRID_SHARD'|'HYBRID_SHARD_ZERO2'", "1", kWorks,
     "the same by an older name; 1 to 5 in this order"},
    {"cpu_offload", "bool", "false", kWorks, "weights and optimizer in host memory"},
    {"offload_params", "bool", "false", kWorks, "the same by accelerate's name"},
    {"activation_checkpointing", "bool", "false", kWorks, "gradient_checkpointing"},
    {"activation_checkpointing_offload", "bool", "false", kRefused, "--activation_offloading"},
    {"auto_wrap_policy", "'TRANSFORMER_BASED_WRAP'|'SIZE_BASED_WRAP'|'NO_WRAP'",
     "\"TRANSFORMER_BASED_WRAP\"", kNone, "what is gathered at a time is always one block"},
    {"transformer_layer_cls_to_wrap", "list|text|null", "null", kNone, "always one block"},
    {"transformer_cls_names_to_wrap", "list|text|null", "null", kNone, "always one block"},
    {"min_num_params", "int", "0", kNone, "always one block"},
    {"backward_prefetch", "'BACKWARD_PRE'|'BACKWARD_POST'|'NO_PREFETCH'|null", "null", kNone,
     "the next block is always gathered ahead"},
    {"forward_prefetch", "bool", "false", kNone, "the next block is always gathered ahead"},
    {"limit_all_gathers", "bool", "true", kNone, "one block ahead"},
    {"cpu_ram_efficient_loading", "bool", "false", kNone, "the model is read once per machine"},
    {"sync_module_states", "bool", "true", kNone, "ranks always begin with the same weights"},
    {"use_orig_params", "bool", "true", kNone, "always"},
    {"state_dict_type", "'FULL_STATE_DICT'|'SHARDED_STATE_DICT'|'LOCAL_STATE_DICT'",
     "\"FULL_STATE_DICT\"", kNone,
     "the model is saved whole, and a checkpoint does not depend on the number of ranks"},
    {"mixed_precision_policy", "object|text|null", "null", kRefused, "--bf16"},
    {"ignored_modules", "text|null", "null", kRefused, "all parameters are shared out"},
    {"xla", "bool", "false", kRefused, "there are no TPUs"},
    {"xla_fsdp_v2", "bool", "false", kRefused, "there are no TPUs"},
    {"xla_fsdp_grad_ckpt", "bool", "false", kRefused, "there are no TPUs"},
    {"xla_fsdp_settings", "object", "", kRefused, "there are no TPUs"},
};

}  // namespace

std::span<const ConfigKey> accelerate_keys() { return kAccelerate; }
std::span<const ConfigKey> fsdp_keys() { return kFsdp; }

}  // namespace sft
