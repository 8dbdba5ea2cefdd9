"""The logits behind each token of 20 texts: of `sft` and of llama.cpp on an exported f16 file, and of transformers on the folder.

usage: gguf_logits.py SFT PROBE WORK LIBRARY [llama ... | MODEL.gguf]     (torch, transformers 5, tokenizers, gguf; on CPU)
  PROBE    build/tests/run/logits_probe (built by name)
  LIBRARY  a shared library with llama.cpp's C interface: libllama.so, or the one inside the package xllamacpp
Each family is a tiny model that `sft` trains on a few sentences until it is sure, so that logits are far apart. Of a file of a real model,
which transformers widens to a folder, it is asked whether all three write the same text.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import gguf_loss  # noqa: E402

# gguf.py beside this file is not the package that transformers means.
sys.path = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
import torch  # noqa: E402
import transformers  # noqa: E402

FAMILIES = ("llama qwen2 qwen3 gemma4 gemma4_keys gemma4_experts granite olmo2 phi3 glm4 ernie4_5 hunyuan cohere2 ministral3 qwen3_moe mixtral olmoe gpt_oss glm4_moe qwen3_5 "
            "qwen3_5_moe qwen3_next lfm2").split()
LENGTH, TEXTS = 24, 20
# What float16 weights and llama.cpp's own rounding (its cache and some products are in float16) leave of the largest logit.
NEAR_TRANSFORMERS, NEAR_LLAMA_CPP = 2e-3, 1e-2


def make(folder, kind):
    folder.mkdir(parents=True)
    tok = gguf_loss.tokenizer(folder, "llama" if kind == "llama" else "gemma4" if kind.startswith("gemma4") else "qwen2")
    common = dict(vocab_size=len(tok), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4,
                  max_position_embeddings=256, bos_token_id=0, eos_token_id=0)
    t = transformers
    experts = {**common, "intermediate_size": 256, "num_experts_per_tok": 2}
    half = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)
    yarn = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0)
    config = {
        "llama": lambda: t.LlamaConfig(**common),
        "qwen2": lambda: t.Qwen2Config(**common, tie_word_embeddings=True),
        "qwen3": lambda: t.Qwen3Config(**common, head_dim=64),
        "olmo2": lambda: t.Olmo2Config(**common, pad_token_id=0),
        "phi3": lambda: t.Phi3Config(**common, pad_token_id=0, sliding_window=None, original_max_position_embeddings=256),
        "glm4": lambda: t.Glm4Config(**common, head_dim=64, pad_token_id=0, rope_parameters=half),
        "ernie4_5": lambda: t.Ernie4_5Config(**common, head_dim=64, pad_token_id=0),
        "hunyuan": lambda: t.HunYuanDenseV1Config(**common, head_dim=64, pad_token_id=0),
        "cohere2": lambda: t.Cohere2Config(**{**common, "num_hidden_layers": 4}, sliding_window=8, pad_token_id=0, logit_scale=1.0),
        "ministral3": lambda: t.Ministral3Config(**common, head_dim=64, pad_token_id=0, rope_parameters={
            **yarn, "original_max_position_embeddings": 8, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}),
        "qwen3_moe": lambda: t.Qwen3MoeConfig(**experts, head_dim=64, num_experts=6, moe_intermediate_size=256, norm_topk_prob=True),
        "mixtral": lambda: t.MixtralConfig(**experts, num_local_experts=4, sliding_window=None),
        "olmoe": lambda: t.OlmoeConfig(**{**experts, "num_key_value_heads": 8}, num_experts=6, pad_token_id=0),
        "gpt_oss": lambda: t.GptOssConfig(**experts, head_dim=64, num_local_experts=4, sliding_window=8, pad_token_id=0,
                                          rope_parameters=dict(rope_type="default", rope_theta=1e4)),
        "glm4_moe": lambda: t.Glm4MoeConfig(**{**experts, "intermediate_size": 512}, head_dim=64, pad_token_id=0, n_routed_experts=8,
                                            n_group=2, topk_group=1, moe_intermediate_size=256, first_k_dense_replace=1,
                                            routed_scaling_factor=1.5, use_qk_norm=True, attention_bias=True, rope_parameters=half),
        "qwen3_5": lambda: t.Qwen3_5TextConfig(
            **{**common, "num_hidden_layers": 4}, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64,
            linear_value_head_dim=64, rope_parameters={**half, "mrope_section": [6, 5, 5], "mrope_interleaved": True}),
        "qwen3_5_moe": lambda: t.Qwen3_5MoeTextConfig(
            **{**experts, "num_hidden_layers": 4}, head_dim=64, num_experts=6, moe_intermediate_size=256, shared_expert_intermediate_size=256,
            linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64, linear_value_head_dim=64,
            rope_parameters={**half, "mrope_section": [6, 5, 5], "mrope_interleaved": True}),
        "qwen3_next": lambda: t.Qwen3NextConfig(
            **{**experts, "num_hidden_layers": 4}, head_dim=64, num_experts=6, moe_intermediate_size=256, shared_expert_intermediate_size=256,
            norm_topk_prob=True, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64, linear_value_head_dim=64,
            rope_parameters=half),
        "gemma4": lambda: t.Gemma4TextConfig(
            **{**common, "num_hidden_layers": 6}, head_dim=32, global_head_dim=64, sliding_window=8, hidden_size_per_layer_input=32,
            vocab_size_per_layer_input=len(tok), num_kv_shared_layers=3, use_double_wide_mlp=True, final_logit_softcapping=30.0,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2),
        "gemma4_keys": lambda: t.Gemma4TextConfig(
            **{**common, "num_hidden_layers": 6}, head_dim=32, global_head_dim=64, sliding_window=8, hidden_size_per_layer_input=0,
            attention_k_eq_v=True, final_logit_softcapping=20.0, num_global_key_value_heads=2, tie_word_embeddings=False),
        "gemma4_experts": lambda: t.Gemma4TextConfig(
            **{**common, "num_hidden_layers": 4}, head_dim=32, global_head_dim=64, sliding_window=8, hidden_size_per_layer_input=0,
            attention_k_eq_v=True, final_logit_softcapping=30.0, num_global_key_value_heads=2, enable_moe_block=True, num_experts=6,
            top_k_experts=2, moe_intermediate_size=256),
        "lfm2": lambda: t.Lfm2Config(**common, conv_L_cache=3, block_auto_adjust_ff_dim=False, pad_token_id=0,
                                     layer_types=["conv", "full_attention"]),
        "granite": lambda: t.GraniteConfig(**common, embedding_multiplier=4.0, logits_scaling=4.0, residual_multiplier=0.5,
                                           attention_multiplier=0.1),
    }[kind]()
    torch.manual_seed(7)
    t.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return tok


def by_sft(probe, base, ids):
    lines = "".join(" ".join(map(str, row)) + "\n" for row in ids)
    done = subprocess.run([probe, str(base)], input=lines.encode(), capture_output=True, check=True)
    return torch.frombuffer(bytearray(done.stdout), dtype=torch.float32).view(sum(map(len, ids)), -1)


def in_halves(folder):
    """The model as the f16 file has it: matrices in float16."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, p in model.named_parameters():
        if p.dim() > 1 and not name.endswith(("mlp.gate.weight", "router.weight", "router.proj.weight", "conv.weight", "conv1d.weight", "_bias",
                                                         "shared_expert_gate.weight")):
            p.data = p.data.half().float()
    return model


def check(sft, probe, llama_cpp, work, family):
    folder, train, sure, base = (work / family / name for name in ("model", "train.jsonl", "sure", "f16.gguf"))
    tok = make(folder, family)
    train.write_text("".join(json.dumps({"text": t}) + "\n" for t in gguf_loss.rows(200, 1)))
    ids = [tok(text)["input_ids"][:LENGTH] for text in gguf_loss.rows(TEXTS, 1)]
    gguf_loss.run(sft, "--model_name_or_path", folder, "--dataset_name", train, "--use_cpu", "--threads", 1, "--max_length", LENGTH,
                  "--per_device_train_batch_size", 8, "--logging_steps", 50, "--save_strategy", "no", "--report_to", "none", "--seed", 3,
                  "--max_steps", 150, "--learning_rate", 2e-3, "--output_dir", sure)
    gguf_loss.run(sft, "export", sure, "--quant", "f16", "--output", base, "-q")
    ours = by_sft(probe, base, ids)
    model = in_halves(sure)
    with torch.no_grad():
        theirs = torch.cat([model(torch.tensor([row])).logits[0] for row in ids])
    cpp = torch.cat(llama_cpp.logits(base, None, ids))
    ours, theirs, cpp = (x[:, : min(ours.shape[1], theirs.shape[1], cpp.shape[1])] for x in (ours, theirs, cpp))
    largest = theirs.abs().max().item()
    to_transformers, to_llama_cpp = ((ours - x).abs().max().item() / largest for x in (theirs, cpp))
    same = sum((ours.argmax(1) == x.argmax(1)).float().mean().item() for x in (theirs, cpp)) / 2
    surest = torch.softmax(ours, 1).amax(1).mean().item()
    near = to_transformers < NEAR_TRANSFORMERS and to_llama_cpp < NEAR_LLAMA_CPP and surest > 0.5
    print(f"{family}: {len(ours)} tokens, sure of {surest:.2f}; the largest distance from transformers is {to_transformers:.1e} of the largest "
          f"logit, from llama.cpp {to_llama_cpp:.1e}; the same likeliest token {100 * same:.2f} %: {'near' if near else 'NOT NEAR'}", flush=True)
    return near


PROMPTS = ["The capital of France is", "Once upon a time there was a", "Water boils at", "The most important thing about bread is", "def add(a, b):",
           "In the year 1969", "My favourite animal is the", "To make tea, first", "The sun is a", "Two plus two is"]


def check_text(sft, probe, llama_cpp, work, file):
    """Whether each token that transformers writes is the likeliest of the other two as well, given those before."""
    folder, base = work / "real", work / "real-f16.gguf"
    tok = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    wide = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = wide.config
    if hasattr(config, "quantization_config"):  # it would not save what it has widened
        del config.quantization_config
    plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(wide.state_dict())
    plain.save_pretrained(folder)
    tok.save_pretrained(folder)
    gguf_loss.run(sft, "export", folder, "--quant", "f16", "--output", base, "-q")
    model = in_halves(folder)
    starts = [tok(p)["input_ids"] for p in PROMPTS]
    ids = [model.generate(torch.tensor([s]), max_new_tokens=32, do_sample=False)[0].tolist() for s in starts]
    cpp, at = llama_cpp.logits(base, None, ids), 0
    ours, good, tokens = by_sft(probe, base, ids), {"sft": 0, "llama.cpp": 0}, 0
    for row, start, theirs in zip(ids, starts, cpp):
        written = torch.tensor(row[len(start):])
        tokens += len(written)
        for name, logits in (("sft", ours[at : at + len(row)]), ("llama.cpp", theirs)):
            good[name] += (logits[len(start) - 1 : -1].argmax(1) == written).sum().item()
        at += len(row)
    print(f"{file.name}: of {tokens} tokens that transformers writes {good['sft']} are sft's as well, {good['llama.cpp']} llama.cpp's", flush=True)
    return good["sft"] == tokens


def main():
    sft, probe, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), Path(sys.argv[3])
    llama_cpp = gguf_loss.LlamaCpp(sys.argv[4])
    good = [check_text(sft, probe, llama_cpp, work, Path(name)) if name.endswith(".gguf") else check(sft, probe, llama_cpp, work, name)
            for name in sys.argv[5:] or FAMILIES]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
