"""transformers on shapes of bench/models: all weights, bfloat16 with AdamW, 8 x 1,024 random tokens.

usage: python bench/hybrids_vs_transformers.py [--conv-of-fla] bench/models/qwen3.5-0.8b.json ...   (a GPU; torch, transformers;
       with flash-linear-attention and causal-conv1d installed transformers takes their kernels, else its own fallback)
  --conv-of-fla  the short convolutions by flash-linear-attention's kernels too, where causal-conv1d is not at hand
beside: sft bench --model bench/models/qwen3.5-0.8b.json --seq 1024 --batch 8 --steps 4
"""

import importlib.util
import json
import pathlib
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import torch
import transformers

ROWS, SEQ, WARM_UP, STEPS = 8, 1024, 2, 4


def compile_side_by_side():
    """Triton compiles the configurations that it tries one after the other, which takes minutes: here a kernel's are compiled
    by threads first, and found in its cache. What is chosen stays the same."""
    from triton.runtime.autotuner import Autotuner

    chosen = Autotuner.prune_configs

    def prune_configs(self, given):
        configs = chosen(self, given)
        given = {k: v for k, v in given.items() if k not in ("grid", "warmup")}
        if hasattr(self.fn, "warmup") and len(configs) > 1:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda config: warm(self, config, given), configs))
        return configs

    def warm(tuner, config, given):
        try:
            tuner.fn.warmup(*tuner.nargs.values(), grid=(1, 1, 1), **given, **config.all_kwargs())
        except Exception as error:  # it is then compiled where it is tried
            print("compiling ahead:", repr(error)[:200], file=sys.stderr)

    Autotuner.prune_configs = prune_configs


def take_conv_of_fla():
    """Under the name that transformers asks for."""
    from fla.modules.causal_conv1d.ops import causal_conv1d

    def causal_conv1d_fn(x, weight, bias=None, activation=None, seq_idx=None):
        y, _ = causal_conv1d(x.transpose(1, 2), weight, bias, activation=activation)
        return y.transpose(1, 2)

    module = types.ModuleType("causal_conv1d")
    module.__spec__ = importlib.util.spec_from_loader("causal_conv1d", None)
    module.causal_conv1d_fn = causal_conv1d_fn
    sys.modules["causal_conv1d"] = module


def measure(path):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").train()
    torch.set_default_dtype(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(3, config.vocab_size, (ROWS, SEQ), device="cuda")
    begun = time.time()
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            torch.cuda.synchronize()
            start = time.time()
            print(f"{path.name}: ready after {start - begun:.0f} s", flush=True)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    rate = ROWS * SEQ * STEPS / (time.time() - start)
    kernels = [name for name in ("fla", "causal_conv1d") if importlib.util.find_spec(name)]
    print(f"{path.name}: transformers {transformers.__version__}, torch {torch.__version__}, kernels of {kernels or 'its own'}: "
          f"{rate:.0f} tokens/s, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)  # fmt: skip


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    arguments = sys.argv[1:]
    if importlib.util.find_spec("fla"):
        import fla  # transformers keeps silent where this fails

        compile_side_by_side()
    if "--conv-of-fla" in arguments:
        arguments.remove("--conv-of-fla")
        take_conv_of_fla()
    for argument in arguments:
        measure(pathlib.Path(argument))
