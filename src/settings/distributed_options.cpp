#include "settings/distributed_options.h"

namespace sft {

void DistributedOptions::visit(OptionTable& v) {
  v.group("Several devices");
  const char* launch =
      "ranks are started by sft launch --nproc_per_node N --nnodes M, or by torchrun, srun or "
      "mpirun";
  const char* address = "sft launch takes --master_addr and --master_port";
  const char* ddp = "blocks of gradients are summed beside the backward pass in any case";
  v("num_processes", &num_processes, "Processes in all.").planned(launch);
  v("num_machines", &num_machines, "Machines.").planned(launch);
  v("machine_rank", &machine_rank, "Which of them this is.").planned(launch);
  v("main_process_ip", &main_process_ip, "Where the first process is.").inert(address);
  v("main_process_port", &main_process_port, "Its port.").inert(address);
  v("mixed_precision", &mixed_precision, "Accelerate's name for --bf16 and --fp16.")
      .one_of({"no", "fp16", "bf16", "fp8"})
      .built_only({"no", "fp16", "bf16"}, "matmuls in 8 bits are not");
  v("accelerate_config", &accelerate_config,
    "A file of accelerate, or a profile: single_gpu, multi_gpu, zero1, zero2, zero3, fsdp1, "
    "fsdp2.");
  v("config_file", &config_file, "The same, by the name of accelerate's launcher.");
  v("local_rank", &local_rank, "Rank on this machine, from older launchers.")
      .at_least(-1)
      .inert("a rank is told by its launcher's variables");
  v("ddp_backend", &ddp_backend, "Communication library.")
      .inert("it is NCCL between GPUs and Gloo between CPUs");
  v("ddp_timeout", &ddp_timeout, "Seconds that an operation between ranks may last.").at_least(1);
  v("require_token", &require_token,
    "Do not start several ranks without a secret (SFT_TOKEN or SFT_TOKEN_FILE).");
  v("ddp_find_unused_parameters", &ddp_find_unused_parameters, "A DDP setting.").inert(ddp);
  v("ddp_bucket_cap_mb", &ddp_bucket_cap_mb, "A DDP setting.").inert(ddp);
  v("ddp_broadcast_buffers", &ddp_broadcast_buffers, "A DDP setting.").inert(ddp);
  v("ddp_static_graph", &ddp_static_graph, "A DDP setting.").inert(ddp);
  v("fsdp", &fsdp, "Sharding by FSDP's names: full_shard, shard_grad_op, hybrid_shard, offload.")
      .bare("true");
  v("fsdp_config", &fsdp_config, "FSDP's settings, as JSON or a file of it.");
  v("deepspeed", &deepspeed, "DeepSpeed's JSON: a file, the JSON itself, or base64 of it.")
      .as_text();
  v("accelerator_config", &accelerator_config, "Accelerate's data loading: use_seedable_sampler.");
  v("parallelism_config", &parallelism_config, "Accelerate's parallelism.")
      .planned(
          "what ranks share out is said by zero_stage, fsdp or deepspeed; layers are not split");
}

}  // namespace sft
