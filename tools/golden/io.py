"""Writes tests/io/golden: small model folders made by transformers, the same models as GGUF files, and
blocks of every quantised type with the values that the gguf package decodes from them.

Run with a Python that has torch, transformers, safetensors and gguf:  python tools/golden/io.py
"""

import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "io" / "golden"
SIZES = dict(vocab_size=48, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)

FAMILIES = {
    "llama": transformers.LlamaConfig(
        **SIZES, tie_word_embeddings=False, rms_norm_eps=1e-5, head_dim=8,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64)),
    "qwen2": transformers.Qwen2Config(
        **SIZES, tie_word_embeddings=True, rope_parameters=dict(rope_type="default",
                                                                rope_theta=1e6)),
    "qwen3": transformers.Qwen3Config(
        **SIZES, tie_word_embeddings=True, head_dim=16,
        rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=4.0,
                             original_max_position_embeddings=64)),
    "gemma3": transformers.Gemma3TextConfig(
        **SIZES, head_dim=16, query_pre_attn_scalar=16, sliding_window=32,
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
            sliding_attention=dict(rope_type="default", rope_theta=1e4))),
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_NAMES = {"pre_feedforward_layernorm": "ffn_norm",
               "post_attention_layernorm": "post_attention_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(arch, name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight":
             "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    names = LAYER_NAMES | (GEMMA_NAMES if arch == "gemma3" else {})
    return f"blk.{layer}.{names[part]}.{kind}"


def permute(weight, heads):
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def llama3_divisors(config):
    rope = config.rope_parameters
    inverse = 1.0 / rope["rope_theta"] ** (torch.arange(0, config.head_dim, 2) / config.head_dim)
    original, low, high = (rope["original_max_position_embeddings"], rope["low_freq_factor"],
                           rope["high_freq_factor"])
    result = []
    for frequency in inverse:
        wavelength = 2 * np.pi / frequency
        if wavelength < original / high:
            result.append(1.0)
        elif wavelength > original / low:
            result.append(rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            result.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(result, dtype=np.float32)


def write_gguf(path, arch, config, weights):
    w = gguf.GGUFWriter(path, arch)
    w.add_name(f"tiny {arch}")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    if arch == "gemma3":
        w.add_sliding_window(config.sliding_window)
        w.add_float32("gemma3.rope.freq_base_swa", rope["sliding_attention"]["rope_theta"])
        rope = rope["full_attention"]
    w.add_rope_freq_base(rope["rope_theta"])
    if arch in ("qwen3", "gemma3"):
        w.add_key_length(config.head_dim)
        w.add_value_length(config.head_dim)
    if arch == "llama":
        w.add_vocab_size(config.vocab_size)
        w.add_rope_dimension_count(config.head_dim)
        w.add_tensor("rope_freqs.weight", llama3_divisors(config))
    if rope["rope_type"] in ("yarn", "linear"):
        w.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    w.add_token_types([1] * config.vocab_size)
    w.add_token_merges(["t 0"])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_pad_token_id(0)
    w.add_chat_template("{{ messages }}")
    for name, tensor in weights.items():
        data = tensor.float().numpy()
        if arch == "llama" and ".q_proj." in name:
            data = permute(data, config.num_attention_heads)
        if arch == "llama" and ".k_proj." in name:
            data = permute(data, config.num_key_value_heads)
        if arch == "gemma3" and name.endswith("norm.weight"):
            data = data + 1
        if data.ndim == 1:
            w.add_tensor(gguf_name(arch, name), data.astype(np.float32))
        else:
            raw = gguf.quants.quantize(data.astype(np.float32), gguf.GGMLQuantizationType.BF16)
            w.add_tensor(gguf_name(arch, name), raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def check_against_transformers(folder, path, weights):
    """transformers undoes the converter's changes with code of its own."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=str(path.resolve()), dtype=torch.float32)
    for name, tensor in loaded.state_dict().items():
        if name in weights:
            assert torch.equal(tensor, weights[name].float()), name


def write_family(arch, config):
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        base = 0.0 if arch == "gemma3" or "norm" not in name else 1.0
        torch.nn.init.normal_(parameter, base if parameter.ndim == 1 else 0.0, 0.2)
    if config.tie_word_embeddings:
        model.tie_weights()
    model = model.to(torch.bfloat16)
    model.save_pretrained(OUT / arch)
    weights = {k: v for k, v in model.state_dict().items()
               if not (config.tie_word_embeddings and k == "lm_head.weight")}
    write_gguf(OUT / f"{arch}.gguf", arch, config, weights)
    try:
        check_against_transformers(OUT, OUT / f"{arch}.gguf", weights)
        print(arch, "equals what transformers reads from the GGUF file")
    except RuntimeError as e:  # its reader takes Qwen3's head_dim to be 128 always
        print(arch, "could not be checked by transformers:", repr(e)[:200])


def write_quants():
    rng = np.random.default_rng(3)
    types = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
    halves = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
              "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
    writer = gguf.GGUFWriter(OUT / "quants.gguf", "none")
    expected = {}
    for name in types:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        n = 512 // block
        if name in halves:
            raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
            for offset in halves[name]:
                scale = (rng.standard_normal(n) * 0.05).astype(np.float16)
                raw[:, offset:offset + 2] = scale.view(np.uint8).reshape(n, 2)
            raw = raw.reshape(2, -1)
        else:
            values = (rng.standard_normal((2, 256)) * 2).astype(np.float32)
            if name != "BF16":
                values[0, :8] = [0, -0.0, 6e-8, -3e-6, 65504, -65504, np.inf, -np.inf]
            raw = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = gguf.quants.dequantize(raw, kind).astype(np.float32).reshape(2, 256)
    writer.add_array("test.nested", [[1, 2], [3]])
    writer.add_float32("test.eps", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, OUT / "quants.safetensors", metadata={"made_by": "gguf"})


def write_shards():
    model = transformers.AutoModelForCausalLM.from_pretrained(OUT / "qwen2", dtype=torch.float16)
    model.save_pretrained(OUT / "sharded", max_shard_size="6KB")
    (OUT / "sharded" / "generation_config.json").unlink(missing_ok=True)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for arch, config in FAMILIES.items():
        write_family(arch, config)
    write_quants()
    write_shards()
    sizes = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(json.dumps({"bytes": sizes, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main()
