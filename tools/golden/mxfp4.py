"""Writes tests/formats/golden/mxfp4.json: what transformers makes of MXFP4 where it dequantises, for each code under each exponent.

usage: python tools/golden/mxfp4.py      (torch, transformers 5.24; on the CPU)

One matrix of 32 rows and 256 columns: column s has the exponent's byte s, its rows the codes 0 to 15 twice. `float32` and `bfloat16` are
FNV-1a (64 bits) of the values' bytes, row after row.
"""

import json
import pathlib

import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/formats/golden/mxfp4.json"


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


pairs = [(2 * i % 16) | (2 * i + 1) % 16 << 4 for i in range(16)]
blocks = torch.tensor(pairs, dtype=torch.uint8).repeat(256).reshape(1, 256, 1, 16)
scales = torch.arange(256, dtype=torch.uint8).reshape(1, 256, 1)
out = {}
for name in ("float32", "bfloat16"):
    values = convert_moe_packed_tensors(blocks, scales, dtype=getattr(torch, name))
    out[name] = fnv(values.view(torch.uint8).numpy().tobytes())
OUT.write_text(json.dumps(out) + "\n")
