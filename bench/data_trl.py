#!/usr/bin/env python3
"""Times datasets' and TRL's own preparation of the rows of a parquet file: reading, roles and columns renamed
(the map that TRL's user writes for such rows), chat template, tokenising, packing. Prints one JSON line with
wall and CPU seconds, rows a second, and the share of the renaming.

usage: data_trl.py MODEL_DIR DATA.parquet ROWS [max_length]
"""
import json
import os
import sys
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp()

import datasets
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

datasets.disable_progress_bars()
ROLES = {"human": "user", "gpt": "assistant"}


class Clock:
    def __init__(self):
        self.wall = self.cpu = 0.0

    def __enter__(self):
        self.start = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.wall += time.perf_counter() - self.start[0]
        self.cpu += time.process_time() - self.start[1]


def renamed(row):
    return {"messages": [{"role": ROLES.get(m["from"], m["from"]), "content": m["value"]}
                         for m in row["conversations"]]}


def main():
    model_dir, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    length = int(sys.argv[4]) if len(sys.argv) > 4 else 1024
    model = AutoModelForCausalLM.from_pretrained(model_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    clock, whole, renaming = Clock(), Clock(), Clock()
    with whole:
        rows = datasets.load_dataset("parquet", data_files=path, split="train")
    clock.wall, clock.cpu = whole.wall * count / len(rows), whole.cpu * count / len(rows)
    rows = rows.select(range(count))
    with renaming:
        rows = rows.map(renamed, remove_columns=rows.column_names)
    clock.wall, clock.cpu = clock.wall + renaming.wall, clock.cpu + renaming.cpu
    rows = datasets.Dataset.from_dict(rows.to_dict())  # in memory, so that no fingerprint hits a cache
    config = SFTConfig(output_dir=tempfile.mkdtemp(), packing=True, max_length=length, use_cpu=True, bf16=False,
                       report_to="none", model_init_kwargs=None)
    with clock:
        trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
    print(json.dumps({"side": "trl", "rows": count, "packed": len(trainer.train_dataset), "wall": clock.wall,
                      "cpu": clock.cpu, "rows_per_cpu_s": count / clock.cpu, "renaming": renaming.cpu / clock.cpu}))


if __name__ == "__main__":
    main()
