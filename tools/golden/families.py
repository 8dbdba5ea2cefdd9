"""Writes tests/model/golden/<case>/: tiny random models of each family and what transformers computes with them.

usage: python tools/golden/families.py [case ...]          (torch, transformers 5.24, safetensors)

Each folder holds config.json and model.safetensors as transformers saves them (families ending in `_old` have the config
keys of transformers 4) and expected.json:
  documents      token ids and labels, each document run on its own; the label of a token is predicted at the token before
                 it, -100 is not trained, and the label of a document's first token is never a target
  logits         per document: values[i][j] is the logit of token cols[j] at position rows[i]
  first_layers   the same of the first document for the model without its last layers: entry k has the first k + 1
  loss, targets  sum of the cross entropies of all documents over the number of trained targets, and that number
  gradients      of the loss, for every tensor under the name that its file has: shape, sum, sum of squares, first 8 values
"""

import copy
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/model/golden"
LENGTHS = (23, 40)

SMALL = dict(
    vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.08, rms_norm_eps=1e-6,
    bos_token_id=1, eos_token_id=2, pad_token_id=None, use_cache=True,
)  # fmt: skip


def plain_rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
YARN_TUNED = {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5}
GEMMA_ROPE = {
    "sliding_attention": plain_rope(10000.0),
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}
GEMMA2 = dict(
    num_hidden_layers=3, head_dim=12, sliding_window=8, query_pre_attn_scalar=20, hidden_activation="gelu_pytorch_tanh",
    attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
)  # fmt: skip
GEMMA = dict(
    num_hidden_layers=3, head_dim=12, sliding_window=8, query_pre_attn_scalar=20,
    hidden_activation="gelu_pytorch_tanh", layer_types=["sliding_attention", "sliding_attention", "full_attention"],
)  # fmt: skip

LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.5, 2.5, 5.0, 9.0],
}  # fmt: skip
MINISTRAL = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
OLMO3_ROPE = {"sliding_attention": plain_rope(5e5), "full_attention": {**YARN, "rope_theta": 5e5, "attention_factor": 1.2}}
MROPE = {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5, "mrope_section": [2, 1, 1],
         "mrope_interleaved": True}  # fmt: skip
PARTIAL_ROPE = {**plain_rope(1e7), "partial_rotary_factor": 0.25}
HARMONY_ROPE = {**YARN, "rope_theta": 150000.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
HYBRID = ["sliding_attention", "full_attention", "sliding_attention"]
GEMMA4_ROPE = {
    "sliding_attention": plain_rope(10000.0),
    "full_attention": {"rope_type": "proportional", "rope_theta": 1000000.0, "partial_rotary_factor": 0.25},
}
GEMMA4 = dict(
    num_hidden_layers=5, head_dim=8, sliding_window=8, hidden_activation="gelu_pytorch_tanh", final_logit_softcapping=3.0,
    initializer_range=0.03,
    layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    per_layer_config={1: {"head_dim": 16}, 4: {"head_dim": 16}},
)  # fmt: skip

# case: (configuration class, its settings, what the older config style changes or None for the newer style)
FAMILIES = {
    "qwen2": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e6), use_sliding_window=False,
                                  sliding_window=None), None),
    "qwen2_old": ("Qwen2Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e6), use_sliding_window=False,
                                      sliding_window=None),
                  {"sliding_window": 8, "max_window_layers": 1, "use_sliding_window": False}),
    "qwen2_window": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e4),
                                         use_sliding_window=True, sliding_window=8, max_window_layers=1), None),
    "llama3": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=LLAMA3), None),
    "llama3_old": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters=LLAMA3), {}),
    "llama_linear": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters={
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}), None),
    # Documents of 23 and 40 tokens: the second is longer than what the model was made for.
    "llama_dynamic": ("LlamaConfig", dict(tie_word_embeddings=False, max_position_embeddings=32, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}), None),
    "llama_longrope": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters={
        **LONGROPE, "factor": 4.0, "original_max_position_embeddings": 32}), None),
    "llama_yarn": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=YARN, head_dim=16, max_position_embeddings=64), None),
    "llama_yarn_tuned": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=YARN_TUNED, head_dim=16,
                                               max_position_embeddings=64), None),
    "smollm2": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e5), hidden_size=36,
                                    num_attention_heads=3, num_key_value_heads=1, rms_norm_eps=1e-5),
                {"rope_interleaved": False, "is_llama_config": True, "rope_scaling": None}),
    "qwen3": ("Qwen3Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e6), head_dim=16,
                                  use_sliding_window=False, sliding_window=None), None),
    "mistral": ("MistralConfig", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e4), sliding_window=8,
                                      head_dim=12), None),
    "mistral_yarn": ("MistralConfig", dict(tie_word_embeddings=True, rope_parameters=YARN, sliding_window=None,
                                           head_dim=16), None),
    "ministral3": ("Ministral3Config", dict(tie_word_embeddings=True, rope_parameters=MINISTRAL, head_dim=16), None),
    "ministral3_window": ("Ministral3Config", dict(tie_word_embeddings=False, rope_parameters={
        **MINISTRAL, "original_max_position_embeddings": 8, "llama_4_scaling_beta": 0.3}, sliding_window=12, head_dim=12), None),
    "gemma2": ("Gemma2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e4), **GEMMA2), None),
    "gemma2_old": ("Gemma2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e4), num_key_value_heads=4,
                                        **GEMMA2), {"cache_implementation": "hybrid"}),
    "gemma3": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=GEMMA_ROPE, **GEMMA), None),
    "gemma3_old": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=GEMMA_ROPE, **GEMMA),
                   {"rope_local_base_freq": 10000.0, "sliding_window_pattern": 3, "attn_logit_softcapping": None,
                    "final_logit_softcapping": None}),
    # E2B's form: the last two layers look at keys and values of layers before them, and are wider.
    "gemma4": ("Gemma4TextConfig", dict(tie_word_embeddings=True, rope_parameters=GEMMA4_ROPE, hidden_size_per_layer_input=8,
                                        vocab_size_per_layer_input=128, num_kv_shared_layers=2, use_double_wide_mlp=True,
                                        **{**GEMMA4, "num_key_value_heads": 1}), None),
    # As it is published; one layer of each kind has keys and values.
    "gemma4_published": ("Gemma4TextConfig", dict(tie_word_embeddings=False, rope_parameters=GEMMA4_ROPE, hidden_size_per_layer_input=4,
                                                  vocab_size_per_layer_input=128, num_kv_shared_layers=3, attention_bias=True,
                                                  **GEMMA4), lambda config: published_gemma4(config, 16, None)),
    # 31B's form: keys are values too in full layers, which have fewer.
    "gemma4_keys": ("Gemma4TextConfig", dict(
        tie_word_embeddings=True, rope_parameters={**GEMMA4_ROPE, "full_attention": {
            **GEMMA4_ROPE["full_attention"], "partial_rotary_factor": 0.5, "factor": 2.0}}, hidden_size_per_layer_input=0,
        attention_k_eq_v=True, **{**GEMMA4, "per_layer_config": {i: {"head_dim": 16, "num_key_value_heads": 1} for i in (1, 4)}}),
        lambda config: published_gemma4(config, 16, 1)),
    "gemma4_keys_shared": ("Gemma4TextConfig", dict(tie_word_embeddings=False, rope_parameters=GEMMA4_ROPE, hidden_size_per_layer_input=4,
                                                    vocab_size_per_layer_input=128, num_kv_shared_layers=1, attention_k_eq_v=True, use_double_wide_mlp=True,
                                                    **{**GEMMA4, "final_logit_softcapping": None}), None),
    # 26B-A4B's form.
    "gemma4_experts": ("Gemma4TextConfig", dict(
        tie_word_embeddings=True, rope_parameters=GEMMA4_ROPE, hidden_size_per_layer_input=0, attention_k_eq_v=True,
        enable_moe_block=True, num_experts=8, top_k_experts=3, moe_intermediate_size=28,
        **{**GEMMA4, "num_hidden_layers": 3, "layer_types": GEMMA4["layer_types"][2:],
           "per_layer_config": {2: {"head_dim": 16, "num_key_value_heads": 1}}}),
        lambda config: published_gemma4(config, 16, 1)),
    "gemma4_experts_words": ("Gemma4TextConfig", dict(
        tie_word_embeddings=False, rope_parameters=GEMMA4_ROPE, hidden_size_per_layer_input=4, vocab_size_per_layer_input=128,
        num_kv_shared_layers=1, use_double_wide_mlp=True, enable_moe_block=True, num_experts=5, top_k_experts=2,
        moe_intermediate_size=16, **{**GEMMA4, "num_hidden_layers": 3, "per_layer_config": {i: {"head_dim": 16} for i in (1, 2)},
                                     "layer_types": ["sliding_attention", "full_attention", "full_attention"]}), None),
    "phi3": ("Phi3Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e4), num_key_value_heads=4,
                                sliding_window=8), None),
    "phi3_longrope": ("Phi3Config", dict(tie_word_embeddings=True, max_position_embeddings=128, hidden_size=64,
                                         original_max_position_embeddings=32, sliding_window=None,
                                         rope_parameters={**LONGROPE, "partial_rotary_factor": 0.5}), None),
    "phi3_old": ("Phi3Config", dict(tie_word_embeddings=False, max_position_embeddings=128, original_max_position_embeddings=32,
                                    rope_parameters=LONGROPE), {}),
    "smollm3": ("SmolLM3Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(2e6), num_hidden_layers=4), None),
    "smollm3_window": ("SmolLM3Config", dict(tie_word_embeddings=False, rope_parameters={**YARN, "rope_theta": 5e6},
                                             num_hidden_layers=3, no_rope_layers=[1, 0, 1], use_sliding_window=True,
                                             sliding_window=8, attention_bias=True), None),
    "olmo2_equal_heads": ("Olmo2Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(5e5), num_key_value_heads=4), None),
    "olmo2_grouped": ("Olmo2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(5e5)), {}),
    "olmo3": ("Olmo3Config", dict(tie_word_embeddings=False, rope_parameters=OLMO3_ROPE, sliding_window=8, num_hidden_layers=4,
                                  num_key_value_heads=4), None),
    "olmo3_old": ("Olmo3Config", dict(tie_word_embeddings=False, num_hidden_layers=3, layer_types=HYBRID, sliding_window=8,
                                      rope_parameters={k: plain_rope(5e5) for k in OLMO3_ROPE}), {"layer_types": HYBRID}),
    "granite": ("GraniteConfig", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e7), embedding_multiplier=12.0,
                                      logits_scaling=8.0, residual_multiplier=0.22, attention_multiplier=0.0625), None),
    "granite_bias": ("GraniteConfig", dict(tie_word_embeddings=False, rope_parameters=LLAMA3, embedding_multiplier=6.0,
                                           logits_scaling=3.0, residual_multiplier=1.0, attention_multiplier=0.3,
                                           attention_bias=True, mlp_bias=True), {}),
    "seed_oss": ("SeedOssConfig", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e7), head_dim=12,
                                       attention_dropout=0.0, residual_dropout=0.0), None),
    "seed_oss_tied": ("SeedOssConfig", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e4), head_dim=8,
                                            num_key_value_heads=1, attention_out_bias=True, mlp_bias=True,
                                            attention_dropout=0.0, residual_dropout=0.0), {}),
    "glm4": ("Glm4Config", dict(tie_word_embeddings=False, head_dim=16,
                                rope_parameters={**plain_rope(1e4), "partial_rotary_factor": 0.5}), None),
    "glm4_old": ("Glm4Config", dict(tie_word_embeddings=True, head_dim=8, attention_bias=False,
                                    rope_parameters={**plain_rope(1e4), "partial_rotary_factor": 0.5}),
                 {"partial_rotary_factor": 0.5}),
    "ernie4_5": ("Ernie4_5Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(5e5), head_dim=12), None),
    "ernie4_5_bias": ("Ernie4_5Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(5e5), head_dim=8,
                                             use_bias=True, num_key_value_heads=4), {}),
    "hunyuan": ("HunYuanDenseV1Config", dict(tie_word_embeddings=True, head_dim=12, rope_parameters={
        "rope_type": "dynamic", "rope_theta": 1e4, "alpha": 1000.0, "factor": 1.0}), None),
    "hunyuan_plain": ("HunYuanDenseV1Config", dict(tie_word_embeddings=False, attention_bias=True, head_dim=8,
                                                   rope_parameters=plain_rope(1e4)), {}),
    "starcoder2": ("Starcoder2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e5), sliding_window=8), None),
    "starcoder2_plain": ("Starcoder2Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e5), use_bias=False,
                                                  num_key_value_heads=4, sliding_window=None), {}),
    "cohere2": ("Cohere2Config", dict(rope_parameters=plain_rope(5e4), logit_scale=0.25, sliding_window=8,
                                      layer_types=HYBRID, num_hidden_layers=3), None),
    "cohere2_old": ("Cohere2Config", dict(rope_parameters=plain_rope(5e4), logit_scale=0.0625, sliding_window=8,
                                          num_hidden_layers=4, attention_bias=True, num_key_value_heads=4), {
        "sliding_window_pattern": 4}),
    "exaone4": ("Exaone4Config", dict(tie_word_embeddings=False, rope_parameters=LLAMA3, sliding_window=8, num_hidden_layers=4), None),
    "exaone4_full": ("Exaone4Config", dict(tie_word_embeddings=True, rope_parameters={**LLAMA3, "rope_theta": 1e6},
                                           sliding_window=None, head_dim=12,
                                           layer_types=["full_attention", "full_attention"]), None),
    "qwen3_moe": ("Qwen3MoeConfig", dict(rope_parameters=plain_rope(1e6), head_dim=16, num_local_experts=8, num_experts_per_tok=3,
                                         moe_intermediate_size=24, norm_topk_prob=True, num_hidden_layers=3,
                                         mlp_only_layers=[0]), None),
    "mixtral": ("MixtralConfig", dict(rope_parameters=plain_rope(1e6), num_local_experts=4, num_experts_per_tok=2,
                                      sliding_window=9), None),
    "olmoe": ("OlmoeConfig", dict(num_key_value_heads=4, rope_parameters=plain_rope(1e4), num_experts=8, num_experts_per_tok=3, rms_norm_eps=1e-5), None),
    "olmoe_grouped": ("OlmoeConfig", dict(rope_parameters=plain_rope(1e4), num_experts=5, num_experts_per_tok=2, norm_topk_prob=True,
                                          tie_word_embeddings=True, num_key_value_heads=2), None),
    "gpt_oss": ("GptOssConfig", dict(rope_parameters=HARMONY_ROPE, head_dim=16, num_local_experts=6, num_experts_per_tok=3,
                                     num_hidden_layers=3, sliding_window=9, rms_norm_eps=1e-5), None),
    "gpt_oss_old": ("GptOssConfig", dict(rope_parameters=HARMONY_ROPE, head_dim=8, num_local_experts=4, num_experts_per_tok=2,
                                         num_key_value_heads=1, sliding_window=12, swiglu_limit=0.4),
                    {"layer_types": ["sliding_attention", "full_attention"], "num_experts": 4, "experts_per_token": 2}),
    "gpt_oss_plain": ("GptOssConfig", dict(rope_parameters=plain_rope(1e4), head_dim=12, num_local_experts=5, num_experts_per_tok=2,
                                           attention_bias=False, swiglu_limit=0.3, swiglu_alpha=1.1, tie_word_embeddings=True,
                                           layer_types=["full_attention", "sliding_attention"]), None),
    "glm4_moe": ("Glm4MoeConfig", dict(rope_parameters={**plain_rope(1e6), "partial_rotary_factor": 0.5}, head_dim=16, n_routed_experts=8,
                                       num_experts_per_tok=3, moe_intermediate_size=24, n_group=4, topk_group=2, num_hidden_layers=3,
                                       first_k_dense_replace=1, routed_scaling_factor=2.5, use_qk_norm=True, attention_bias=True,
                                       rms_norm_eps=1e-5, num_nextn_predict_layers=0), None),
    "glm4_moe_plain": ("Glm4MoeConfig", dict(rope_parameters={**plain_rope(1e4), "partial_rotary_factor": 0.5}, head_dim=8,
                                             n_routed_experts=5, num_experts_per_tok=2, moe_intermediate_size=16, n_shared_experts=2,
                                             first_k_dense_replace=0, norm_topk_prob=False, tie_word_embeddings=True, num_nextn_predict_layers=0),
                       None),
    "qwen3_moe_plain": ("Qwen3MoeConfig", dict(rope_parameters=plain_rope(1e6), head_dim=8, num_local_experts=6, num_experts_per_tok=2,
                                               moe_intermediate_size=16, norm_topk_prob=False, use_sliding_window=True,
                                               sliding_window=9, tie_word_embeddings=True), None),
    "qwen3_5": ("Qwen3_5TextConfig", dict(tie_word_embeddings=True, num_hidden_layers=4, head_dim=16, rope_parameters=MROPE,
                                          linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=8,
                                          linear_value_head_dim=12), None),
    "qwen3_5_grouped": ("Qwen3_5TextConfig", dict(
        tie_word_embeddings=False, num_hidden_layers=3, head_dim=8, rope_parameters={**MROPE, "partial_rotary_factor": 0.25},
        linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=8,
        linear_conv_kernel_dim=3, attention_bias=True, layer_types=["full_attention", "linear_attention", "linear_attention"]),
        None),
    "qwen3_next": ("Qwen3NextConfig", dict(
        tie_word_embeddings=True, num_hidden_layers=4, head_dim=16, rope_parameters=PARTIAL_ROPE, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12, num_experts=8, num_experts_per_tok=3,
        moe_intermediate_size=24, shared_expert_intermediate_size=20, mlp_only_layers=[1]), None),
    "qwen3_next_plain": ("Qwen3NextConfig", dict(
        tie_word_embeddings=False, num_hidden_layers=3, head_dim=8, rope_parameters={**PARTIAL_ROPE, "partial_rotary_factor": 0.5},
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=8, linear_conv_kernel_dim=3,
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=32, norm_topk_prob=False,
        attention_bias=True, decoder_sparse_step=2, layer_types=["full_attention", "linear_attention", "linear_attention"]), None),
    "qwen3_5_moe": ("Qwen3_5MoeTextConfig", dict(
        tie_word_embeddings=False, num_hidden_layers=4, head_dim=16, rope_parameters=MROPE, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12, num_experts=8, num_experts_per_tok=3,
        moe_intermediate_size=24, shared_expert_intermediate_size=20), None),
    "qwen3_5_moe_tied": ("Qwen3_5MoeTextConfig", dict(
        tie_word_embeddings=True, num_hidden_layers=3, head_dim=8, rope_parameters={**MROPE, "partial_rotary_factor": 0.25},
        linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=8, linear_conv_kernel_dim=3,
        num_experts=5, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=32, attention_bias=True,
        num_key_value_heads=1, layer_types=["linear_attention", "full_attention", "linear_attention"]), None),
    "lfm2": ("Lfm2Config", dict(tie_word_embeddings=True, num_hidden_layers=3, rope_parameters=plain_rope(1e6), norm_eps=1e-5,
                                block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention", "conv"]), None),
    "lfm2_adjusted": ("Lfm2Config", dict(tie_word_embeddings=False, num_hidden_layers=3, rope_parameters=plain_rope(1e5),
                                         norm_eps=1e-6, conv_bias=True, conv_L_cache=4, block_multiple_of=16,
                                         block_ffn_dim_multiplier=1.3, full_attn_idxs=[0, 2]), None),
}  # fmt: skip


def rounded(values, digits=7):
    return [float(f"{v:.{digits}g}") for v in values]


def older_style(config, changes):
    """The same model as transformers 4 wrote its configuration."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.51.3"
    config.pop("layer_types", None)
    config.pop("_sliding_window_pattern", None)
    rope = config.pop("rope_parameters")
    rope = dict(rope.get("full_attention", rope))
    rope.pop("partial_rotary_factor", None)
    config["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope
    config.update(changes)
    return dict(sorted(config.items()))


def published_gemma4(config, head_dim, kv_heads):
    """Full layers' sizes as published files have them, for all of these at once."""
    config.pop("per_layer_config")
    return dict(sorted({**config, "global_head_dim": head_dim, "num_global_key_value_heads": kv_heads}.items()))


def randomise(model):
    """Norm weights and biases away from their ones and zeros, so that a forgotten one shows; decays that let states last."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0.0, 0.1)
        elif name.endswith("A_log"):
            parameter.data.uniform_(-3.0, -0.5)  # states that last: gradients of others are only noise
        elif name.endswith("router.proj.weight"):
            parameter.data.mul_(60.0)  # its choice is no toss
        elif parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.15)
    for name, buffer in model.named_buffers():
        if name.endswith("correction_bias"):
            buffer.normal_(0.0, 0.2)
        elif name.endswith("layer_scalar"):
            buffer.uniform_(0.6, 1.3)


def documents(vocab):
    generator = torch.Generator().manual_seed(5)
    for length in LENGTHS:
        ids = torch.randint(3, vocab, (length,), generator=generator)
        masked = torch.rand(length, generator=generator) < 0.35
        masked[: length // 4] = True
        yield ids, torch.where(masked, torch.tensor(-100), ids)


def without_last_layers(model, layers):
    """The same model with its first layers only."""
    short = copy.deepcopy(model)
    short.model.layers = short.model.layers[:layers]
    return short.eval()


def some_logits(model, ids, cols):
    logits = model(ids[None], use_cache=False).logits[0].float()
    kept = list(range(0, len(ids), 3)) + ([len(ids) - 1] if (len(ids) - 1) % 3 else [])
    return logits, {"rows": kept, "cols": cols, "values": [rounded(logits[r, cols].tolist()) for r in kept]}


def one_by_one(tensors):
    """Experts that a file has in two tensors a layer, under the names that others give each of them."""
    out = {}
    for name, tensor in tensors.items():
        layer, found, which = name.partition(".experts.")
        parts = {"gate_up_proj": ["gate_proj", "up_proj"], "down_proj": ["down_proj"]}.get(which)
        if not found:
            out[name] = tensor
            continue
        for e, expert in enumerate(tensor):
            out |= {f"{layer}.experts.{e}.{part}.weight": rows for part, rows in zip(parts, expert.chunk(len(parts)))}
    return out


def published_gradients(model):
    """Gradients as save_pretrained would lay out the weights: experts one by one, not fused."""
    weights = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, _ in weights:
        parameter.data = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        gradients = load_file(pathlib.Path(folder) / "model.safetensors")
    for parameter, data in weights:
        parameter.data = data
    for name, _ in model.named_buffers():
        gradients.pop(name, None)
    if model.config.model_type == "gemma4_text":
        gradients = one_by_one(gradients)
    names = [name for name, _ in model.named_parameters()]  # of tensors that are as they are, this order
    order = {name: i for i, name in enumerate(names)}
    return dict(sorted(gradients.items(), key=lambda item: (order.get(item[0], len(names)), item[0])))


def expectations(model):
    rows = []
    logits_out = []
    total, count = 0.0, 0
    cols = list(range(0, model.config.vocab_size, 3))
    for ids, labels in documents(model.config.vocab_size):
        logits, some = some_logits(model, ids, cols)
        total = total + torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
        count += int((labels[1:] != -100).sum())
        logits_out.append(some)
        rows.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    loss = total / count
    loss.backward()
    first_ids = next(documents(model.config.vocab_size))[0]
    with torch.no_grad():
        first_layers = [
            some_logits(without_last_layers(model, k), first_ids, cols[::3])[1]
            for k in range(1, model.config.num_hidden_layers)
        ]
    gradients = {}
    for name, gradient in published_gradients(model).items():
        g = gradient.double().flatten()
        gradients[name] = {
            "shape": list(gradient.shape),
            "sum": float(f"{g.sum().item():.8g}"),
            "square": float(f"{g.square().sum().item():.8g}"),
            "first": rounded(g[:8].tolist()),
        }
    return {
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "documents": rows,
        "logits": logits_out,
        "first_layers": first_layers,
        "loss": float(f"{loss.item():.8g}"),
        "targets": count,
        "gradients": gradients,
    }


def write_family(name):
    kind, settings, old = FAMILIES[name]
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    config = getattr(transformers, kind)(**copy.deepcopy({**SMALL, **settings}))
    if unknown := [k for k in settings if k not in config.to_dict()]:
        raise SystemExit(f"{name}: {kind} knows no {unknown}")
    torch.manual_seed(sum(map(ord, name.removesuffix("_old"))))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if old is not None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(old(config) if callable(old) else older_style(config, old), indent=2) + "\n")
    saved = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    ids = torch.arange(3, 28)[None]
    difference = (saved(ids).logits - model(ids).logits).abs().max().item()
    if difference > 1e-6:
        raise SystemExit(f"{name}: the saved folder computes something else (by {difference})")
    saved.zero_grad()
    expected = expectations(saved)
    lines = json.dumps(expected, separators=(",", ":")).replace('],"cols"', '],\n"cols"').replace("],[", "],\n[")
    (folder / "expected.json").write_text(lines.replace('},"', '},\n"') + "\n")
    sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
    print(f"{name}: loss {expected['loss']:.6f}, {expected['targets']} targets, {sizes}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for family in sys.argv[1:] or FAMILIES:
        write_family(family)
