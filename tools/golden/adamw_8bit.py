"""Writes tests/optim/golden/adamw_8bit.json: steps of bitsandbytes' 8-bit AdamW on its CPU back end, for optim/adamw.

usage: python tools/golden/adamw_8bit.py          (torch, bitsandbytes)

Weights and gradients are made by `values`, which the test repeats; the file has the two maps, and after the last step the
weights, codes (hexadecimal) and scales. The small parameter has float32 states. The CPU back end's own rounding to codes is
a coarse look-up that misses the nearest code of small values; `quantise` takes its place with the nearest, as the CUDA kernel does.
"""

import json
import pathlib

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu_ops
import bitsandbytes.functional as F
import torch

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/optim/golden/adamw_8bit.json"
SHAPES = ((16, 262), (64,))
STEPS, RATE, BETAS, EPS, DECAY = 5, 1e-2, (0.9, 0.95), 1e-8, 0.1


def values(shape, salt):
    """Even noise in [-1/2, 1/2), of another magnitude in each 300 elements."""
    n = torch.Size(shape).numel()
    i = torch.arange(n, dtype=torch.int64)
    noise = ((i * 2654435761 + salt * 40503) % 2**32 // 2**8).double() / 2**24 - 0.5
    return (noise * torch.pow(2.0, -(i // 300 % 5).double())).float().reshape(shape)


def quantise(values, code, scales, out, block):
    for at in range(0, values.numel(), block):
        tile = values.flatten()[at : at + block]
        scales[at // block] = tile.abs().max()
        near = (tile[:, None] / scales[at // block] - code).abs().argmin(dim=1)
        out.view(-1)[at : at + block] = near.to(torch.uint8)


if __name__ == "__main__":
    cpu_ops._quant_blockwise_fp32_direct = quantise
    weights = [torch.nn.Parameter(values(shape, 1 + k)) for k, shape in enumerate(SHAPES)]
    groups = [{"params": weights[:1], "weight_decay": DECAY}, {"params": weights[1:], "weight_decay": 0.0}]
    optimizer = bnb.optim.AdamW8bit(groups, lr=RATE, betas=BETAS, eps=EPS)
    for step in range(STEPS):
        for k, w in enumerate(weights):
            w.grad = values(w.shape, 100 * (step + 1) + k)
        optimizer.step()
    state = [optimizer.state[w] for w in weights]
    out = {
        "bitsandbytes": bnb.__version__,
        "maps": F.create_dynamic_map(True).tolist() + F.create_dynamic_map(False).tolist(),
        "shapes": SHAPES,
        "steps": STEPS,
        "rate": RATE,
        "betas": BETAS,
        "eps": EPS,
        "weight_decay": DECAY,
        "weights": [w.detach().flatten().tolist() for w in weights],
        "first_codes": bytes(state[0]["state1"].flatten().tolist()).hex(),
        "second_codes": bytes(state[0]["state2"].flatten().tolist()).hex(),
        "first_scales": state[0]["absmax1"].tolist(),
        "second_scales": state[0]["absmax2"].tolist(),
        "small_first": state[1]["state1"].tolist(),
        "small_second": state[1]["state2"].tolist(),
    }
    OUT.write_text(json.dumps(out) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")
