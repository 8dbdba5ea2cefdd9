"""Tokens a second of one text on a CPU, beside llama.cpp on the same file, and what a token takes of the processors' time,
which other work on the machine changes least: in turns, the best of each counts.

usage: cpu_decode.py SFT LIBRARY MODEL WORK [THREADS]
  LIBRARY  a shared library with llama.cpp's C interface: libllama.so, or the one inside the package xllamacpp
  MODEL    a folder that sft can export
Also says how many of the first tokens both wrote alike.
"""
import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sft, library, model, work = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
threads = int(sys.argv[5]) if len(sys.argv) > 5 else 2
PROMPT, TOKENS, FEW, TURNS = "The capital of France is", 136, 8, int(os.environ.get("TURNS", 5))
QUANTS = os.environ.get("QUANTS", "q8_0 q4_k_m f16").split()


class Params(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint64 * 64)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


def theirs(file):
    """Run in a process of its own, so that nothing of one turn stays for the next."""
    lib, pointer, integer = ctypes.CDLL(library, mode=os.RTLD_LAZY), ctypes.c_void_p, ctypes.c_int32
    for name, result, *arguments in [
        ("llama_backend_init", None), ("llama_model_default_params", Params), ("llama_context_default_params", Params),
        ("llama_model_load_from_file", pointer, ctypes.c_char_p, Params), ("llama_init_from_model", pointer, pointer, Params),
        ("llama_model_get_vocab", pointer, pointer), ("llama_vocab_n_tokens", integer, pointer),
        ("llama_set_n_threads", None, pointer, integer, integer), ("llama_batch_init", Batch, integer, integer, integer),
        ("llama_decode", integer, pointer, Batch), ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), pointer, integer),
        ("llama_tokenize", integer, pointer, ctypes.c_char_p, integer, ctypes.POINTER(integer), integer, ctypes.c_bool, ctypes.c_bool),
        ("llama_log_set", None, pointer, pointer),
    ]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    lib.llama_log_set(silence, None)
    lib.llama_backend_init()
    loaded = lib.llama_model_load_from_file(file.encode(), lib.llama_model_default_params())
    context = lib.llama_init_from_model(loaded, lib.llama_context_default_params())
    lib.llama_set_n_threads(context, threads, threads)
    vocab = lib.llama_model_get_vocab(loaded)
    size = lib.llama_vocab_n_tokens(vocab)
    ids = (ctypes.c_int32 * 64)()
    count = lib.llama_tokenize(vocab, PROMPT.encode(), len(PROMPT), ids, 64, True, True)
    batch = lib.llama_batch_init(64, 0, 1)

    def feed(tokens, past):
        batch.count = len(tokens)
        for i, token in enumerate(tokens):
            last = i + 1 == len(tokens)
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, past + i, 1, 0, last
        if lib.llama_decode(context, batch):
            raise RuntimeError("llama_decode failed")
        return ctypes.cast(lib.llama_get_logits_ith(context, len(tokens) - 1), ctypes.POINTER(ctypes.c_float * size)).contents

    import numpy as np
    best = lambda logits: int(np.frombuffer(logits, dtype=np.float32).argmax())
    past, written = count, [best(feed(list(ids[:count]), 0))]
    start, used = time.perf_counter(), time.process_time()
    while len(written) < TOKENS:
        written.append(best(feed(written[-1:], past)))
        past += 1
    took, cpu = time.perf_counter() - start, time.process_time() - used
    print(json.dumps({"tokens_per_s": (TOKENS - 1) / took, "cpu_s": cpu, "ids": written}))


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr[-500:]}")
    return done.stdout


def written(file, tokens=None):
    before = os.times()
    result = json.loads(run(sft, "generate", "--model_name_or_path", file, "--use_cpu", "--threads", threads, "--max_new_tokens", tokens or TOKENS,
                            "--json", PROMPT))
    after = os.times()
    if len(result["ids"]) != (tokens or TOKENS):
        raise RuntimeError(f"{len(result['ids'])} tokens were written, not {tokens or TOKENS}: this text ends too soon to be timed")
    return result | {"cpu_s": after.children_user + after.children_system - before.children_user - before.children_system}


if len(sys.argv) > 6:
    theirs(sys.argv[6])
    sys.exit()
work.mkdir(parents=True, exist_ok=True)
for quant in QUANTS:
    file = work / f"{quant}.gguf"
    if not file.exists():
        run(sft, "export", model, "--quant", quant, "--output", file, "-q")
    ours, theirs_ = [], []
    for _ in range(TURNS):
        ours.append(written(file))
        ours[-1]["cpu_s"] = (ours[-1]["cpu_s"] - written(file, FEW)["cpu_s"]) / (TOKENS - FEW)
        theirs_.append(json.loads(run(sys.executable, __file__, sft, library, model, work, threads, file)))
        theirs_[-1]["cpu_s"] /= TOKENS - 1
    rate = [max(turn["tokens_per_s"] for turn in side) for side in (ours, theirs_)]
    cost = [min(turn["cpu_s"] for turn in side) * 1e3 for side in (ours, theirs_)]
    pairs = list(zip(ours[0]["ids"], theirs_[0]["ids"]))
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
    print(f"{quant}: processor ms a token: ours {cost[0]:.2f}, llama.cpp {cost[1]:.2f}, ratio {cost[1] / cost[0]:.2f}; "
          f"tokens/s: ours {rate[0]:.1f}, llama.cpp {rate[1]:.1f}; the first {same} tokens are the same", flush=True)
