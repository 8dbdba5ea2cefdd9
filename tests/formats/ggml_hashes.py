"""Prints golden/ggml_hashes.inc: hashes of what ggml's quantiser makes of the values of ggml_encode_test.cpp.

usage: ggml_hashes.py LIBRARY    a shared library with ggml_quantize_chunk, as in xllamacpp; needs numpy
"""
import ctypes
import os
import sys

import numpy as np

ggml = ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY)
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
n = 256 * 64
i = np.arange(n, dtype=np.uint64)
mixed = (i * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
v = (((mixed >> np.uint64(8)) & np.uint64(0xFFFF)).astype(np.float64) - 32768) / 32768
x = (v * v * v).astype(np.float32)
block, group, place = i // 256 % 8, i // 32 % 8, i % 256
x[(block == 3) & (group < 2)] = 0
x[block == 4] = np.float32(0.37)
x[block == 5] = np.abs(x[block == 5])
x[(block == 6) & (place == 100)] = np.float32(-6e3)
x[block == 7] *= np.float32(1e-18)
for name, code, size, span, worst in [("q8_0", 8, 32, 34, 0.005), ("q4_0", 2, 32, 18, 0.13), ("q4_1", 3, 32, 20, 0.08),
                                      ("q5_0", 6, 32, 22, 0.07), ("q5_1", 7, 32, 24, 0.04), ("q4_k", 12, 256, 144, 0.12),
                                      ("q5_k", 13, 256, 176, 0.06), ("q6_k", 14, 256, 210, 0.04)]:
    out = np.zeros(n // size * span, np.uint8)
    ggml.ggml_quantize_chunk(code, x.ctypes.data, out.ctypes.data, 0, 1, n, None)
    h = 0xCBF29CE484222325
    for b in out.tobytes():
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    print(f"{{DType::{name}, 0x{h:016x}U, {worst}}},")
