"""Writes tests/io/golden/quantised/mixed.gguf: a Llama of two layers (permuted q and k) in every type that a Q8_0, Q4_0,
Q4_1, K_M or K_S file holds, and mixed.json: of each tensor, by its Hugging Face name, the checksum of the values that the
gguf package decodes.

usage: python tools/golden/quantised_gguf.py      (gguf 0.19, numpy)
"""

import json
import pathlib

import gguf
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/io/golden/quantised"
HIDDEN, HEADS, KV_HEADS, HEAD_DIM, WIDE, VOCAB = 256, 4, 2, 8, 64, 48
Kind = gguf.GGMLQuantizationType
random = np.random.default_rng(5)

TYPES = {
    "token_embd": Kind.Q4_K, "output": Kind.Q6_K,
    "blk.0.attn_q": Kind.Q4_K, "blk.0.attn_k": Kind.Q5_K, "blk.0.attn_v": Kind.Q6_K, "blk.0.attn_output": Kind.Q5_0,
    "blk.0.ffn_gate": Kind.Q4_K, "blk.0.ffn_up": Kind.Q4_K, "blk.0.ffn_down": Kind.Q5_1,
    "blk.1.attn_q": Kind.Q6_K, "blk.1.attn_k": Kind.Q8_0, "blk.1.attn_v": Kind.F16, "blk.1.attn_output": Kind.BF16,
    "blk.1.ffn_gate": Kind.Q4_0, "blk.1.ffn_up": Kind.Q4_1, "blk.1.ffn_down": Kind.F32,
}  # fmt: skip
SHAPES = {"attn_q": (HEADS * HEAD_DIM, HIDDEN), "attn_k": (KV_HEADS * HEAD_DIM, HIDDEN),
          "attn_v": (KV_HEADS * HEAD_DIM, HIDDEN), "attn_output": (HIDDEN, HEADS * HEAD_DIM), "ffn_gate": (WIDE, HIDDEN),
          "ffn_up": (WIDE, HIDDEN), "ffn_down": (HIDDEN, WIDE), "token_embd": (VOCAB, HIDDEN), "output": (VOCAB, HIDDEN)}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
# Where a block of 256 has its float16 scales, which random bytes would make infinite.
SCALES = {Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2), Kind.Q6_K: (208,)}


def blocks(shape, kind):
    if kind not in SCALES:
        return gguf.quants.quantize(random.normal(0, 0.05, shape).astype(np.float32), kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    raw = random.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)
    for at in SCALES[kind]:
        raw[:, at : at + 2] = (random.uniform(2e-4, 1e-3, (len(raw), 1)).astype(np.float16)).view(np.uint8)
    return raw.reshape(shape[0], -1)


def fnv(values):
    h = 0xCBF29CE484222325
    for b in np.ascontiguousarray(values, dtype=np.float32).tobytes():
        h = ((h ^ b) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def published(name, values):
    """The rows in the order of transformers, and their name there."""
    part = name.split(".")[-1]
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(part)
    if heads:
        values = values.reshape(heads, HEAD_DIM // 2, 2, HIDDEN).swapaxes(1, 2).reshape(values.shape)
    if part in NAMES:
        return f"model.layers.{name.split('.')[1]}.{NAMES[part]}.weight", values
    return {"token_embd": "model.embed_tokens.weight", "output": "lm_head.weight"}[part], values


writer = gguf.GGUFWriter(OUT / "mixed.gguf", "llama")
writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
writer.add_block_count(2)
writer.add_context_length(64)
writer.add_embedding_length(HIDDEN)
writer.add_feed_forward_length(WIDE)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KV_HEADS)
writer.add_key_length(HEAD_DIM)
writer.add_value_length(HEAD_DIM)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_freq_base(10000.0)
writer.add_rope_dimension_count(HEAD_DIM)
writer.add_vocab_size(VOCAB)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("smollm")
writer.add_token_list(["t", "0", "t0"] + [f"w{i}" for i in range(VOCAB - 3)])
writer.add_token_types([1] * VOCAB)
writer.add_token_merges(["t 0"])
writer.add_bos_token_id(1)
writer.add_eos_token_id(2)
writer.add_pad_token_id(0)
sums = {}
for name, kind in TYPES.items():
    raw = blocks(SHAPES[name.split(".")[-1]], kind)
    writer.add_tensor(name + ".weight", raw, raw_dtype=kind)
    key, values = published(name, gguf.quants.dequantize(raw, kind).reshape(SHAPES[name.split(".")[-1]]))
    sums[key] = [kind.name, fnv(values)]
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.attn_norm", "blk.1.ffn_norm"):
    writer.add_tensor(name + ".weight", random.uniform(0.9, 1.1, HIDDEN).astype(np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(OUT / "mixed.json").write_text(json.dumps(sums, indent=1) + "\n")
