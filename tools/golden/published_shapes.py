"""Writes tests/model/published.json: models of each family at their published sizes, shapes alone.

usage: python tools/golden/published_shapes.py          (torch, transformers 5.24)

Each entry: config.json, and what transformers makes of it on the meta device: how many values and tensors there are, and a hash
(FNV-1a, 64 bits) of the lines "NAME [SIZES]" in the order of their names.
"""

import json
import pathlib

import torch
import transformers

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/model/published.json"


def plain(theta):
    return {"rope_type": "default", "rope_theta": theta}


def longrope(count, share=1.0):
    return {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": share,
            "short_factor": [1.0] * count, "long_factor": [1.0 + i for i in range(count)]}  # fmt: skip


def linear(heads):
    return dict(head_dim=256, linear_num_key_heads=16, linear_num_value_heads=heads)


def mixture(hidden, layers, heads, value_heads, experts, width, **more):
    """Qwen3.5 with experts."""
    both = dict(num_experts=experts, moe_intermediate_size=width, shared_expert_intermediate_size=width)
    given = {**sizes(248320, hidden, 0, layers, heads, 2), **linear(value_heads), **both, **more}
    given.pop("intermediate_size")
    return given


def gemma4(window=512, **more):
    pattern = more.pop("pattern", 6)
    layers = more["num_hidden_layers"]
    types = ["full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(layers)]
    return dict(more, head_dim=256, global_head_dim=512, sliding_window=window, layer_types=types, final_logit_softcapping=30.0)


def lfm2(width):
    return dict(full_attn_idxs=[2, 5, 8, 10, 12, 14], intermediate_size=width)


def sizes(vocab, hidden, intermediate, layers, heads, kv_heads, **more):
    return dict(vocab_size=vocab, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
                num_attention_heads=heads, num_key_value_heads=kv_heads, **more)  # fmt: skip


MODELS = {
    "Llama-3.2-1B": ("LlamaConfig", sizes(128256, 2048, 8192, 16, 32, 8, head_dim=64, tie_word_embeddings=True)),
    "Llama-3.1-8B": ("LlamaConfig", sizes(128256, 4096, 14336, 32, 32, 8)),
    "Qwen2.5-0.5B": ("Qwen2Config", sizes(151936, 896, 4864, 24, 14, 2, tie_word_embeddings=True)),
    "Qwen2.5-7B": ("Qwen2Config", sizes(152064, 3584, 18944, 28, 28, 4)),
    "Qwen3-0.6B": ("Qwen3Config", sizes(151936, 1024, 3072, 28, 16, 8, head_dim=128, tie_word_embeddings=True)),
    "Qwen3-8B": ("Qwen3Config", sizes(151936, 4096, 12288, 36, 32, 8, head_dim=128)),
    "Mistral-7B-v0.3": ("MistralConfig", sizes(32768, 4096, 14336, 32, 32, 8, sliding_window=None)),
    "Mistral-Small-24B": ("MistralConfig", sizes(131072, 5120, 32768, 40, 32, 8, head_dim=128, sliding_window=None)),
    "Ministral-3-3B": ("Ministral3Config", sizes(131072, 3072, 9216, 26, 32, 8, head_dim=128, tie_word_embeddings=True)),
    "Ministral-3-14B": ("Ministral3Config", sizes(131072, 5120, 16384, 40, 32, 8, head_dim=128)),
    "gemma-2-2b": ("Gemma2Config", sizes(256000, 2304, 9216, 26, 8, 4, head_dim=256)),
    "gemma-2-27b": ("Gemma2Config", sizes(256000, 4608, 36864, 46, 32, 16, head_dim=128, query_pre_attn_scalar=144)),
    "gemma-3-270m": ("Gemma3TextConfig", sizes(262144, 640, 2048, 18, 4, 1, head_dim=256, sliding_window=512)),
    "gemma-3-1b": ("Gemma3TextConfig", sizes(262144, 1152, 6912, 26, 4, 1, head_dim=256, sliding_window=512)),
    "gemma-4-E2B": ("Gemma4TextConfig", gemma4(pattern=5, **sizes(262144, 1536, 6144, 35, 8, 1, num_kv_shared_layers=20,
                                                                 hidden_size_per_layer_input=256, use_double_wide_mlp=True))),
    "gemma-4-E4B": ("Gemma4TextConfig", gemma4(**sizes(262144, 2560, 10240, 42, 8, 2, num_kv_shared_layers=18,
                                                       hidden_size_per_layer_input=256))),
    "gemma-4-31B": ("Gemma4TextConfig", gemma4(window=1024, **sizes(262144, 5376, 21504, 60, 32, 16, hidden_size_per_layer_input=0,
                                                                    num_global_key_value_heads=4, attention_k_eq_v=True,
                                                                    use_bidirectional_attention="vision"))),
    "gemma-4-26B-A4B": ("Gemma4TextConfig", gemma4(window=1024, **sizes(262144, 2816, 2112, 30, 16, 8, hidden_size_per_layer_input=0,
                                                                        num_global_key_value_heads=2, attention_k_eq_v=True,
                                                                        enable_moe_block=True, num_experts=128, top_k_experts=8,
                                                                        moe_intermediate_size=704,
                                                                        use_bidirectional_attention="vision"))),
    "Phi-4-mini": ("Phi3Config", sizes(200064, 3072, 8192, 32, 24, 8, tie_word_embeddings=True, max_position_embeddings=131072,
                                       rope_parameters=longrope(48, 0.75), pad_token_id=199999)),
    "Phi-4": ("Phi3Config", sizes(100352, 5120, 17920, 40, 40, 10, rope_parameters=plain(250000.0), pad_token_id=100351)),
    "SmolLM3-3B": ("SmolLM3Config", sizes(128256, 2048, 11008, 36, 16, 4)),
    "SmolLM3-untied": ("SmolLM3Config", sizes(128256, 2048, 11008, 36, 16, 4, tie_word_embeddings=False)),
    "OLMo-2-1B": ("Olmo2Config", sizes(100352, 2048, 8192, 16, 16, 16)),
    "OLMo-2-32B": ("Olmo2Config", sizes(100352, 5120, 27648, 64, 40, 8)),
    "Olmo-3-7B": ("Olmo3Config", sizes(100278, 4096, 11008, 32, 32, 32)),
    "Olmo-3-32B": ("Olmo3Config", sizes(100278, 5120, 27648, 64, 40, 8)),
    "granite-3.3-2b": ("GraniteConfig", sizes(49159, 2048, 8192, 40, 32, 8, tie_word_embeddings=True)),
    "granite-3.3-8b": ("GraniteConfig", sizes(49159, 4096, 12800, 40, 32, 8, tie_word_embeddings=True)),
    "GLM-4-9B-0414": ("Glm4Config", sizes(151552, 4096, 13696, 40, 32, 2, head_dim=128, attention_bias=True)),
    "GLM-4-32B-0414": ("Glm4Config", sizes(151552, 6144, 23040, 61, 48, 2, head_dim=128, attention_bias=False)),
    "ERNIE-4.5-0.3B": ("Ernie4_5Config", sizes(103424, 1024, 3072, 18, 16, 2, head_dim=128)),
    "ERNIE-4.5-bias": ("Ernie4_5Config", sizes(103424, 1024, 3072, 18, 16, 2, head_dim=128, use_bias=True, tie_word_embeddings=False)),
    "Hunyuan-0.5B": ("HunYuanDenseV1Config", sizes(120818, 1024, 3584, 24, 16, 8, head_dim=128, tie_word_embeddings=True)),
    "Hunyuan-7B": ("HunYuanDenseV1Config", sizes(128167, 4096, 14336, 32, 32, 8, head_dim=128, tie_word_embeddings=True)),
    "starcoder2-3b": ("Starcoder2Config", sizes(49152, 3072, 12288, 30, 24, 2)),
    "starcoder2-15b": ("Starcoder2Config", sizes(49152, 6144, 24576, 40, 48, 4)),
    "c4ai-command-r7b": ("Cohere2Config", sizes(256000, 4096, 14336, 32, 32, 8)),
    "c4ai-command-a": ("Cohere2Config", sizes(256000, 12288, 36864, 64, 96, 8)),
    "EXAONE-4.0-1.2B": ("Exaone4Config", sizes(102400, 2048, 4096, 30, 32, 8, head_dim=64, tie_word_embeddings=True,
                                               sliding_window=None, layer_types=["full_attention"] * 30)),
    "EXAONE-4.0-32B": ("Exaone4Config", sizes(102400, 5120, 27392, 64, 40, 8, head_dim=128)),
    "Seed-OSS-36B": ("SeedOssConfig", sizes(155136, 5120, 27648, 64, 80, 8, head_dim=128, attention_dropout=0.0, residual_dropout=0.0)),
    "Seed-OSS-tied": ("SeedOssConfig", sizes(155136, 2560, 13824, 32, 40, 8, head_dim=128, tie_word_embeddings=True,
                                             attention_dropout=0.0, residual_dropout=0.0)),
    "Qwen3-30B-A3B": ("Qwen3MoeConfig", sizes(151936, 2048, 6144, 48, 32, 4, head_dim=128, moe_intermediate_size=768,
                                              num_local_experts=128, norm_topk_prob=True)),
    "Qwen3-235B-A22B": ("Qwen3MoeConfig", sizes(151936, 4096, 12288, 94, 64, 4, head_dim=128, moe_intermediate_size=1536,
                                                num_local_experts=128, norm_topk_prob=True)),
    "Mixtral-8x7B": ("MixtralConfig", sizes(32000, 4096, 14336, 32, 32, 8)),
    "Mixtral-8x22B": ("MixtralConfig", sizes(32768, 6144, 16384, 56, 48, 8)),
    "gpt-oss-20b": ("GptOssConfig", sizes(201088, 2880, 2880, 24, 64, 8, head_dim=64, num_local_experts=32, eos_token_id=200002,
                                          pad_token_id=199999)),
    "gpt-oss-120b": ("GptOssConfig", sizes(201088, 2880, 2880, 36, 64, 8, head_dim=64, eos_token_id=200002, pad_token_id=199999)),
    "GLM-4.5-Air": ("Glm4MoeConfig", sizes(151552, 4096, 10944, 46, 96, 8, head_dim=128, attention_bias=True, n_routed_experts=128,
                                           moe_intermediate_size=1408, first_k_dense_replace=1)),
    "GLM-4.5": ("Glm4MoeConfig", sizes(151552, 5120, 12288, 92, 96, 8, head_dim=128, attention_bias=True, n_routed_experts=160,
                                       moe_intermediate_size=1536, first_k_dense_replace=3, use_qk_norm=True, routed_scaling_factor=2.5)),
    "OLMoE-1B-7B": ("OlmoeConfig", sizes(50304, 2048, 1024, 16, 16, 16)),
    "Qwen3.5-0.8B": ("Qwen3_5TextConfig", sizes(248320, 1024, 3584, 24, 8, 2, tie_word_embeddings=True, **linear(16))),
    "Qwen3.5-9B": ("Qwen3_5TextConfig", sizes(248320, 4096, 12288, 32, 16, 4, **linear(32))),
    "Qwen3-Next-80B-A3B": ("Qwen3NextConfig", sizes(151936, 2048, 5120, 48, 16, 2, **linear(32), num_experts=512, num_experts_per_tok=10,
                                                    moe_intermediate_size=512, shared_expert_intermediate_size=512)),
    "Qwen3.5-35B-A3B": ("Qwen3_5MoeTextConfig", mixture(2048, 40, 16, 32, 256, 512)),
    "Qwen3.5-122B-A10B": ("Qwen3_5MoeTextConfig", mixture(3072, 48, 32, 64, 256, 1024)),
    "Qwen3.5-397B-A17B": ("Qwen3_5MoeTextConfig", mixture(4096, 60, 32, 64, 512, 1024, num_experts_per_tok=10)),
    "LFM2-350M": ("Lfm2Config", {**sizes(65536, 1024, 0, 16, 16, 8), **lfm2(6656)}),
    "LFM2-1.2B": ("Lfm2Config", {**sizes(65536, 2048, 0, 16, 32, 8), **lfm2(12288)}),
}  # fmt: skip


def fnv(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def as_published(name, shape, kind):
    """A parameter under the names that its file has: transformers 5 holds experts in two tensors a layer, files one by one."""
    if kind == "GptOssConfig":
        return {name: shape}
    mixtral = kind == "MixtralConfig"
    layer, found, which = name.partition(".experts.")
    if not found:
        return {name.replace("mlp.gate.", "block_sparse_moe.gate.") if mixtral else name: shape}
    names = {"gate_up_proj": ("w1", "w3") if mixtral else ("gate_proj", "up_proj"),
             "down_proj": ("w2",) if mixtral else ("down_proj",)}[which]  # fmt: skip
    layer = layer.removesuffix("mlp") + "block_sparse_moe" if mixtral else layer
    count, rows, columns = shape
    return {f"{layer}.experts.{e}.{n}.weight": [rows // len(names), columns] for e in range(count) for n in names}


def entry(kind, settings):
    config = getattr(transformers, kind)(**settings)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    # With what a router keeps beside its parameters, and what scales a layer.
    kept = ("correction_bias", "layer_scalar")
    tensors = dict(model.named_parameters()) | {n: b for n, b in model.named_buffers() if n.endswith(kept)}
    shapes = {}
    for name, p in tensors.items():
        shapes.update(as_published(name, list(p.shape), kind))
    config.architectures = [type(model).__name__]
    return {
        "config": json.loads(config.to_json_string(use_diff=True)),
        "parameters": sum(p.numel() for p in tensors.values()),
        "tensors": len(shapes),
        "hash": fnv("".join(f"{name} {shapes[name]}\n" for name in sorted(shapes))),
    }


if __name__ == "__main__":
    out = {name: entry(*model) for name, model in MODELS.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in out.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for name, value in out.items():
        print(f"{name}: {value['parameters'] / 1e9:.3f} billion parameters in {value['tensors']} tensors")
