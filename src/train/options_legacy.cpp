#include "train/options_legacy.h"

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
  v("accelerator_config", &accelerator_config,
    "Accelerate's data loading: use_seedable_sampler.");
  v("parallelism_config", &parallelism_config, "Accelerate's parallelism.")
      .planned(
          "what ranks share out is said by zero_stage, fsdp or deepspeed; layers are not split");
}

void HubOptions::visit(OptionTable& v) {
  v.group("Hub");
  v("push_to_hub", &push_to_hub, "Upload what is saved to the hub.");
  v("hub_model_id", &hub_model_id, "Repository to upload to; without one, output_dir's name.");
  v("hub_token", &hub_token, "Token to upload with; better in HF_TOKEN.").secret();
  v("hub_private_repo", &hub_private_repo, "Make the repository private.");
  v("hub_strategy", &hub_strategy,
    "What to upload when: the model at the end, at every save, and with checkpoint or "
    "all_checkpoints what resuming needs.")
      .one_of({"end", "every_save", "checkpoint", "all_checkpoints"});
  v("hub_always_push", &hub_always_push, "Upload every save, however long the one before takes.");
  v("hub_revision", &hub_revision, "Branch to upload to.");
  v("push_to_hub_model_id", &push_to_hub_model_id, "Older hub_model_id.");
  v("push_to_hub_organization", &push_to_hub_organization, "Owner of it.");
  v("push_to_hub_token", &push_to_hub_token, "Older hub_token.").secret();
}

namespace {

void visit_old_training(LegacyOptions& o, OptionTable& v) {
  v.group("Left from older versions");
  const char* packing = "packing works on tokens, in TRL 1.x's way";
  v("num_of_sequences", &o.num_of_sequences, "Old packing's buffer.").inert(packing);
  v("chars_per_token", &o.chars_per_token, "Old packing's estimate.").inert(packing);
  v("dataset_batch_size", &o.dataset_batch_size, "Rows tokenised at once.").inert(packing);
  v("gradient_checkpointing_use_reentrant", &o.gradient_checkpointing_use_reentrant,
    "A variant of torch's checkpointing.")
      .inert("there is one kind of recomputation, and its results are the same bits");
  v("logging_dir", &o.logging_dir, "Folder of TensorBoard files; none: output_dir/runs/...");
  v("group_by_length", &o.group_by_length,
    "Older form of --train_sampling_strategy group_by_length.");
  v("include_tokens_per_second", &o.include_tokens_per_second, "Count tokens per second.")
      .inert("metrics.jsonl always has them");
  const char* precision = "float16 is this program's own: --fp16";
  v("fp16_backend", &o.fp16_backend, "Library for float16.").inert(precision);
  v("half_precision_backend", &o.half_precision_backend, "Library for 16 bits.").inert(precision);
  v("fp16_opt_level", &o.fp16_opt_level, "Apex's level.").inert(precision);
  v("use_mps_device", &o.use_mps_device, "Use Apple's GPU.")
      .planned("GPUs are NVIDIA's, through CUDA");
  const char* loading = "batches are made as accelerate's defaults make them";
  v("dispatch_batches", &o.dispatch_batches, "Rank 0 reads for all.").planned(loading);
  v("split_batches", &o.split_batches, "Split each batch over ranks.").planned(loading);
  v("torchdynamo", &o.torchdynamo, "Compiler of older torch.").inert("nothing is compiled late");
}

void visit_python_only(LegacyOptions& o, OptionTable& v) {
  v.group("Of Python's Trainer only");
  v("use_cache", &o.use_cache, "Keep keys and values in training.")
      .inert("training never keeps them");
  v("debug", &o.debug, "underflow_overflow, tpu_metrics_debug.")
      .inert("a loss or gradient that is not finite is always reported");
  v("skip_memory_metrics", &o.skip_memory_metrics, "Do not measure memory.")
      .inert("memory is planned before the run, and costs nothing to report");
  const char* metrics = "there are no user-defined metrics";
  v("label_names", &o.label_names, "Columns that are labels.").inert(metrics);
  v("include_for_metrics", &o.include_for_metrics, "Columns for metrics.").inert(metrics);
  v("include_inputs_for_metrics", &o.include_inputs_for_metrics, "Older form.").inert(metrics);
  v("batch_eval_metrics", &o.batch_eval_metrics, "Metrics per batch.").inert(metrics);
  v("eval_do_concat_batches", &o.eval_do_concat_batches, "Join batches.").inert(metrics);
  v("eval_use_gather_object", &o.eval_use_gather_object, "Gather objects.").inert(metrics);
  const char* trackio = "trackio is not among the trackers";
  v("trackio_space_id", &o.trackio_space_id, "Trackio's space.").inert(trackio);
  v("trackio_bucket_id", &o.trackio_bucket_id, "Trackio's bucket.").inert(trackio);
  v("trackio_static_space_id", &o.trackio_static_space_id, "Trackio's page.").inert(trackio);
}

}  // namespace

void LegacyOptions::visit(OptionTable& v) {
  visit_old_training(*this, v);
  visit_python_only(*this, v);
}

}  // namespace sft
