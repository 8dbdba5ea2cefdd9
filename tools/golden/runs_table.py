"""The runs of trl_runs.py: name -> (model folder, data folder, arguments over TRL's defaults and BASE)."""

BASE = {
    "per_device_train_batch_size": 4, "max_steps": 12, "logging_steps": 1, "learning_rate": 1e-3, "bf16": False,
    "gradient_checkpointing": False, "save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip


def schedule(kind, kwargs=None, **more):
    args = {"lr_scheduler_type": kind, "max_steps": 14, "max_length": 48, "per_device_train_batch_size": 2, **more}
    return {**args, "lr_scheduler_kwargs": kwargs} if kwargs else args


def pack(strategy="bfd", length=256, **more):
    return {"packing": True, "packing_strategy": strategy, "max_length": length, "per_device_train_batch_size": 2, **more}


def epochs(count, **more):
    return {"num_train_epochs": count, "max_steps": -1, **more}


def evaluate(strategy, steps=None, **more):
    args = {"eval_strategy": strategy, "per_device_eval_batch_size": 4, **more}
    return {**args, "eval_steps": steps} if steps else args


# Without dropout, whose masks are not torch's.
LORA = {"use_peft": True, "lora_dropout": 0.0, "lora_r": 4, "lora_alpha": 8, "max_steps": 6}
ALL = {"lora_target_modules": "all-linear"}

ASSISTANT = {"assistant_only_loss": True, "max_length": 512}

WIDE = {
    # every family, as it comes
    "qwen2_chat": ("qwen2", "chat", {}),
    "qwen2_multi": ("qwen2", "multi", {"max_length": 256}),
    "llama_chat": ("llama3", "chat", {}),
    "llama_text": ("llama3", "text", {}),
    "llama_linear": ("llama_linear", "text", {}),
    "llama_yarn": ("llama_yarn", "chat", {"per_device_train_batch_size": 2}),
    "smollm2_chat": ("smollm2", "chat", {}),
    "smollm2_multi": ("smollm2", "multi", {"max_length": 200, "gradient_accumulation_steps": 2}),
    "qwen3_chat": ("qwen3", "chat", {}),
    "qwen3_multi": ("qwen3", "multi", {"max_length": 300}),
    "mistral_chat": ("mistral", "chat", {}),
    "gemma3_chat": ("gemma3", "chat", {}),
    "gemma3_text": ("gemma3", "text", {}),
    "gemma3_multi": ("gemma3", "multi", {"max_length": 200}),
    # what is trained
    "qwen2_completion": ("qwen2", "pc", {}),
    "qwen3_completion": ("qwen3", "pc", {}),
    "gemma3_completion": ("gemma3", "pc", {}),
    "smollm2_completion_chat": ("smollm2", "pc_chat", {}),
    "qwen2_completion_chat": ("qwen2", "pc_chat", {}),
    "llama_completion_chat": ("llama3", "pc_chat", {}),
    "qwen2_completion_off": ("qwen2", "pc", {"completion_only_loss": False}),
    "llama_completion_off": ("llama3", "pc_chat", {"completion_only_loss": False}),
    "qwen2_assistant": ("qwen2", "multi", ASSISTANT),
    "llama_assistant": ("llama3", "multi", ASSISTANT),
    "qwen3_assistant": ("qwen3", "multi", ASSISTANT),
    "gemma3_assistant": ("gemma3", "multi", ASSISTANT),
    "mistral_assistant": ("mistral", "multi", ASSISTANT),
    "qwen2_text_field": ("qwen2", "content", {"dataset_text_field": "content"}),
    # packing
    "qwen2_bfd": ("qwen2", "chat", pack()),
    "qwen2_bfd_assistant": ("qwen2", "multi", pack(length=512, assistant_only_loss=True)),
    "qwen2_bfd_completion": ("qwen2", "pc", pack(length=200, gradient_accumulation_steps=2)),
    "qwen2_bfd_split": ("qwen2", "multi", pack("bfd_split", 150)),
    "llama_bfd_split": ("llama3", "text", pack("bfd_split", 100)),
    "llama_wrapped": ("llama3", "text", pack("wrapped", 128)),
    "qwen2_wrapped": ("qwen2", "chat", pack("wrapped", 200, gradient_accumulation_steps=2)),
    "qwen2_wrapped_completion": ("qwen2", "pc", pack("wrapped", 128)),
    "mistral_bfd": ("mistral", "chat", pack(length=128)),
    "mistral_wrapped": ("mistral", "text", pack("wrapped", 150)),
    "gemma3_bfd": ("gemma3", "chat", pack(length=160)),
    "gemma3_bfd_split": ("gemma3", "text", pack("bfd_split", 90)),
    "qwen3_bfd": ("qwen3", "chat", pack(length=300, per_device_train_batch_size=1)),
    "smollm2_bfd": ("smollm2", "chat", pack(length=250, gradient_accumulation_steps=2)),
    "smollm2_bfd_epochs": ("smollm2", "chat", pack(length=250, **epochs(2, gradient_accumulation_steps=3))),
    "qwen2_padding_free": ("qwen2", "chat", {"padding_free": True, "max_length": None}),
    "mistral_padding_free": ("mistral", "pc", {"padding_free": True, "max_length": None}),
    "qwen2_shuffle_pack": ("qwen2", "text", pack("wrapped", 100, shuffle_dataset=True)),
    "qwen2_shuffle": ("qwen2", "chat", {"shuffle_dataset": True}),
    # length
    "qwen2_truncate": ("qwen2", "chat", {"max_length": 60}),
    "llama_truncate_completion": ("llama3", "pc", {"max_length": 40}),
    "qwen3_truncate_assistant": ("qwen3", "multi", {**ASSISTANT, "max_length": 120}),
    "qwen2_unlimited": ("qwen2", "multi", {"max_length": None, "max_steps": 6}),
    # epochs and accumulation
    "qwen2_epochs": ("qwen2", "pc", epochs(2, per_device_train_batch_size=8, gradient_accumulation_steps=4)),
    "llama_epochs": ("llama3", "text", epochs(1, per_device_train_batch_size=7, gradient_accumulation_steps=5)),
    "gemma3_epochs": ("gemma3", "pc", epochs(1.5, per_device_train_batch_size=8, gradient_accumulation_steps=2)),
    "smollm2_epochs": ("smollm2", "text", epochs(2.3, per_device_train_batch_size=16)),
    "mistral_epochs": ("mistral", "pc", epochs(1, per_device_train_batch_size=9, gradient_accumulation_steps=3)),
    "qwen2_max_steps_over": ("qwen2", "pc", {"per_device_train_batch_size": 50, "max_steps": 8}),
    "qwen2_drop_last": ("qwen2", "pc", epochs(2, per_device_train_batch_size=16, dataloader_drop_last=True)),
    "llama_logging": ("llama3", "pc", epochs(2, per_device_train_batch_size=8, logging_steps=4)),
    "qwen2_logging_epoch": ("qwen2", "pc", epochs(3, per_device_train_batch_size=16, logging_strategy="epoch")),
    "qwen2_logging_first": ("qwen2", "pc", {"logging_steps": 5, "logging_first_step": True}),
    "qwen2_seed": ("qwen2", "chat", {"seed": 7}),
    "qwen2_data_seed": ("qwen2", "chat", {"data_seed": 1234}),
    "llama_data_seed": ("llama3", "pc", epochs(2, data_seed=3, per_device_train_batch_size=16)),
    # evaluation
    "qwen2_eval_steps": ("qwen2", "chat_eval", evaluate("steps", 4)),
    "llama_eval_epoch": ("llama3", "pc_eval", evaluate("epoch", **epochs(2, per_device_train_batch_size=8))),
    "smollm2_eval_assistant": ("mistral", "multi_eval", evaluate("steps", 5, **ASSISTANT)),
    "gemma3_eval": ("gemma3", "text_eval", evaluate("steps", 6, per_device_eval_batch_size=7)),
    "qwen2_eval_packing": ("qwen2", "chat_eval", evaluate("steps", 4, **pack())),
    "qwen2_eval_unpacked": ("qwen2", "chat_eval", evaluate("steps", 4, **pack(eval_packing=False))),
    "qwen3_eval_start": ("qwen3", "pc_eval", evaluate("steps", 6, eval_on_start=True)),
    "llama_eval_dft": ("llama3", "pc_eval", evaluate("steps", 6, loss_type="dft")),
    "qwen2_eval_wrapped": ("qwen2", "text_eval", evaluate("steps", 6, **pack("wrapped", 100))),
    # schedules
    "schedule_linear_warmup": ("qwen2", "text", schedule("linear", warmup_steps=4)),
    "schedule_linear_share": ("qwen2", "text", schedule("linear", warmup_steps=0.25)),
    "schedule_cosine": ("llama3", "text", schedule("cosine", warmup_steps=3)),
    "schedule_cosine_cycles": ("llama3", "text", schedule("cosine", {"num_cycles": 1.5}, warmup_steps=2)),
    "schedule_restarts": ("smollm2", "text", schedule("cosine_with_restarts", {"num_cycles": 3}, warmup_steps=2)),
    "schedule_polynomial": ("qwen3", "text", schedule("polynomial", {"lr_end": 1e-5, "power": 2.0}, warmup_steps=2)),
    "schedule_inverse_sqrt": ("mistral", "text", schedule("inverse_sqrt", warmup_steps=3)),
    "schedule_inverse_sqrt_cold": ("mistral", "text", schedule("inverse_sqrt")),
    "schedule_constant": ("qwen2", "text", schedule("constant")),
    "schedule_constant_warmup": ("qwen2", "text", schedule("constant_with_warmup", warmup_steps=5)),
    "schedule_wsd": ("qwen2", "text", schedule("warmup_stable_decay", {"num_decay_steps": 5}, warmup_steps=3)),
    "schedule_wsd_shapes": ("qwen2", "text", schedule("warmup_stable_decay", {
        "num_decay_steps": 6, "num_stable_steps": 4, "warmup_type": "cosine", "decay_type": "1-sqrt",
        "min_lr_ratio": 0.1}, warmup_steps=3)),
    "schedule_min_lr": ("qwen2", "text", schedule("cosine_with_min_lr", {"min_lr_rate": 0.1}, warmup_steps=2)),
    "schedule_min_lr_zero": ("qwen2", "text", schedule("cosine_with_min_lr", {"min_lr": 0}, warmup_steps=2)),
    "schedule_warmup_min_lr": ("qwen2", "text", schedule("cosine_warmup_with_min_lr", {
        "min_lr": 1e-4, "warmup_lr_rate": 0.1}, warmup_steps=4)),
    "schedule_warmup_min_lr_plain": ("qwen2", "text", schedule("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2},
                                                               warmup_steps=3)),
    "schedule_plateau": ("qwen2", "text_eval", schedule("reduce_lr_on_plateau", {"factor": 0.5, "patience": 0,
        "threshold": 0.5}, eval_strategy="steps", eval_steps=2, metric_for_best_model="eval_loss")),
    # losses, optimizer
    "qwen2_nll": ("qwen2", "chat", {"loss_type": "nll"}),
    "llama_nll_completion": ("llama3", "pc", {"loss_type": "nll", "gradient_accumulation_steps": 2}),
    "gemma3_chunked": ("gemma3", "pc", {"loss_type": "chunked_nll"}),
    "qwen2_dft": ("qwen2", "pc", {"loss_type": "dft"}),
    "smollm2_dft": ("smollm2", "chat", {"loss_type": "dft", "gradient_accumulation_steps": 2}),
    "qwen3_dft_bfd": ("qwen3", "chat", pack(length=200, loss_type="dft")),
    "mistral_nll_bfd": ("mistral", "chat", pack(length=128, loss_type="nll")),
    "qwen2_decay": ("qwen2", "chat", {"weight_decay": 0.3, "learning_rate": 5e-3}),
    "gemma3_decay": ("gemma3", "chat", {"weight_decay": 0.3, "learning_rate": 5e-3}),
    "qwen3_decay": ("qwen3", "pc", {"weight_decay": 0.3, "learning_rate": 5e-3, "max_grad_norm": 0.0}),
    "llama_adam": ("llama3", "text", {"adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-4}),
    "llama_clip": ("llama3", "text", {"max_grad_norm": 0.1}),
    "qwen2_checkpointing": ("qwen2", "chat", {"gradient_checkpointing": True}),
    "gemma3_recipe": ("gemma3", "chat_eval", evaluate("steps", 5, gradient_accumulation_steps=4, weight_decay=0.1,
        lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": 1e-4}, warmup_steps=3, max_length=128,
        per_device_train_batch_size=2)),
}  # fmt: skip

SMALL = {
    "chat_defaults": ("chatml", "chat", {"max_steps": 10}),
    "assistant_accumulated": ("chatml", "chat", {
        "assistant_only_loss": True, "gradient_accumulation_steps": 3, "num_train_epochs": 2, "max_steps": -1,
        "weight_decay": 0.1, "lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-4},
        "warmup_steps": 2}),
    "completion_evaluated": ("windowed", "pairs", evaluate("steps", 4, max_length=48, max_steps=8)),
    "packed_windowed": ("windowed", "text", pack(length=64, max_steps=10)),
    "packed_stream": ("gemma", "text", pack("wrapped", 64, max_steps=10, loss_type="nll")),
    "weighted_by_probability": ("gemma", "pairs", {"max_steps": 8, "loss_type": "dft", "data_seed": 5}),
    # made with TRL 1.16
    "noise_evaluated": ("windowed", "pairs", evaluate("steps", 2, **epochs(2, gradient_accumulation_steps=3,
        per_device_train_batch_size=2, neftune_noise_alpha=5.0))),
    "noise_packed": ("gemma", "chat", pack(length=96, max_steps=5, neftune_noise_alpha=5.0, pad_to_multiple_of=8)),
    "smoothed": ("chatml", "pairs", evaluate("steps", 3, max_steps=6, label_smoothing_factor=0.1, max_length=64,
        gradient_accumulation_steps=2)),
    "grouped_by_length": ("gemma", "pairs", evaluate("epoch", **epochs(2, train_sampling_strategy="group_by_length",
        neftune_noise_alpha=2.0))),
    "rebalanced": ("chatml", "chat", epochs(2, train_sampling_strategy="batch_rebalance", gradient_accumulation_steps=3,
        max_length=64)),
    "greedy_rate": ("gemma", "pairs", evaluate("steps", 1, max_steps=12, lr_scheduler_type="greedy", lr_scheduler_kwargs={
        "patience": 0, "factor": 0.7, "min_lr": 3e-4, "smooth": True, "window_size": 3, "cooldown": 1, "reset_start": 2,
        "threshold": 0.2})),
    "unseeded_order": ("chatml", "text", epochs(2, accelerator_config={"use_seedable_sampler": False}, seed=3,
        per_device_train_batch_size=8, include_num_input_tokens_seen="all")),
    "packed_before": ("chatml", "packed", epochs(2, padding_free=True, max_length=None)),
    "padding_not_counted": ("chatml", "chat", pack(length=96, max_steps=4, include_num_input_tokens_seen="non_padding")),
    # made with TRL 1.16 and PEFT 0.21
    "lora_defaults": ("chatml", "chat", {**LORA, "lora_r": 16, "lora_alpha": 32}),
    "lora_packed": ("gemma", "text", pack(length=96, **LORA, **ALL, use_rslora=True)),
    "lora_assistant": ("chatml", "chat", {**LORA, **ALL, "assistant_only_loss": True, "gradient_accumulation_steps": 2}),
    "lora_patterns": ("windowed", "pairs", {**LORA, **ALL, "lora_config": {"rank_pattern": {"q_proj": 2}, "alpha_pattern":
        {"up_proj": 32}, "exclude_modules": ["down_proj"], "init_lora_weights": "gaussian"}}),
    "lora_head_whole": ("windowed", "text", {**LORA, "lora_modules_to_save": ["embed_tokens", "lm_head"]}),
    "lora_tied_head_whole": ("chatml", "pairs", {**LORA, "lora_modules_to_save": ["lm_head", "norm"], "weight_decay": 0.1}),
    "lora_embeddings": ("gemma", "pairs", {**LORA, "lora_target_modules": ["embed_tokens", "o_proj"]}),
    "lora_words": ("windowed", "text", {**LORA, "lora_config": {"trainable_token_indices": [70, 71, 100], "bias": "all"}}),
    "lora_olora": ("chatml", "text", {**LORA, **ALL, "lora_config": {"init_lora_weights": "olora"}}),
    "experts": ("experts", "pairs", evaluate("steps", 4, max_steps=8, gradient_accumulation_steps=2, max_length=64,
        per_device_train_batch_size=2)),
    "experts_packed": ("experts", "text", pack(length=96, max_steps=8, router_aux_loss_coef=0.5)),
    "experts_smoothed": ("experts", "pairs", {"max_steps": 4, "label_smoothing_factor": 0.1}),
    "lora_experts": ("experts", "chat", {**LORA, **ALL}),
    "dora": ("chatml", "chat", {**LORA, **ALL, "use_dora": True, "weight_decay": 0.1}),
    "dora_packed": ("gemma", "text", pack(length=96, **LORA, use_dora=True, lora_config={"init_lora_weights": False})),
    "dora_embeddings": ("gemma", "pairs", {**LORA, "lora_target_modules": ["embed_tokens", "o_proj"], "use_dora": True}),
}  # fmt: skip
