"""The memory of `sft merge` on a model of Llama-70B's widths with a few layers: a sparse file of zeros as the base, an adapter of rank 16
on all linear layers, and on request DoRA.

usage: python bench/merge_memory.py WORK build/sft [--layers 4] [--dora]     (no packages; WORK gets twice the model's bytes)
"""

import argparse
import array
import json
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import time

HIDDEN, WIDE, KV, VOCAB, RANK = 8192, 28672, 1024, 128256, 16
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV, HIDDEN), "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (WIDE, HIDDEN), "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}  # fmt: skip
ROOT = pathlib.Path(__file__).resolve().parents[1]


def write(path, dtype, width, tensors, values):
    """tensors: name -> shape. values(name, count) gives bytes, or None for a hole of zeros."""
    header, at = {}, 0
    for name, shape in tensors.items():
        size = width
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        begin = file.tell()
        for name, entry in header.items():
            if (data := values(name, (entry["data_offsets"][1] - entry["data_offsets"][0]) // width)) is not None:
                file.seek(begin + entry["data_offsets"][0])
                file.write(data)
        file.truncate(begin + at)


def make_base(folder, layers):
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": WIDE, "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": 8,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "examples/tiny-model" / name, folder)
    tensors = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN], "lm_head.weight": [VOCAB, HIDDEN]}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {prefix + name + ".weight": list(shape) for name, shape in LINEAR.items()}
        tensors |= {prefix + name + ".weight": [HIDDEN] for name in ("input_layernorm", "post_attention_layernorm")}
    write(folder / "model.safetensors", "BF16", 2, tensors, lambda name, count: None)


def make_adapter(folder, base, layers, dora):
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "use_dora": dora, "base_model_name_or_path": str(base),
              "target_modules": [name.split(".")[1] for name in LINEAR]}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for layer in range(layers):
        for name, (rows, columns) in LINEAR.items():
            module = f"base_model.model.model.layers.{layer}.{name}"
            tensors |= {f"{module}.lora_A.weight": [RANK, columns], f"{module}.lora_B.weight": [rows, RANK]}
            if dora:
                tensors[f"{module}.lora_magnitude_vector"] = [rows]
    draw = random.Random(1)
    few = array.array("f", [draw.gauss(0, 0.02) for _ in range(4096)]).tobytes()
    write(folder / "adapter_model.safetensors", "F32", 4, tensors,
          lambda name, count: (few * (count * 4 // len(few) + 1))[: count * 4])  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("binary")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dora", action="store_true")
    options = parser.parse_args()
    base, adapter, out = (options.work / name for name in ("base", "adapter", "merged"))
    make_base(base, options.layers)
    make_adapter(adapter, base, options.layers, options.dora)
    start = time.perf_counter()
    subprocess.run([options.binary, "merge", "--adapter", adapter, "--output_dir", out], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    size = sum(f.stat().st_size for f in out.glob("*.safetensors")) / 2**30
    print(json.dumps({"layers": options.layers, "dora": options.dora, "merged_gib": round(size, 1), "seconds": round(seconds, 1),
                      "peak_rss_gib": round(peak, 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
