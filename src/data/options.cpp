#include "data/options.h"

#include "core/numbers.h"
#include "data/label_options.h"

namespace sft {
namespace {

void visit_place(DataOptions& o, OptionTable& v) {
  v("dataset_name", &o.dataset_name, "A file, a folder, or a data set of the hub (owner/name).");
  v("dataset_config", &o.dataset_config, "Which configuration (subset) of it.");
}

void visit_columns(DataOptions& o, OptionTable& v) {
  v("trust_dataset_card", &o.trust_dataset_card,
    "The card of a data set on this machine may name files outside of its own folder; one of the "
    "hub never may.");
  v("dataset_text_field", &o.dataset_text_field,
    "The column of plain text; the EOS is added to it.");
  v("column_map", &o.column_map,
    "Columns to rename before anything looks at them: question=prompt answer=completion.");
  v("messages_field", &o.messages_field,
    "The column of messages; none: messages, conversations or conversation.");
  v("message_role_key", &o.message_role_key, "Who speaks, in a message; none: role or from.");
  v("message_content_key", &o.message_content_key,
    "What is said, in a message; none: content or value.");
  v("role_map", &o.role_map,
    "Roles of the data as roles of the chat template: bot=assistant customer=user.");
}

void visit_kwargs(DataOptions& o, OptionTable& v) {
  v("dataset_kwargs", &o.dataset_kwargs,
    "'{\"skip_prepare_dataset\": true}': rows with input_ids are trained as they are, neither cut, "
    "packed nor shuffled beforehand.");
}

void visit_source(DataOptions& o, OptionTable& v) {
  v.group("Dataset");
  visit_place(o, v);
  v("dataset_train_split", &o.dataset_train_split, "The split to train on.");
  v("dataset_test_split", &o.dataset_test_split, "The split to evaluate on.");
  visit_columns(o, v);
  v("datasets", &o.datasets, "A mixture: a list of {path, name, data_files, split, columns, …}.");
  v("test_split_size", &o.test_split_size, "Share or number of rows kept for testing, by the seed.")
      .above(0)
      .at_most(kMostCount);
  v("streaming", &o.streaming,
    "Read the mixture's rows once, one data set after the other, while training runs; needs "
    "max_steps.");
  v("dataset_streaming", &o.dataset_streaming,
    "Read rows once, in the files' order, while training runs; needs max_steps.");
  visit_kwargs(o, v);
}

void visit_text(DataOptions& o, OptionTable& v) {
  v.group("Rows to tokens");
  v("chat_template_path", &o.chat_template_path,
    "A .jinja file, or a model whose chat template is used, and with it, as in TRL, its tokens, "
    "its "
    "EOS and a vocabulary of a multiple of 64.");
  v("chat_template_name", &o.chat_template_name,
    "Which of several chat templates; none: default, and tool_use for rows with tools.");
  v("eos_token", &o.eos_token, "The token that ends a text; it must be in the vocabulary.");
  v("pad_token", &o.pad_token,
    "The token that TRL pads with; nothing is padded here, but include_num_input_tokens_seen may "
    "leave it out.");
  v("max_length", &o.max_length, "Longest sequence in tokens, and the length of packed rows.")
      .at_least(2)
      .alias("max_seq_length",
             "without it the limit is 1024 tokens (older TRL took the tokenizer's "
             "limit when that was smaller)");
  v("truncation_mode", &o.truncation_mode, "Which end of a long row is kept.")
      .one_of({"keep_start", "keep_end"});
  v("shuffle_dataset", &o.shuffle_dataset, "Shuffle the rows once before packing and training.");
  v("completion_only_loss", &o.completion_only_loss,
    "Train on the completion alone; none: when the row has a prompt and a completion (a "
    "completion_mask alone is no reason, as in TRL).");
  v("assistant_only_loss", &o.assistant_only_loss, "Train on the assistant's turns alone.");
}

void visit_packing(DataOptions& o, OptionTable& v) {
  v.group("Packing");
  v("packing", &o.packing, "Put several rows into one sequence of max_length tokens.");
  v("packing_strategy", &o.packing_strategy,
    "bfd: whole rows, cut at max_length; bfd_split: long rows in pieces; wrapped: one stream in "
    "which attention crosses rows. bfd-requeue is the older name of bfd_split.")
      .one_of({"bfd", "bfd_split", "wrapped", "bfd-requeue"});
  v("eval_packing", &o.eval_packing,
    "Pack the test rows too; none: as packing says. Packed rows never see each other here; in TRL "
    "they do when packing itself is off.");
  v("padding_free", &o.padding_free, "Rows of a batch lie end to end (they always do here).");
  v("pad_to_multiple_of", &o.pad_to_multiple_of, "Pad sequences to a multiple.")
      .one_of({"auto"})
      .or_whole(1, kMostCount)
      .inert("nothing is padded");
}

void visit_loading(DataOptions& o, OptionTable& v) {
  v.group("Order and loading");
  v("train_sampling_strategy", &o.train_sampling_strategy,
    "The order of the training rows; group_by_length: batches of similar length; batch_rebalance: "
    "batches of similar cost, of which a step has as many rows as ever.")
      .one_of({"random", "sequential", "group_by_length", "batch_rebalance"});
  v("dataset_order", &o.dataset_order,
    "trl: TRL's order, which with packing or masks needs every row first; windowed: rows shuffled "
    "and packed within windows of four blocks of 1,000 rows, so that training starts at once.")
      .one_of({"trl", "windowed"});
  v("length_column_name", &o.length_column_name, "Column of lengths for group_by_length.")
      .inert("rows are measured, not looked up");
  v("dataloader_drop_last", &o.dataloader_drop_last, "Leave out the last, incomplete batch.");
  const char* workers = "batches are made by the program's own threads, ahead of the step";
  v("dataloader_num_workers", &o.dataloader_num_workers, "Worker processes.").inert(workers);
  v("dataloader_pin_memory", &o.dataloader_pin_memory, "Page-locked memory.").inert(workers);
  v("dataloader_persistent_workers", &o.dataloader_persistent_workers, "Keep workers.")
      .inert(workers);
  v("dataloader_prefetch_factor", &o.dataloader_prefetch_factor, "Batches a worker makes ahead.")
      .inert(workers);
  v("dataloader_multiprocessing_context", &o.dataloader_multiprocessing_context,
    "How workers start.")
      .inert(workers);
  v("dataloader_in_order", &o.dataloader_in_order, "Keep the workers' batches in order.")
      .inert("the order never depends on workers");
  v("dataset_num_proc", &o.dataset_num_proc,
    "Threads that prepare rows; none: all. The result does not depend on it.")
      .at_least(1)
      .at_most(kMostThreads);
  v("data_cache", &o.data_cache,
    "Keep tokenised data on disk for the next run, in $SFT_CACHE or ~/.cache/sft.");
  v("overwrite_cache", &o.overwrite_cache, "Tokenise again although the cache has the data.");
  v("data_cache_gb", &o.data_cache_gb,
    "GiB of tokenised data to keep; those used longest ago go first.")
      .at_least(0);
  v("remove_unused_columns", &o.remove_unused_columns, "Drop columns that nobody reads.")
      .inert("only the columns that are needed are read");
  v("ignore_bias_buffers", &o.ignore_bias_buffers, "A workaround for DDP.")
      .inert("there are no such buffers");
}

}  // namespace

int64_t DataOptions::padding_multiple() const {
  return pad_to_multiple_of ? whole_number(*pad_to_multiple_of).value_or(0) : 0;
}

bool DataOptions::skips_preparation() const {
  return dataset_kwargs.is_object() &&
         dataset_kwargs.value("skip_prepare_dataset", Json(false)) == true;
}

void visit_labels(DataOptions& o, OptionTable& v) {
  visit_place(o, v);
  visit_columns(o, v);
  visit_kwargs(o, v);
  visit_text(o, v);
}

void DataOptions::visit(OptionTable& v) {
  visit_source(*this, v);
  visit_text(*this, v);
  visit_packing(*this, v);
  visit_loading(*this, v);
}

}  // namespace sft
