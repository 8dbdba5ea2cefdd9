"""Reads what sft wrote for wandb and TensorBoard with those programs' own readers, beside metrics.jsonl.

usage: trackers.py OUTPUT_DIR WANDB_DIR    (packages: tensorboard, and wandb below 0.20, the last with a reader in Python)
"""
import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

RUN_ONLY = {"k", "t", "step", "samples", "nonfinite"}


def rewritten(name):
    return f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"


def same(a, b):
    return a == b or math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))


def lines_of(output):
    with open(output / "metrics.jsonl") as file:
        return [json.loads(line) for line in file]


def check_tensorboard(output, lines):
    [folder] = (output / "runs").iterdir()
    board = EventAccumulator(str(folder)).Reload()
    expected = {}
    for line in lines:
        if line["k"] in ("log", "eval", "finish"):
            for name, value in line.items():
                if name not in RUN_ONLY and isinstance(value, (int, float)):
                    expected.setdefault(rewritten(name), []).append((line["step"], value))
    assert set(board.Tags()["scalars"]) == set(expected), set(board.Tags()["scalars"]) ^ set(expected)
    count = 0
    for tag, points in expected.items():
        events = board.Scalars(tag)
        assert len(events) == len(points), tag
        for event, (step, value) in zip(events, points):
            assert event.step == step and same(event.value, value), (tag, event, step, value)
            count += 1
    assert "args/text_summary" in board.Tags()["tensors"]
    print(f"tensorboard: {count} points of {len(expected)} tags equal metrics.jsonl")


def check_wandb(folder, lines):
    [file] = pathlib.Path(folder).glob("wandb/offline-run-*/run-*.wandb")
    store = DataStore()
    store.open_for_scan(str(file))
    rows, summary, config, kinds = [], {}, {}, []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        kinds.append(kind)
        if kind == "history":
            rows.append({i.nested_key[0]: json.loads(i.value_json) for i in record.history.item})
        elif kind == "summary":
            summary.update({".".join(i.nested_key): json.loads(i.value_json) for i in record.summary.update})
        elif kind == "run":
            config = {i.key: json.loads(i.value_json) for i in record.run.config.update}
            print(f"wandb: run {record.run.run_id}, project {record.run.project}, name {record.run.display_name}")
    assert kinds[0] == "header" and kinds[-1] == "exit", kinds
    logged = [line for line in lines if line["k"] in ("log", "eval", "finish")]
    assert len(rows) == len(logged), (len(rows), len(logged))
    for number, (row, line) in enumerate(zip(rows, logged)):
        assert row["_step"] == number and row["train/global_step"] == line["step"]
        for name, value in line.items():
            total = line["k"] == "finish" and (name.startswith("train_") or name == "total_flos")
            if name in RUN_ONLY or value is None:
                continue
            assert same(summary[name] if total else row[rewritten(name)], value), name
    assert config["learning_rate"] == lines[0]["config"]["learning_rate"]
    print(f"wandb: {len(rows)} rows and {len(config)} settings equal metrics.jsonl")


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    check_tensorboard(out, lines_of(out))
    check_wandb(sys.argv[2], lines_of(out))
