#!/usr/bin/env python3
"""Writes a Qwen2 model folder of a config.json's shape with random weights in bfloat16.

usage: random_model.py CONFIG.json TOKENIZER_DIR OUT            (numpy)
Speed does not depend on what the weights are: one stretch of random numbers is written again and again.
"""
import json
import pathlib
import shutil
import sys

import numpy


def tensors(config):
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    head = hidden // config["num_attention_heads"]
    narrow = head * config["num_key_value_heads"]
    yield "model.embed_tokens.weight", [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", [hidden]
        for name, rows in (("q", hidden), ("k", narrow), ("v", narrow)):
            yield f"{at}self_attn.{name}_proj.weight", [rows, hidden]
            yield f"{at}self_attn.{name}_proj.bias", [rows]
        yield at + "self_attn.o_proj.weight", [hidden, hidden]
        yield at + "post_attention_layernorm.weight", [hidden]
        yield at + "mlp.gate_proj.weight", [wide, hidden]
        yield at + "mlp.up_proj.weight", [wide, hidden]
        yield at + "mlp.down_proj.weight", [hidden, wide]
    yield "model.norm.weight", [hidden]
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", [config["vocab_size"], hidden]


def bfloat16(values):
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def main():
    config_file, tokenizer, out = map(pathlib.Path, sys.argv[1:4])
    config = json.loads(config_file.read_text())
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, out / name)
    shutil.copyfile(config_file, out / "config.json")
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(config):
        begin, end = end, end + 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    noise = bfloat16(numpy.random.default_rng(0).normal(0, config["initializer_range"], 1 << 24))
    ones = bfloat16(numpy.ones(1 << 16))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(config):
            left, source = 2 * int(numpy.prod(shape)), ones if "norm" in name else noise
            while left > 0:
                left -= file.write(memoryview(source)[: min(left, len(source))])


if __name__ == "__main__":
    main()
