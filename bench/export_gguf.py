#!/usr/bin/env python3
"""Seconds and memory of a model's way to a quantised GGUF file: `sft export` beside llama.cpp's converter and its quantiser.

usage: export_gguf.py SFT MODEL WORK LLAMA_CPP LIBRARY [QUANT [ROUNDS]]   (torch, transformers 5)
  MODEL      a folder; bench/random_model.py writes one of any shape
  LLAMA_CPP  llama.cpp's sources, for the converter
  LIBRARY    libllama.so with llama_model_quantize. Of one that has ggml_quantize_chunk alone, as xllamacpp's, a loop here gives the rows of
             each tensor to it, in the types that sft chose. Both take as many threads as there are processors
The sides take turns. A line each: seconds by the clock, processor seconds (which say more where others work beside), and the most memory
of its own that a process held: pages of mapped files are the system's.
"""
import ctypes
import os
import pathlib
import subprocess
import sys
import threading
import time

FILE_TYPES = {"q8_0": 7, "q4_0": 2, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}


def convert(llama_cpp, model, out):
    import runpy
    sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
    from conversion import base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"  # it knows published tokenizers by a hash
    sys.argv = ["convert", model, "--outfile", out, "--outtype", "f16"]
    runpy.run_path(os.path.join(llama_cpp, "convert_hf_to_gguf.py"), run_name="__main__")


def quantise(library, source, out, file_type, types_of):
    class Params(ctypes.Structure):
        _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_uint64 * 32)]
    lib = ctypes.CDLL(library, mode=os.RTLD_LAZY)
    if not hasattr(lib, "llama_model_quantize"):
        return quantise_by_rows(lib, source, out, types_of)
    lib.llama_model_quantize_default_params.restype = Params
    params = lib.llama_model_quantize_default_params()
    params.threads, params.file_type = os.cpu_count(), int(file_type)
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    sys.exit(lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)))


def quantise_by_rows(ggml, source, out, types_of):
    from concurrent.futures import ThreadPoolExecutor

    import gguf
    import numpy
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    types = {t.name: t.tensor_type for t in gguf.GGUFReader(types_of).tensors}

    def rows(kind, values):
        wide = numpy.ascontiguousarray(values, dtype=numpy.float32)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        packed = numpy.empty(wide.size // block * size, numpy.uint8)
        ggml.ggml_quantize_chunk(int(kind), wide.ctypes.data, packed.ctypes.data, 0, wide.shape[0], wide.shape[1], None)
        return packed

    with open(out, "wb") as sink, ThreadPoolExecutor(os.cpu_count()) as pool:
        for t in gguf.GGUFReader(source).tensors:
            if types[t.name] == t.tensor_type:
                sink.write(t.data.tobytes())
                continue
            step = max(1, (1 << 20) // t.data.shape[1])
            pieces = [t.data[i : i + step] for i in range(0, t.data.shape[0], step)]
            for i in range(0, len(pieces), 8):
                for packed in pool.map(lambda piece, kind=types[t.name]: rows(kind, piece), pieces[i : i + 8]):
                    sink.write(packed)


def measured(words, log):
    """(seconds, processor seconds, MiB) of a process that must succeed."""
    begin, most = time.time(), 0
    with open(log, "wb") as sink:
        process = subprocess.Popen([str(w) for w in words], stdout=sink, stderr=sink)
    running = True

    def watch():
        nonlocal most
        while running:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                most = max([most, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))])
            except OSError:
                pass
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    running = False
    watcher.join()
    if status:
        raise RuntimeError(f"{words[0]} failed: {pathlib.Path(log).read_text(errors='replace')[-600:]}")
    return time.time() - begin, usage.ru_utime + usage.ru_stime, most / 1024


def main():
    if sys.argv[1] == "--convert":
        return convert(*sys.argv[2:])
    if sys.argv[1] == "--quantise":
        return quantise(*sys.argv[2:])
    sft, model, work, llama_cpp, library = sys.argv[1:6]
    quant = sys.argv[6] if len(sys.argv) > 6 else "q4_k_m"
    work = pathlib.Path(work)
    work.mkdir(parents=True, exist_ok=True)
    plain, theirs, ours, log = (work / name for name in ("f16.gguf", "theirs.gguf", "ours.gguf", "log"))
    me = [sys.executable, __file__]
    for _ in range(int(sys.argv[7]) if len(sys.argv) > 7 else 2):
        sides = {
            "sft export": lambda: measured([sft, "export", model, "--quant", quant, "--output", ours, "-q"], log),
            "converter, to f16": lambda: measured([*me, "--convert", llama_cpp, model, plain], log),
            "quantiser": lambda: measured([*me, "--quantise", library, plain, theirs, FILE_TYPES[quant], ours], log),
        }
        for name, run in sides.items():
            clock, processor, memory = run()
            print(f"{name}: {clock:.1f} s, {processor:.1f} processor seconds, {memory:.0f} MiB", flush=True)
        print(f"files of {ours.stat().st_size} and {theirs.stat().st_size} bytes", flush=True)
        for file in (plain, theirs, ours):
            file.unlink()


if __name__ == "__main__":
    main()
