#!/usr/bin/env python3
"""What a checkpoint costs, on the wall clock: the stall of training, the time until it is on the disk and read back, and resuming.

usage: saves.py SFT MODEL DATA OUT [flags of sft]      (OUT is emptied; bench/trl_gpus.py ... ddp ... save|resume is TRL's side)
With --save_steps 12 among the flags there is only the one at the end: half the disk.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

STEPS = 6
sft, model, data, out = sys.argv[1:5]
folder = pathlib.Path(out)
ONE = "--save_steps" in sys.argv


def run(*flags):
    """Seconds from the start of the process to each logged step, to its end, and when it started."""
    seen = (folder / "metrics.jsonl").stat().st_size if (folder / "metrics.jsonl").exists() else 0
    begin = time.time()
    done = subprocess.run([sft, "--model_name_or_path", model, "--dataset_name", data, "--do_train", "--output_dir", out,
                           "--logging_steps", "1", *([] if ONE else ["--save_steps", str(STEPS)]), *sys.argv[5:], *flags], capture_output=True, text=True)
    end = time.time() - begin
    if done.returncode != 0:
        sys.exit(done.stderr[-2000:])
    with open(folder / "metrics.jsonl") as lines:
        lines.seek(seen)
        entries = [json.loads(line) for line in lines]
    return {e["step"]: e["t"] - begin for e in entries if e["k"] == "log"}, end, begin


def folder_bytes(path):
    return sum(f.stat().st_size for f in path.iterdir())


def main():
    shutil.rmtree(folder, ignore_errors=True)
    steps, end, begin = run("--max_steps", str(2 * STEPS), "--save_total_limit", "1")
    took = {s: steps[s] - steps[s - 1] for s in steps if s > 1}
    last = folder / f"checkpoint-{2 * STEPS}"
    # when it got its name, and when the last file of the model was whole
    complete = os.stat(last).st_ctime - begin
    saved = max(f.stat().st_ctime for f in folder.glob("model*.safetensors")) - begin
    print(f"first step after {steps[1]:.2f} s; usual step {sorted(took.values())[len(took) // 2]:.3f} s" +
          ("" if ONE else f", after a save {took[STEPS + 1]:.3f}"))
    print(f"after the last step: model there {saved - steps[2 * STEPS]:.2f} s, checkpoint complete "
          f"{complete - steps[2 * STEPS]:.2f} s ({folder_bytes(last) / 1e9:.1f} GB), process over {end - steps[2 * STEPS]:.2f} s")
    print(f"in all: model saved after {saved:.2f} s, over after {end:.2f} s")
    for cache in ("cold", "warm"):
        if cache == "cold":
            drop_cache(last)
        steps, end, begin = run("--max_steps", str(2 * STEPS + 1), "--save_strategy", "no", "--resume_from_checkpoint", str(last),
                              "--resume_with_changes", "true")
        print(f"resumed, {cache} cache: first step over after {steps[2 * STEPS + 1]:.2f} s")


def drop_cache(path):
    for file in path.iterdir():
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
