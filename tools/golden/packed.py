"""Writes tests/formats/golden/packed.json: what bitsandbytes makes of values in 4 bits.

usage: python tools/golden/packed.py      (bitsandbytes 0.50, torch; on the CPU)
"""

import json
import pathlib

import numpy
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/formats/golden/packed.json"


def values(count):
    """Numbers of many sizes that a few whole-number operations give: tests/formats/packed_test.cpp makes the same."""
    i = numpy.arange(count, dtype=numpy.uint64)
    mixed = (i * numpy.uint64(2654435761) + numpy.uint64(12345)) % numpy.uint64(1 << 32)
    x = mixed.astype(numpy.float64) / (1 << 31) - 1.0
    scale = 2.0 ** -((i // numpy.uint64(64)) % numpy.uint64(11)).astype(numpy.float64)
    return torch.from_numpy((x * scale).astype(numpy.float32))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def nested_codes(x, kind, state):
    """Codes of the scales by the middles between the map's values, as the CUDA kernels and the default backend choose
    them; the CPU library looks them up in a table that is too coarse beside a middle."""
    _, plain = quantize_4bit(x.reshape(1, -1), blocksize=64, quant_type=kind)
    centred = plain.absmax - state.offset
    code = state.state2.code
    parts = [c * (1.0 / c.abs().max().clamp(min=1e-38)) for c in centred.split(256)]
    return torch.bucketize(torch.cat(parts), (code[:-1] + code[1:]) / 2).to(torch.uint8)


cases = []
for count in (64 * 600, 64 * 5 + 10, 64):
    for kind in ("nf4", "fp4"):
        for nested in (False, True):
            x = values(count)
            packed, state = quantize_4bit(x.reshape(1, -1), blocksize=64, quant_type=kind, compress_statistics=nested)
            if nested:
                state.absmax = nested_codes(x, kind, state)
            # A zero may have either sign, as bitsandbytes' own loops differ in it.
            back = dequantize_4bit(packed, state).reshape(-1) + 0.0
            cases.append(
                {
                    "count": count,
                    "type": kind + ("_nested" if nested else ""),
                    "codes": fnv(packed.numpy().tobytes()),
                    "scales": fnv(state.absmax.numpy().tobytes()),
                    "mean": float(state.offset) if nested else None,
                    "values": fnv(back.numpy().tobytes()),
                    "first": [float(v) for v in back[:8]],
                }
            )
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps(cases, indent=1) + "\n")
