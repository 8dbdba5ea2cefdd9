"""TRL on the GPUs of one machine: tokens a second of full-length rows, after a warm-up, under DeepSpeed or FSDP2.

usage: torchrun --nproc_per_node N bench/trl_gpus.py MODEL ddp|ds2|ds3|fsdp2 [rows a GPU: 16] [steps: 8] [save|resume]
`save` also writes a checkpoint after the last step and says how long training stood still for it; `resume` goes on from it for
as many steps again, and says how long it took until the first of them.
Needs torch, transformers, TRL, datasets and Liger; DeepSpeed for ds2 and ds3. MODEL is bench/random_model.py's.
"""
import json
import os
import sys
import time

START = time.time()

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

WARM, LENGTH = 3, 1024
model, mode = sys.argv[1:3]
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 16
steps = WARM + (int(sys.argv[4]) if len(sys.argv) > 4 else 8)
save, resume = ("save" in sys.argv, "resume" in sys.argv)
if resume:
    steps *= 2
cpu = not torch.cuda.is_available()


class Times(TrainerCallback):
    def __init__(self):
        self.at, self.saving, self.begun = [], 0.0, None

    def on_step_begin(self, args, state, control, **kwargs):
        self.begun = self.begun or time.time()

    def on_step_end(self, args, state, control, **kwargs):
        if not cpu:
            torch.cuda.synchronize()
        self.at.append(time.time())

    def on_save(self, args, state, control, **kwargs):
        self.saving = time.time() - self.at[-1]


deepspeed = {
    "zero_optimization": {"stage": int(mode[2]), "overlap_comm": True, "contiguous_gradients": True},
    "bf16": {"enabled": "auto"},
    "gradient_clipping": "auto",
    "gradient_accumulation_steps": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "train_batch_size": "auto",
} if mode.startswith("ds") else None
fsdp = dict(
    fsdp="full_shard auto_wrap",
    fsdp_config={"fsdp_version": 2, "transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"], "reshard_after_forward": True},
) if mode == "fsdp2" else {}
args = SFTConfig(
    output_dir=os.environ.get("TRL_OUT", "/tmp/trl_out"), per_device_train_batch_size=rows, max_steps=steps, logging_steps=1000,
    max_length=LENGTH, bf16=not cpu, use_cpu=cpu, gradient_checkpointing=True, use_liger_kernel=not cpu, save_strategy="steps" if save else "no",
    save_steps=steps, report_to=[], optim="adamw_torch_fused", deepspeed=deepspeed, dataloader_num_workers=0, dataset_num_proc=1,
    model_init_kwargs=dict(dtype="float32", attn_implementation="sdpa"), **fsdp)
generator = torch.Generator().manual_seed(0)
ids = torch.randint(0, 100 if cpu else 150000, (64, LENGTH), generator=generator).tolist() * (steps * rows // 8)
times = Times()
trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_dict({"input_ids": ids}), callbacks=[times])
begun = time.time()
trainer.train(resume_from_checkpoint=resume)
if trainer.accelerator.is_main_process:
    world = trainer.accelerator.num_processes
    taken = sorted(b - a for a, b in zip(times.at[WARM - 1:], times.at[WARM:]))
    step = taken[len(taken) // 2]
    print("RESULT " + json.dumps(dict(
        mode=mode, model=model, ranks=world, rows=rows, step_ms=round(1e3 * step, 1), tokens_per_s=round(world * rows * LENGTH / step),
        first_step_begins_s=round(times.begun - START, 1), of_that_in_train_s=round(times.begun - begun, 1), saving_s=round(times.saving, 1),
        peak_GiB=0 if cpu else round(torch.cuda.max_memory_allocated() / 2**30, 1))), flush=True)
