"""One measurement of bench/cpu.sh at a time: this program or the Hugging Face Trainer with PyTorch, on the CPU.

usage: python bench/cpu_vs_transformers.py make DIR                   a random model of SmolLM2-135M's shape and token rows
       python bench/cpu_vs_transformers.py transformers DIR --batch 1  one line of JSON: tokens/s, peak memory
       python bench/cpu_vs_transformers.py sft DIR --batch 1 --binary build/sft
       python bench/cpu_vs_transformers.py peak                       the machine's sgemm
       python bench/cpu_vs_transformers.py table FILE                 all lines of a file as a table
Both sides: AdamW, float32, no recompute, rows of exactly 512 tokens, the first step left out.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import time

SEQUENCE = 512
ROWS = 64
SHAPE = dict(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=8192, rms_norm_eps=1e-5, tie_word_embeddings=True,
    rope_parameters={"rope_type": "default", "rope_theta": 100000.0}, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
ROOT = pathlib.Path(__file__).resolve().parents[1]


def make(options):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = pathlib.Path(options.what_with)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "examples/tiny-model" / name, folder)
    rows = torch.randint(3, SHAPE["vocab_size"], (ROWS, SEQUENCE), generator=torch.Generator().manual_seed(1))
    (folder / "data").mkdir(exist_ok=True)
    with open(folder / "data/train.jsonl", "w") as out:
        for row in rows.tolist():
            out.write(json.dumps({"input_ids": row, "labels": row}) + "\n")


def report(side, options, seconds, peak_kib):
    tokens = options.batch * SEQUENCE
    print(json.dumps({
        "side": side, "batch": options.batch, "steps": len(seconds),
        "tokens_per_s": round(tokens * len(seconds) / sum(seconds), 1),
        "best_tokens_per_s": round(tokens / min(seconds), 1), "peak_rss_mib": peak_kib // 1024,
    }), flush=True)  # fmt: skip


def run_transformers(options):
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    torch.set_num_threads(options.threads)
    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            times.append(time.perf_counter())

    with open(pathlib.Path(options.what_with) / "data/train.jsonl") as lines:
        rows = [{k: torch.tensor(v) for k, v in json.loads(line).items()} for line in lines]
    model = AutoModelForCausalLM.from_pretrained(options.what_with, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out, per_device_train_batch_size=options.batch, max_steps=options.steps, logging_steps=1,
            learning_rate=1e-5, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        Trainer(model=model, args=args, train_dataset=rows, callbacks=[Clock()]).train()
    seconds = [b - a for a, b in zip(times, times[1:])]
    report("transformers", options, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def run_sft(options):
    with tempfile.TemporaryDirectory() as out:
        command = [
            options.binary, "--model_name_or_path", options.what_with, "--dataset_name", f"{options.what_with}/data",
            "--output_dir", out, "--per_device_train_batch_size", str(options.batch), "--max_steps", str(options.steps),
            "--logging_steps", "1", "--learning_rate", "1e-5", "--save_strategy", "no", "--report_to", "none",
            "--max_length", str(SEQUENCE), "--gradient_checkpointing", "none", "--bf16", "false",
            "--lr_scheduler_type", "linear",
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        lines = [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")]
    seconds = [line["step_s"] for line in lines if line["k"] == "log"][1:]
    report("sft", options, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def peak(options):
    """The best of several square float32 products, in GFLOP/s."""
    import torch

    torch.set_num_threads(options.threads)
    n, best = 1536, float("inf")
    a, b = torch.rand(n, n), torch.rand(n, n)
    for _ in range(12):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    print(json.dumps({"side": "sgemm", "gflops": round(2 * n**3 / best / 1e9, 1)}), flush=True)


def flops_per_token():
    """Multiply-adds of the matmuls, forward and backward, attention's included, as floating point operations."""
    hidden, kv = SHAPE["hidden_size"], SHAPE["hidden_size"] // 3
    layer = hidden * (2 * hidden + 2 * kv) + 3 * hidden * SHAPE["intermediate_size"]
    attention = SEQUENCE * hidden  # q k' and p v over the causal half
    return 6 * (SHAPE["num_hidden_layers"] * (layer + attention) + hidden * SHAPE["vocab_size"])


def table(options):
    lines = [json.loads(line) for line in open(options.what_with)]
    gflops = max(line["gflops"] for line in lines if line["side"] == "sgemm")
    print(f"sgemm peak of this machine, {options.threads} threads: {gflops} GFLOP/s\n")
    print("| batch | side | tokens/s, best run | median run | share of the sgemm peak | peak memory MiB |")
    print("|---|---|---|---|---|---|")
    for batch in sorted({line["batch"] for line in lines if "batch" in line}):
        best = {}
        for side in ("transformers", "sft"):
            runs = [line for line in lines if line["side"] == side and line["batch"] == batch]
            if not runs:
                continue
            rates = sorted(line["tokens_per_s"] for line in runs)
            best[side] = rates[-1]
            share = best[side] * flops_per_token() / gflops / 1e9
            memory = max(line["peak_rss_mib"] for line in runs)
            print(f"| {batch} | {side} | {rates[-1]} | {rates[len(rates) // 2]} | {share:.0%} | {memory} |")
        if len(best) == 2:
            print(f"| {batch} | sft / transformers | {best['sft'] / best['transformers']:.2f}x | | | |")


def main():
    actions = {"make": make, "transformers": run_transformers, "sft": run_sft, "peak": peak, "table": table}
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=actions)
    parser.add_argument("what_with", nargs="?", metavar="DIR or FILE")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--binary", default=str(ROOT / "build/sft"))
    options = parser.parse_args()
    actions[options.action](options)


if __name__ == "__main__":
    main()
