"""Writes tests/io/golden/quantised/mxfp4: a small gpt-oss whose experts are in MXFP4, named and laid out as it is published, and of each
tensor the checksum of the values that transformers makes of it.

usage: python tools/golden/quantised_mxfp4.py      (transformers 5.24, torch; on the CPU)
"""

import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/io/golden/quantised/mxfp4"
SIZES = dict(vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16, num_local_experts=3, num_experts_per_tok=2, max_position_embeddings=64, tie_word_embeddings=False,
             eos_token_id=1, pad_token_id=None, sliding_window=8)  # fmt: skip


def fnv(values):
    h = 0xCBF29CE484222325
    for b in (values.float().contiguous() + 0.0).numpy().tobytes():  # a zero may have either sign
        h = ((h ^ b) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def packed(weights, generator):
    """Any codes, under exponents of which a few are as far out as they go."""
    out = {}
    for name, w in weights.items():
        if not name.endswith("_proj") or ".experts." not in name:
            out[name] = w
            continue
        count, wide, rows = w.shape
        shape = (count, rows, wide // 32)
        out[name + "_blocks"] = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(118, 124, shape, generator=generator, dtype=torch.uint8)
        scales[0, 0, 0], scales[-1, -1, -1] = 0, 3
        out[name + "_scales"] = scales
    return out


torch.manual_seed(3)
config = transformers.GptOssConfig(**SIZES)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    transformers.GptOssForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    weights = packed(load_file(folder / "model.safetensors"), torch.Generator().manual_seed(4))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    json_config = json.loads((folder / "config.json").read_text())
    json_config["quantization_config"] = {
        "quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                            "model.embed_tokens", "lm_head"]}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(json_config, indent=1) + "\n")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=transformers.Mxfp4Config(dequantize=True))  # fmt: skip
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(folder / file, OUT / file)
    values = {name: fnv(t) for name, t in model.state_dict().items()}
    (OUT / "values.json").write_text(json.dumps(values, indent=1) + "\n")
