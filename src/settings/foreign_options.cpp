// What the Trainer's arguments in Python, and the options of Axolotl, LLaMA-Factory, Unsloth and
// older scripts, are called here. Read when an option is unknown.
#include "settings/train_options.h"

namespace sft {

namespace {

constexpr std::string_view kAdapters =
    "part of a model is trained with adapters:  --use_peft --lora_target_modules all-linear";
constexpr std::string_view kRanks =
    "ranks are started by  sft launch --nproc_per_node N [--nnodes M] ..., or by torchrun "
    "--no-python, srun or mpirun";

constexpr ForeignNames kForeign[] = {
    // The model and its files
    {"base_model base_model_name model_name model_path model_id model_dir base_model_name_or_path "
     "pretrained_model_name_or_path pretrained init_from checkpoint_path hf_model_id",
     "model_name_or_path", ""},
    {"revision", "model_revision", ""},
    {"tokenizer tokenizer_name tokenizer_path tokenizer_name_or_path tokenizer_config "
     "processing_class "
     "tokenizer_type model_type config_name",
     "",
     "the tokenizer and the architecture are those of the model's folder; another chat template "
     "is given with  --chat_template_path"},
    {"chat_template template prompt_template chat_template_jinja template_path "
     "conversation_template",
     "chat_template_path", "(a .jinja file or a model; the model's own is taken without it)"},
    {"special_tokens add_tokens new_tokens additional_special_tokens resize_token_embeddings "
     "resize_vocab",
     "", "the vocabulary stays the model's; --eos_token  chooses the token that ends a text"},
    {"cache_dir hf_cache_dir model_cache_dir", "",
     "the cache's place is said by the variable HF_HOME or HF_HUB_CACHE"},
    {"token use_auth_token hf_token auth_token hf_use_auth_token hf_hub_token use_token", "",
     "set the variable HF_TOKEN; --hub_token  is for uploads alone"},
    {"attention attn flash_attention flash_attention_2 use_flash_attention use_flash_attention_2 "
     "use_flash_attn flash_attn xformers_attention sdp_attention sdpa attn_impl eager_attention "
     "s2_attention disable_flash_attn",
     "", "nothing is to be chosen: one attention, fused, serves every model and device"},
    {"rope_scaling rope_theta config_overrides", "",
     "the model's configuration is taken as it is; change config.json in the model's folder"},

    // Data
    {"dataset data data_path dataset_path train_file train_data train_dataset data_file train_path "
     "train_files dataset_dir data_name dataset_id training_data train_data_path dataset_files",
     "dataset_name", "(a file, a folder, or owner/name on the hub; a mixture: datasets)"},
    {"dataset_config_name subset dataset_subset dataset_subset_name", "dataset_config", ""},
    {"split train_split dataset_split dataset_train_name train_on_split", "dataset_train_split",
     ""},
    {"eval_split test_split validation_split dataset_test_name dataset_eval_split "
     "eval_dataset_split",
     "dataset_test_split", ""},
    {"eval_file validation_file test_file eval_data eval_dataset val_data eval_path valid_file "
     "test_datasets eval_datasets val_dataset eval_data_path",
     "",
     "evaluation rows are another split of the same data: a folder with train.jsonl and "
     "test.jsonl, or a share of them by  --test_split_size 0.05"},
    {"val_size val_set_size validation_split_percentage test_size eval_size val_split eval_ratio "
     "validation_size val_ratio test_split_ratio",
     "test_split_size", ""},
    {"max_train_samples max_samples num_samples max_examples train_samples max_train_examples "
     "num_train_samples limit_samples dataset_size sample_size",
     "", "a slice of the split does that:  --dataset_train_split 'train[:1000]'"},
    {"max_eval_samples max_test_samples num_eval_samples", "",
     "a slice of the split does that:  --dataset_test_split 'test[:1000]'"},
    {"text_column text_field text_column_name content_column", "dataset_text_field", ""},
    {"columns column_mapping rename_columns field_map", "column_map", ""},
    {"messages_column conversation_column message_field field_messages conversations_column "
     "message_column chat_column",
     "messages_field", ""},
    {"roles role_mapping roles_map message_property_mappings", "role_map", ""},
    {"prompt_column question_column instruction_column input_column response_column answer_column "
     "output_column completion_column field_instruction field_output field_input input_key "
     "output_key prompt_field completion_field",
     "column_map", "(--column_map question=prompt answer=completion)"},
    {"train_on_inputs train_on_prompt train_on_input mask_prompt mask_inputs mask_user_labels "
     "mask_prompts train_on_prompts",
     "",
     "what is trained: --completion_only_loss  (rows with a prompt) and  --assistant_only_loss  "
     "(conversations), each true or false"},
    {"response_template instruction_template train_on_responses_only train_on_completions_only "
     "responses_only only_train_on_response completion_only roles_to_train train_on_eos "
     "mask_history train_on_turn dataset_loss_mask",
     "",
     "--assistant_only_loss  trains the assistant's turns of conversations, "
     "--completion_only_loss  the completions of prompts; no template of a response is needed"},
    {"formatting_func formatting_function format_fn prompt_format prompt_style prompt_strategy "
     "formatting dataset_format data_format",
     "", "rows are read in the shapes that `sft help data` lists; --column_map  renames columns"},
    {"preprocessing_num_workers num_workers num_proc dataset_processes dataset_workers "
     "preprocess_workers dataset_num_workers",
     "dataset_num_proc", ""},
    {"dataset_prepared_path tokenized_path cache_path save_tokenized dataset_cache "
     "tokenized_dataset",
     "", "tokenised data are kept for the next run by themselves ($SFT_CACHE)"},
    {"data_collator collator", "", "batches are made by the program itself, without padding"},
    {"shuffle shuffle_data shuffle_merged_datasets shuffle_train disable_shuffling no_shuffle "
     "shuffle_seed",
     "",
     "rows come in TRL's random order by --data_seed; --train_sampling_strategy sequential  "
     "keeps the files' order"},
    {"buffer_size shuffle_buffer_size streaming_dataset", "dataset_streaming", ""},

    // Length, batch, how long
    {"seq_len seq_length sequence_len sequence_length cutoff_len block_size model_max_length "
     "max_len context_length context_len max_tokens max_sequence_length max_source_length "
     "max_input_length max_token_length maxlen seqlen",
     "max_length", ""},
    {"epochs num_epochs n_epochs train_epochs max_epochs epoch", "num_train_epochs", ""},
    {"steps num_steps train_steps max_train_steps total_steps training_steps num_train_steps "
     "max_steps_per_epoch iters",
     "max_steps", ""},
    {"batch_size micro_batch_size train_batch_size micro_train_batch_size batch bs mbs "
     "train_micro_batch_size_per_gpu device_train_batch_size per_gpu_batch_size",
     "per_device_train_batch_size", ""},
    {"eval_batch_size micro_eval_batch_size val_batch_size test_batch_size",
     "per_device_eval_batch_size", ""},
    {"global_batch_size total_batch_size effective_batch_size total_train_batch_size", "",
     "it is --per_device_train_batch_size times --gradient_accumulation_steps times the ranks"},
    {"grad_accum grad_accum_steps gradient_accumulation accumulate_grad_batches accumulation_steps "
     "grad_accumulation_steps gradient_accumulation_step accum_steps ga_steps",
     "gradient_accumulation_steps", ""},
    {"sample_packing neat_packing pack use_packing pack_dataset group_texts packed multipack",
     "packing", ""},
    {"eval_sample_packing", "eval_packing", ""},
    {"pad_to_sequence_len pad_to_max_length padding padding_side pad_to_max padding_strategy", "",
     "nothing is padded: rows of a batch lie end to end"},

    // Optimizer, schedule, precision
    {"lr base_lr max_lr peak_lr step_size", "learning_rate", ""},
    {"min_lr min_learning_rate lr_min cosine_min_lr_ratio min_lr_ratio", "",
     "--lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs '{\"min_lr\": 1e-6}'"},
    {"scheduler lr_scheduler lr_schedule schedule lr_decay_style scheduler_type decay_type",
     "lr_scheduler_type", ""},
    {"warmup num_warmup_steps warm_up_steps lr_warmup_steps", "warmup_steps", ""},
    {"warmup_proportion warmup_fraction lr_warmup_ratio", "warmup_ratio", ""},
    {"optimizer optim_name opt optimizer_type", "optim", ""},
    {"wd weight_decay_rate l2", "weight_decay", ""},
    {"beta1 adam_b1", "adam_beta1", ""},
    {"beta2 adam_b2", "adam_beta2", ""},
    {"eps epsilon adam_eps optim_eps", "adam_epsilon", ""},
    {"clip_grad_norm grad_clip gradient_clipping clip max_norm gradient_clip_val max_gradient_norm "
     "clip_grad gradient_clip grad_norm_clip",
     "max_grad_norm", ""},
    {"optimizers optimizer_cls_and_kwargs optimizer_kwargs", "optim", ""},
    {"precision half fp32 float32 float16 bfloat16 pure_bf16 "
     "data_type model_dtype mixed",
     "",
     "--bf16 true|false  says what is computed in;  --fp16  is float16;  --dtype bfloat16  "
     "trains weights in bfloat16"},
    {"use_gradient_checkpointing grad_checkpointing activation_checkpoint recompute "
     "enable_activation_checkpointing enable_gradient_checkpointing disable_gradient_checkpointing",
     "gradient_checkpointing", ""},
    {"enable_activation_offloading cpu_offload offload", "activation_offloading",
     "(--offload_optimizer  and  --offload_param  keep states and weights in the host's memory)"},
    {"enable_liger_kernel liger liger_kernel liger_rope liger_swiglu liger_rms_norm "
     "liger_fused_linear_cross_entropy liger_glu_activation liger_layer_norm unsloth use_unsloth "
     "unsloth_cross_entropy_loss cut_cross_entropy",
     "use_liger_kernel", "(what it fuses is always fused)"},
    {"compile torch_compile_kwargs", "torch_compile", ""},
    {"quantization quantization_bit quantization_method quantize bits bnb_4bit load_4bit qlora "
     "use_qlora",
     "load_in_4bit", "(with --use_peft;  --load_in_8bit  is LLM.int8,  --base_dtype fp8  float8)"},
    {"quantization_config bnb_config llm_int8_skip_modules llm_int8_threshold "
     "bnb_4bit_compute_dtype modules_to_not_convert",
     "model_init_kwargs", "('{\"quantization_config\": {...}}')"},
    {"gptq awq", "", "models in GPTQ and AWQ are not read; bitsandbytes', float8 and GGUF are"},

    // Adapters
    {"lora use_lora peft peft_type finetuning_type full_finetuning", "use_peft",
     "(low-rank adapters; without it all weights are trained)"},
    {"lora_rank lora_dim peft_lora_r", "lora_r", ""},
    {"peft_lora_alpha", "lora_alpha", ""},
    {"lora_target lora_target_linear lora_modules target_modules", "lora_target_modules", ""},
    {"modules_to_save", "lora_modules_to_save", ""},
    {"peft_config", "lora_config", "(a file or JSON with fields of PEFT's LoraConfig)"},
    {"adapter lora_path adapter_name_or_path lora_model_dir lora_weights", "model_name_or_path",
     "(an adapter's folder as the model is trained on)"},
    {"lora_fan_in_fan_out loraplus_lr_ratio freeze freeze_layers freeze_trainable_layers "
     "relora_steps badam galore use_galore unfrozen_parameters freeze_extra_modules",
     "", kAdapters},
    {"stage rl training_stage task task_type dpo kto orpo reward_model beta pref_beta ref_model "
     "trainer_type",
     "", "supervised fine-tuning is all this program does"},

    // What is written
    {"output out out_dir save_dir output_path save_path result_dir results_dir outdir "
     "checkpoint_dir ckpt_dir output_folder",
     "output_dir", ""},
    {"save_every save_interval save_freq checkpoint_every checkpointing_steps saves_per_epoch "
     "save_checkpoint_steps ckpt_interval",
     "save_steps", "(and --save_strategy no|steps|epoch|best)"},
    {"keep_last max_checkpoints save_last_n max_to_keep keep_checkpoints limit_checkpoints",
     "save_total_limit", ""},
    {"eval_every eval_interval eval_freq evals_per_epoch val_check_interval evaluation_steps "
     "eval_step",
     "eval_steps", "(and --eval_strategy no|steps|epoch)"},
    {"evaluate do_evaluate evaluate_during_training run_eval", "eval_strategy", ""},
    {"log_every log_steps log_interval logging_interval log_freq", "logging_steps", ""},
    {"resume resume_from resume_from_ckpt resume_training auto_resume_from_checkpoints "
     "auto_resume load_checkpoint continue_training",
     "resume_from_checkpoint", ""},
    {"wandb use_wandb tensorboard logger tracker trackers log_with wandb_mode wandb_log_model "
     "use_tensorboard report",
     "report_to", "(wandb or tensorboard)"},
    {"wandb_project project_name", "project", ""},
    {"wandb_name wandb_run_name wandb_run_id experiment_name exp_name run_id", "run_name", ""},
    {"wandb_entity wandb_watch wandb_api_key mlflow_tracking_uri comet_api_key swanlab_project "
     "use_swanlab use_comet use_mlflow mlflow_experiment_name comet_project_name",
     "",
     "wandb's files are written offline, for  wandb sync ; --report_to tensorboard  is the other "
     "tracker"},
    {"plot_loss plot dashboard ui web_ui", "",
     "report.html and loss.svg are always drawn, and  --watch  serves a page while training"},
    {"hub_repo_id repo_id hub_repo push_to_hub_repo hub_repo_name", "hub_model_id", ""},
    {"export_dir merge_weights save_merged merged_16bit save_method", "output_dir",
     "(the model is always saved whole)"},
    {"random_seed rng_seed global_seed torch_seed", "seed", ""},
    {"cpu no_gpu use_gpu device cuda device_map accelerator device_ids gpu_id", "use_cpu",
     "(a GPU is used where there is one; CUDA_VISIBLE_DEVICES  chooses it)"},
    {"num_threads n_threads cpu_threads omp_num_threads nthreads", "threads", ""},

    // Ranks
    {"gpus num_gpus devices n_gpu n_gpus nproc_per_node nproc world_size nnodes num_nodes nodes "
     "node_rank gpus_per_node num_gpus_per_node master_addr master_port rdzv_endpoint multi_gpu "
     "num_processes_per_node rank ngpus max_restarts use_ray ray_num_workers",
     "", kRanks},
    {"ds_config deepspeed_config deepspeed_config_file use_deepspeed ds_config_file", "deepspeed",
     ""},
    {"zero zero3 zero2 ds_stage", "zero_stage", ""},
    {"fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params fsdp_version use_fsdp fsdp_strategy "
     "fsdp_transformer_layer_cls",
     "fsdp", ""},
    {"tensor_parallel_size tp_size pipeline_parallel_size pp_size sequence_parallel_degree "
     "context_parallel_size sequence_parallel_size expert_parallel_size cp_size",
     "", "what ranks share out is said by  --zero_stage 1|2|3 ; layers are not split"},

    // The Trainer's arguments in Python
    {"early_stopping early_stop early_stopping_callback patience early_stop_patience",
     "early_stopping_patience", "(evaluations that are no better than the best)"},
    {"callbacks callback", "",
     "there are no callbacks; what is asked of them is often  --early_stopping_patience  or  "
     "--load_best_model_at_end"},
    {"compute_metrics compute_loss_func compute_loss preprocess_logits_for_metrics eval_metrics "
     "metrics metric do_bleu_eval do_causal_lm_eval eval_causal_lm_metrics predict_with_generate "
     "generation_config compute_accuracy",
     "", "evaluation always gives loss, entropy and mean_token_accuracy"},
    {"model_init args training_args train_args sft_config trainer config_path yaml config_yaml "
     "recipe",
     "", "a YAML file with the same names as the flags is given with  --config"},
    // Of older transformers
    {"sharded_ddp xpu_backend jit_mode_eval use_ipex past_index tpu_num_cores tpu_metrics_debug "
     "mp_parameters ray_scope place_model_on_device use_legacy_prediction_loop "
     "neftune",
     "", "it has no meaning here; leave it out"},
};

}  // namespace

std::span<const ForeignNames> foreign_option_names() { return kForeign; }

}  // namespace sft
