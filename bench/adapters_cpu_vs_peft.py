"""LoRA on a CPU: this program beside the Hugging Face Trainer with PEFT, in turns on the same cores.

usage: python bench/cpu_vs_transformers.py make DIR       a random model of SmolLM2-135M's shape and token rows
       taskset -c 0,1 python bench/adapters_cpu_vs_peft.py DIR build/sft [--runs 3] [--steps 5] [--batch 1]
(peft, transformers, torch; each run is a process of its own)

Both sides: rank 16 on all linear layers, no dropout, AdamW, float32, rows of exactly 512 tokens, the first step left out. sft also
trains all of the model, for its memory. A line of JSON a run, then the ratio of each pair and the middle one.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SEQUENCE = 512
LORA = dict(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")


def report(side, options, seconds, peak_kib):
    rate = options.batch * SEQUENCE * len(seconds) / sum(seconds)
    print(json.dumps({"side": side, "tokens_per_s": round(rate, 1), "peak_rss_mib": peak_kib // 1024}), flush=True)


def run_peft(options):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(options.threads)
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            times.append(time.perf_counter())

    with open(pathlib.Path(options.folder) / "data/train.jsonl") as lines:
        rows = [{k: torch.tensor(v) for k, v in json.loads(line).items()} for line in lines]
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out, per_device_train_batch_size=options.batch, max_steps=options.steps, logging_steps=1,
            learning_rate=1e-4, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        Trainer(model=model, args=args, train_dataset=rows, callbacks=[Clock()]).train()
    seconds = [b - a for a, b in zip(times, times[1:])]
    report("peft", options, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run_sft(options, adapters):
    lora = ["--use_peft", "--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0", "--lora_target_modules", "all-linear"]
    with tempfile.TemporaryDirectory() as out:
        command = [
            options.binary, "--model_name_or_path", options.folder, "--dataset_name", f"{options.folder}/data",
            "--output_dir", out, "--per_device_train_batch_size", str(options.batch), "--max_steps", str(options.steps),
            "--logging_steps", "1", "--learning_rate", "1e-4", "--save_strategy", "no", "--report_to", "none", "--use_cpu",
            "--max_length", str(SEQUENCE), "--gradient_checkpointing", "none", "--bf16", "false",
            "--threads", str(options.threads), *(lora if adapters else []),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        lines = [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")]
    seconds = [line["step_s"] for line in lines if line["k"] == "log"][1:]
    report("sft" if adapters else "sft, all weights", options, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("binary")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--side", help="one run of this side alone: peft, sft or all")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if options.side:
        return run_peft(options) if options.side == "peft" else run_sft(options, options.side == "sft")

    def measured(side):
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--side", side], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        line = [text for text in done.stdout.splitlines() if text.startswith('{"side"')][-1]
        print(line, flush=True)
        return json.loads(line)["tokens_per_s"]

    measured("all")
    ratios = []
    for _ in range(options.runs):
        theirs, ours = measured("peft"), measured("sft")
        ratios.append(round(ours / theirs, 2))
    print(f"sft / PEFT: {ratios}, the middle one {statistics.median(ratios)}")


if __name__ == "__main__":
    main()
