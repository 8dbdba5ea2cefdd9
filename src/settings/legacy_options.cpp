#include "settings/legacy_options.h"

namespace sft {

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
