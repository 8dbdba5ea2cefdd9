"""transformers on shapes of bench/models: all weights, bfloat16 with AdamW, 8 x 1,024 random tokens.

usage: python bench/hybrids_vs_transformers.py bench/models/qwen3.5-0.8b.json ...   (a GPU; torch, transformers; with
       flash-linear-attention and causal-conv1d installed transformers takes their kernels, else its own fallback)
beside: sft bench --model bench/models/qwen3.5-0.8b.json --seq 1024 --batch 8 --steps 4
"""

import importlib.util
import json
import pathlib
import sys
import time

import torch
import transformers

ROWS, SEQ, WARM_UP, STEPS = 8, 1024, 2, 4


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
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            torch.cuda.synchronize()
            start = time.time()
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
    for argument in sys.argv[1:]:
        measure(pathlib.Path(argument))
