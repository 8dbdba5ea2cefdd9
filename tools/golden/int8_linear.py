"""Writes tests/ops/golden/int8_linear.json: LLM.int8's product and its input's gradient as bitsandbytes computes them.

usage: python tools/golden/int8_linear.py      (bitsandbytes 0.50, torch; on the CPU)
"""

import json
import pathlib

import torch
from bitsandbytes.autograd._functions import MatMul8bitLt, MatmulLtState
from bitsandbytes.functional import int8_vectorwise_quant

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/ops/golden/int8_linear.json"


def case(name, tokens, threshold, outliers=(), bias=False):
    wide, out = 96, 10
    x = torch.randn(tokens, wide, generator=random)
    for row, column in outliers:
        x[row, column] = 7.5 + row + 0.25 * column
    weight = torch.randn(out, wide, generator=random) * 0.05
    shift = torch.randn(out, generator=random) if bias else None
    codes, scales, _ = int8_vectorwise_quant(weight.to(torch.float16))
    state = MatmulLtState()
    state.has_fp16_weights, state.is_training, state.threshold = False, False, threshold
    state.CB, state.SCB = codes, scales
    x.requires_grad_(True)
    y = MatMul8bitLt.apply(x, codes, None, shift, state)
    grad_y = torch.randn(y.shape, generator=random)
    y.backward(grad_y)
    rows, most, columns = int8_vectorwise_quant(x.detach().to(torch.float16), threshold=threshold)
    return {
        "name": name,
        "shape": [tokens, wide, out],
        "threshold": threshold,
        "x": x.flatten().tolist(),
        "weight": weight.flatten().tolist(),
        "bias": shift.tolist() if bias else None,
        "grad_y": grad_y.flatten().tolist(),
        "weight_codes": codes.flatten().tolist(),
        "weight_scales": scales.tolist(),
        "x_codes": rows.flatten().tolist(),
        "x_scales": most.tolist(),
        "outliers": [] if columns is None else columns.tolist(),
        "y": y.flatten().tolist(),
        "grad_x": x.grad.flatten().tolist(),
    }


random = torch.Generator().manual_seed(7)
cases = [
    case("none reaches the threshold", 4, 6.0),
    case("three columns do", 5, 6.0, outliers=[(0, 3), (2, 3), (4, 90), (1, 17)]),
    case("a row alone, with a bias", 1, 6.0, outliers=[(0, 40)], bias=True),
    case("no threshold", 3, 0.0, outliers=[(1, 8)]),
]
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
