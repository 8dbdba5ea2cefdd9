"""The crossings of crossings.py: name -> (model, data, options over BASE). Together they name every field of TRL's SFTConfig
that works here and that a CPU can show, each beside others. `{data}` in a value is the folder of made-up data.

Options that begin with _ are the script's: _resume N trains again from the checkpoint of step N, _resume_ours N
lets sft alone do so, which must give what TRL gives without a stop, _ranks N runs as N processes,
_bf16 says that TRL's adapters are in bfloat16, _rounded that its base computes in fewer bits,
_near F allows F times as much (new words begin as the mean of the others, in TRL as a draw around it),
_alone leaves TRL out, which refuses it: adapters.py looks at what sft saved,
and _own_metrics leaves entropy and accuracy out, which TRL takes from a second pass with other noise.
"""

BASE = {
    "per_device_train_batch_size": 4, "max_steps": 6, "logging_steps": 1, "learning_rate": 1e-3, "max_length": 64, "bf16": False,
    "gradient_checkpointing": False, "save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip


def epochs(count, **more):
    return {"num_train_epochs": count, "max_steps": -1, **more}


def evaluate(strategy, steps=None, **more):
    args = {"eval_strategy": strategy, "per_device_eval_batch_size": 5, **more}
    return {**args, "eval_steps": steps} if steps else args


def pack(strategy="bfd", length=96, **more):
    return {"packing": True, "packing_strategy": strategy, "max_length": length, "per_device_train_batch_size": 2, **more}


ON_TRAIN = {"dataset_test_split": "train"}
NEFTUNE = {"neftune_noise_alpha": 5.0}

# Without dropout, whose masks are not torch's.
LORA = {"use_peft": True, "lora_dropout": 0.0, "lora_r": 4, "lora_alpha": 8}
ALL_LINEAR = {**LORA, "lora_target_modules": "all-linear"}
QKVO = ["q_proj", "k_proj", "v_proj", "o_proj"]

CROSSINGS = {
    # noise on the embeddings, which shares one random stream with all else that draws
    "neftune_warmup": ("chatml", "{data}/messages", {**NEFTUNE, "warmup_steps": 2, "weight_decay": 0.1}),
    "neftune_bfd": ("gemma", "{data}/messages", pack(**NEFTUNE, lr_scheduler_type="cosine")),
    "neftune_accumulated_evaluated": ("windowed", "pairs", {
        **NEFTUNE, **evaluate("steps", 2), **epochs(2, gradient_accumulation_steps=3, per_device_train_batch_size=2)}),
    "neftune_padded": ("chatml", "text", {**NEFTUNE, "pad_to_multiple_of": 8, "seed": 7, "gradient_checkpointing": True}),
    "neftune_grouped": ("chatml", "{data}/messages", {
        **NEFTUNE, **ON_TRAIN, **evaluate("epoch"), **epochs(2), "train_sampling_strategy": "group_by_length"}),
    "neftune_workers": ("gemma", "text", {**NEFTUNE, **epochs(2, per_device_train_batch_size=8), "dataloader_num_workers": 2,
        "dataloader_prefetch_factor": 2, "dataloader_pin_memory": False, "dataloader_persistent_workers": True}),
    "neftune_resumed": ("chatml", "{data}/messages", {**NEFTUNE, "save_strategy": "steps", "save_steps": 3, "_resume_ours": 3}),
    # label smoothing
    "smoothed_completion": ("chatml", "pairs", {"label_smoothing_factor": 0.1, "gradient_accumulation_steps": 2,
        "max_grad_norm": 0.5, **evaluate("steps", 3)}),
    "smoothed_wrapped": ("gemma", "text", pack("wrapped", 64, label_smoothing_factor=0.3, loss_type="nll")),
    "smoothed_neftune_assistant": ("chatml", "{data}/messages", {**NEFTUNE, **ON_TRAIN, **evaluate("steps", 3),
        "label_smoothing_factor": 0.05, "assistant_only_loss": True, "_own_metrics": True}),
    "smoothed_dft": ("windowed", "pairs", {"label_smoothing_factor": 0.2, "loss_type": "dft", "data_seed": 5,
        "activation_checkpointing": True}),
    # orders
    "grouped_epochs": ("gemma", "pairs", {**epochs(3), **evaluate("epoch"), "train_sampling_strategy": "group_by_length",
        "data_seed": 11}),
    "grouped_split": ("windowed", "{data}/messages", pack("bfd_split", 48, train_sampling_strategy="group_by_length",
        gradient_accumulation_steps=2)),
    "grouped_resumed": ("chatml", "text", {**epochs(2), "train_sampling_strategy": "group_by_length", "save_strategy": "steps",
        "save_steps": 4, "logging_steps": 2, "_resume_ours": 12}),
    "rebalanced": ("chatml", "{data}/messages", {**epochs(2), "train_sampling_strategy": "batch_rebalance",
        "gradient_accumulation_steps": 3}),
    "rebalanced_evaluated": ("windowed", "pairs", {**epochs(2), **evaluate("epoch"), "dataloader_drop_last": True,
        "train_sampling_strategy": "batch_rebalance", "gradient_accumulation_steps": 2, "per_device_train_batch_size": 5}),
    "rebalanced_alone": ("gemma", "text", {"train_sampling_strategy": "batch_rebalance", "label_smoothing_factor": 0.1,
        "per_device_train_batch_size": 6}),
    "sequential_keep_end": ("chatml", "{data}/messages", {"train_sampling_strategy": "sequential", "truncation_mode": "keep_end",
        "max_length": 40, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-4}),
    "unseeded_epochs": ("gemma", "pairs", {**epochs(2), **evaluate("epoch"), "seed": 3,
        "accelerator_config": {"use_seedable_sampler": False}}),
    "data_skip_ignored": ("chatml", "pairs", {**epochs(3), "save_strategy": "steps", "save_steps": 4, "_resume": 8,
        "ignore_data_skip": True, "lr_scheduler_type": "polynomial"}),
    # rows
    "prepared": ("chatml", "{data}/tokens", {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": 16,
        "weight_decay": 0.2, "dataset_num_proc": 1}),
    "prepared_padding_free": ("gemma", "{data}/tokens", {"dataset_kwargs": {"skip_prepare_dataset": True}, "packing": True,
        "shuffle_dataset": True, "include_num_input_tokens_seen": "all"}),
    "prepared_off": ("windowed", "{data}/tokens", {"dataset_kwargs": {"skip_prepare_dataset": False}, "max_length": 16}),
    "streamed_mixture": ("chatml", None, {"streaming": True, "datasets": [{"path": "{data}/tokens", "split": "train",
        "columns": ["input_ids", "labels"]}, {"path": "{data}/more_tokens", "split": "train"}], "max_steps": 6}),
    "mixed_fractions": ("gemma", None, {"datasets": [{"path": "{data}/tokens", "split": "train", "fraction": 0.25},
        {"path": "{data}/more_tokens", "split": "train", "fraction": 0.75}], "shuffle_dataset": True, **epochs(2)}),
    "streamed_whole": ("windowed", "pairs", {"dataset_streaming": True, "completion_only_loss": False}),
    "text_field": ("chatml", "{data}/content", {"dataset_text_field": "content", "shuffle_dataset": True, "padding_free": True,
        "max_length": None}),
    "template_and_eos": ("chatml", "{data}/messages", {"chat_template_path": "{data}/template.jinja", "eos_token": "<|im_end|>",
        "max_length": 128, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.3}),
    # rates
    "greedy": ("chatml", "pairs", {**evaluate("steps", 1), "lr_scheduler_type": "greedy", "max_steps": 10,
        "lr_scheduler_kwargs": {"patience": 1, "factor": 0.5, "min_lr": 1e-5, "max_lr": 4e-3, "warmup": 1}}),
    "greedy_smooth": ("gemma", "pairs", {**evaluate("steps", 1), "lr_scheduler_type": "greedy", "max_steps": 12,
        "metric_for_best_model": "mean_token_accuracy", "lr_scheduler_kwargs": {"patience": 0, "factor": 0.7, "mode": "max",
        "min_lr": 3e-4, "smooth": True, "window_size": 3, "cooldown": 1, "reset_start": 2, "threshold": 0.2}}),
    "plateau_by_accuracy": ("windowed", "pairs", {**evaluate("steps", 2), "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"factor": 0.5, "patience": 0, "mode": "max", "threshold": 0.5},
        "metric_for_best_model": "eval_mean_token_accuracy", "greater_is_better": True, "max_steps": 8}),
    "min_rate": ("gemma", "text", {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-4},
        "warmup_steps": 0.25, "logging_steps": 4, "logging_first_step": True, "max_steps": 9, "optim": "adamw_torch"}),
    "optim_args": ("windowed", "{data}/messages", {"optim": "rmsprop", "optim_args": "alpha=0.9, momentum=0.5", "weight_decay": 0.3,
        "max_grad_norm": 0.0}),
    # counts
    "all_tokens": ("chatml", "pairs", {**evaluate("steps", 3), "include_num_input_tokens_seen": "all",
        "pad_to_multiple_of": 16, "gradient_accumulation_steps": 2}),
    "tokens_without_padding": ("gemma", "{data}/messages", {"include_num_input_tokens_seen": "non_padding", "logging_strategy": "epoch",
        **epochs(2)}),
    "tokens_packed": ("chatml", "{data}/messages", pack(include_num_input_tokens_seen="non_padding", pad_token="<|im_end|>")),
    "tokens_true": ("windowed", "text", {"include_num_input_tokens_seen": True, "average_tokens_across_devices": False,
        "gradient_accumulation_steps": 2}),
    # evaluation and checkpoints
    "evaluated_first": ("chatml", "{data}/messages", pack(**ON_TRAIN, **evaluate("steps", 3), eval_on_start=True, eval_packing=False)),
    "evaluated_late": ("gemma", "pairs", {**epochs(3), **evaluate("epoch"), "eval_delay": 2}),
    "best_loaded": ("windowed", "pairs", {**evaluate("steps", 2), "save_strategy": "steps", "save_steps": 2,
        "load_best_model_at_end": True, "metric_for_best_model": "loss", "greater_is_better": True, "save_total_limit": 1,
        "save_only_model": True}),
    "best_saved": ("chatml", "pairs", {**evaluate("steps", 2), "save_strategy": "best", "metric_for_best_model": "entropy",
        "load_best_model_at_end": True, "learning_rate": 1e-2}),
    # the model, the memory
    "config_changed": ("windowed", "{data}/messages", {"model_init_kwargs": {"rms_norm_eps": 0.01, "dtype": "float32"}}),
    "batch_found": ("gemma", "{data}/messages", {"auto_find_batch_size": True, "run_name": "found", "project": "crossings",
        "loss_type": "chunked_nll", **epochs(1.5)}),
    # what has no meaning here, and changes nothing there
    "without_meaning": ("chatml", "pairs", {**evaluate("steps", 3), "torch_empty_cache_steps": 2, "eval_accumulation_steps": 1,
        "prediction_loss_only": True, "bf16_full_eval": True, "full_determinism": True, "skip_memory_metrics": False,
        "remove_unused_columns": True, "log_level": "error", "log_level_replica": "error", "log_on_each_node": False,
        "logging_nan_inf_filter": False, "eval_do_concat_batches": False, "save_on_each_node": True, "ddp_timeout": 600,
        "ddp_bucket_cap_mb": 5, "dataloader_in_order": True, "length_column_name": "size"}),
    # several processes
    "ranks_averaged": ("chatml", "pairs", {"_ranks": 2, "average_tokens_across_devices": True, "per_device_train_batch_size": 2,
        "max_steps": 4}),
    "ranks_apart": ("chatml", "pairs", {"_ranks": 2, "average_tokens_across_devices": False, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2, "max_steps": 4}),
    "ranks_rebalanced": ("gemma", "{data}/messages", {"_ranks": 2, "train_sampling_strategy": "batch_rebalance", **epochs(1),
        "gradient_accumulation_steps": 2}),
    # adapters
    "lora_defaults": ("chatml", "text", {"use_peft": True, "lora_dropout": 0.0}),
    "lora_one": ("chatml", "text", {**LORA, "lora_r": 1, "lora_alpha": 16}),
    "lora_all": ("chatml", "{data}/messages", {**ALL_LINEAR, "lora_r": 8, "lora_alpha": 16}),
    "lora_all_gemma": ("gemma", "text", {**ALL_LINEAR, "weight_decay": 0.1}),
    "lora_all_windowed": ("windowed", "pairs", {**ALL_LINEAR, "gradient_accumulation_steps": 2}),
    "lora_names": ("chatml", "pairs", {**LORA, "lora_target_modules": QKVO, "max_grad_norm": 0.1}),
    "lora_mlp": ("gemma", "{data}/messages", {**LORA, "lora_target_modules": ["gate_proj", "down_proj"]}),
    "lora_expression": ("chatml", "text", {**LORA, "lora_target_modules": [r".*layers\.1\..*(up|down)_proj"]}),
    "lora_rs": ("windowed", "text", {**ALL_LINEAR, "use_rslora": True, "lora_r": 16, "lora_alpha": 8}),
    "lora_large": ("gemma", "pairs", {**LORA, "lora_r": 32, "lora_alpha": 64, "lora_target_modules": QKVO}),
    "lora_packed": ("chatml", "text", {**pack(), **ALL_LINEAR}),
    "lora_wrapped": ("gemma", "text", {**pack("wrapped", 64), **LORA}),
    "lora_split": ("windowed", "{data}/messages", {**pack("bfd_split", 48), **ALL_LINEAR}),
    "lora_completion": ("chatml", "pairs", {**ALL_LINEAR, "completion_only_loss": True, **evaluate("steps", 3)}),
    "lora_assistant": ("chatml", "{data}/messages", {**ALL_LINEAR, "assistant_only_loss": True}),
    "lora_recomputed": ("chatml", "{data}/messages", {**ALL_LINEAR, "gradient_checkpointing": True}),
    "lora_smoothed": ("gemma", "pairs", {**ALL_LINEAR, "label_smoothing_factor": 0.1}),
    "lora_dft": ("chatml", "text", {**LORA, "loss_type": "dft", "lr_scheduler_type": "cosine", "warmup_steps": 2}),
    "lora_neftune": ("chatml", "text", {**LORA, **NEFTUNE}),
    "lora_grouped": ("chatml", "{data}/messages", {**ALL_LINEAR, **epochs(2), "train_sampling_strategy": "group_by_length"}),
    "lora_seed": ("chatml", "text", {**ALL_LINEAR, "seed": 7, "data_seed": 3}),
    "lora_sgd": ("windowed", "text", {**ALL_LINEAR, "optim": "sgd", "learning_rate": 0.1}),
    "lora_resumed": ("chatml", "text", {**ALL_LINEAR, "save_strategy": "steps", "save_steps": 3, "_resume_ours": 3}),
    "lora_ranks": ("chatml", "{data}/messages", {**ALL_LINEAR, "_ranks": 2, "per_device_train_batch_size": 2}),
    "lora_ranks_packed": ("gemma", "text", {**pack(), **LORA, "_ranks": 2, "gradient_accumulation_steps": 2}),
    # other kinds of adapters, and what is trained beside them; lora_config is ours, TRL's side makes the same LoraConfig of it
    "dora_all": ("chatml", "text", {**ALL_LINEAR, "use_dora": True}),
    "dora_rs": ("gemma", "pairs", {**LORA, "use_dora": True, "use_rslora": True, "lora_target_modules": QKVO}),
    "dora_packed": ("windowed", "text", {**pack(), **ALL_LINEAR, "use_dora": True, "weight_decay": 0.1}),
    "dora_assistant": ("chatml", "{data}/messages", {**ALL_LINEAR, "use_dora": True, "assistant_only_loss": True,
        "gradient_checkpointing": True}),
    "dora_biased": ("q2gqa", "{data}/messages", {**LORA, "use_dora": True, "gradient_accumulation_steps": 2}),
    "saved_head": ("windowed", "{data}/messages", {**ALL_LINEAR, "lora_modules_to_save": ["lm_head"]}),
    "saved_head_tied": ("q2gqa", "{data}/messages", {**ALL_LINEAR, "lora_modules_to_save": ["lm_head"]}),
    "saved_embeddings": ("chatml", "text", {**LORA, "lora_modules_to_save": ["embed_tokens"]}),
    "saved_tables": ("gemma", "text", {**LORA, "lora_modules_to_save": ["embed_tokens", "lm_head"], "weight_decay": 0.1}),
    "saved_norms": ("windowed", "pairs", {**LORA, "lora_modules_to_save": ["norm"], "weight_decay": 0.1}),
    "saved_layers": ("q2gqa", "text", {**LORA, "lora_modules_to_save": ["k_proj", "down_proj"]}),
    "saved_mlp": ("chatml", "text", {**LORA, "lora_modules_to_save": ["layers.1.mlp"], "use_dora": True}),
    "saved_tied": ("q2gqa", "text", {**LORA, "lora_modules_to_save": ["lm_head"], "lora_config": {"ensure_weight_tying": True}, "weight_decay": 0.1}),
    "on_embeddings": ("chatml", "text", {**LORA, "lora_target_modules": ["embed_tokens", "q_proj"]}),
    "on_embeddings_gemma": ("gemma", "{data}/messages", {**LORA, "lora_target_modules": ["embed_tokens", "v_proj"], **epochs(2)}),
    "dora_on_embeddings": ("chatml", "text", {**LORA, "lora_target_modules": ["embed_tokens", "q_proj"], "use_dora": True, "weight_decay": 0.1}),
    "dora_on_embeddings_gemma": ("gemma", "{data}/messages", {**LORA, "lora_target_modules": ["embed_tokens", "v_proj"], "use_dora": True,
        "lora_config": {"init_lora_weights": False}}),
    "on_head": ("windowed", "text", {**LORA, "_alone": True, "lora_target_modules": ["lm_head", "o_proj"]}),
    "on_head_tied": ("q2gqa", "pairs", {**LORA, "_alone": True, "lora_target_modules": ["lm_head", "o_proj"], **evaluate("steps", 3)}),
    "on_tables": ("windowed", "pairs", {**LORA, "_alone": True, "lora_target_modules": ["embed_tokens", "lm_head"], "completion_only_loss": True}),
    "patterns": ("chatml", "text", {**ALL_LINEAR, "lora_config": {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8},
        "alpha_pattern": {"v_proj": 32}, "exclude_modules": ["down_proj"]}}),
    "some_layers": ("gemma", "text", {**LORA, "lora_config": {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1],
        "layers_pattern": "layers"}}),
    "biases_all": ("q2gqa", "text", {**LORA, "lora_config": {"bias": "all"}, "weight_decay": 0.1}),
    "biases_own": ("q2gqa", "{data}/messages", {**LORA, "lora_config": {"bias": "lora_only"}, "use_dora": True}),
    "gaussian": ("chatml", "text", {**ALL_LINEAR, "lora_config": {"init_lora_weights": "gaussian"}}),
    "drawn_both": ("chatml", "pairs", {**ALL_LINEAR, "lora_config": {"init_lora_weights": False}, "use_dora": True}),
    "pissa": ("chatml", "text", {**ALL_LINEAR, "lora_config": {"init_lora_weights": "pissa"}}),
    "pissa_iterated": ("gemma", "text", {**ALL_LINEAR, "lora_config": {"init_lora_weights": "pissa_niter_4"}}),
    "olora": ("windowed", "text", {**ALL_LINEAR, "lora_config": {"init_lora_weights": "olora"}}),
    "some_words": ("chatml", "text", {**LORA, "lora_config": {"trainable_token_indices": [5, 17, 60, 33]}}),
    "some_words_untied": ("windowed", "text", {**LORA, "lora_config": {"trainable_token_indices": {"embed_tokens": [70, 71, 100],
        "lm_head": [70, 100]}}}),
    "cloned_words_untied": ("windowed", "{data}/messages", {**ALL_LINEAR, "_near": 20, "optim": "sgd", "learning_rate": 0.1,
        "chat_template_path": "{models}/q2gqa"}),
}  # fmt: skip

FOUR_BITS = {**ALL_LINEAR, "load_in_4bit": True, "_bf16": True}
# On a base that bitsandbytes quantises, where TRL's adapters are in bfloat16: what is trained is compared within its noise. Its
# int8 on a CPU leaves inputs as they are, where sft rounds them as on a GPU. (q2gqa and l32 are not among these models: on their rows
# the loops of bitsandbytes for CPUs take wrong scales.)
CROSSINGS |= {
    "nf4": ("chatml", "text", FOUR_BITS),
    "nf4_nested": ("gemma", "{data}/messages", {**FOUR_BITS, "use_bnb_nested_quant": True, "assistant_only_loss": True}),
    "fp4_packed": ("windowed", "text", {**pack(), **FOUR_BITS, "bnb_4bit_quant_type": "fp4", "gradient_accumulation_steps": 2}),
    "nf4_storage": ("gemma", "pairs", {**LORA, "load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16", "_bf16": True}),
    "nf4_bfloat16": ("chatml", "pairs", {**FOUR_BITS, "dtype": "bfloat16", "_rounded": True}),
    "nf4_dora": ("chatml", "text", {**FOUR_BITS, "use_dora": True}),
    "int8": ("chatml", "text", {**ALL_LINEAR, "load_in_8bit": True, "_bf16": True, "_rounded": True}),
}  # fmt: skip

# Fields that work, and that these runs cannot show: they need a GPU, a hub, a tracker, or are tried elsewhere.
NOT_ON_A_CPU = {
    "activation_offloading", "fp16", "tf32", "fsdp", "fsdp_config", "deepspeed", "push_to_hub", "hub_token", "hub_private_repo", "hub_model_id",
    "hub_strategy", "hub_always_push", "hub_revision", "router_aux_loss_coef",
}  # fmt: skip
