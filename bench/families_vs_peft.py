"""transformers and peft on shapes of bench/models: adapters of rank 16 on all linear layers, bfloat16, 8 x 1,024 random tokens, AdamW.

usage: python bench/families_vs_peft.py bench/models/smollm3-3b.json ...   (a GPU; torch, transformers, peft)
beside: sft bench --model bench/models/smollm3-3b.json --seq 1024 --batch 8 --steps 4 --lora_r 16
"""

import json
import pathlib
import sys
import time

import peft
import torch
import transformers

ROWS, SEQ, WARM_UP, STEPS = 8, 1024, 2, 5


def measure(path):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    model = peft.get_peft_model(model, peft.LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
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
    print(f"{path.name}: transformers {transformers.__version__}, peft {peft.__version__}: {rate:.0f} tokens/s, "
          f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)  # fmt: skip


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for argument in sys.argv[1:]:
        measure(pathlib.Path(argument))
