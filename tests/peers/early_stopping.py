#!/usr/bin/env python3
"""When --early_stopping_patience ends a run of sft, beside transformers' EarlyStoppingCallback, which is given the same evaluations.

usage: tests/peers/early_stopping.py SFT WORK      needs: torch, transformers 5
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = [(rate, patience, threshold, metric) for rate in ("1e-2", "0.3", "2") for patience in (1, 2, 3) for threshold in ("0", "0.05")
         for metric in ("loss", "mean_token_accuracy")]


def stops_at(evaluations, patience, threshold, metric, folder):
    """The first evaluation after which transformers' callback asks to stop; None where it never does."""
    greater = not metric.endswith("loss")
    args = TrainingArguments(output_dir=folder, metric_for_best_model=metric, greater_is_better=greater, load_best_model_at_end=False, report_to=[])
    args.eval_strategy = "steps"
    state, callback = TrainerState(), EarlyStoppingCallback(patience, float(threshold))
    for step, values in evaluations:
        control = TrainerControl()
        callback.on_evaluate(args, state, control, metrics=values)  # before the trainer notes the best
        if control.should_training_stop:
            return step
        value = values["eval_" + metric]
        if state.best_metric is None or (value > state.best_metric if greater else value < state.best_metric):
            state.best_metric = value
    return None


def main():
    sft, work, different, stopped = sys.argv[1], pathlib.Path(sys.argv[2]), 0, 0
    work.mkdir(parents=True, exist_ok=True)
    for rate, patience, threshold, metric in CASES:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            subprocess.run([sft, "--model_name_or_path", ROOT / "examples/tiny-model", "--dataset_name", ROOT / "examples/data/ostrafell",
                            "--dataset_test_split", "train[:24]", "--output_dir", folder, "--max_steps", "14", "--learning_rate", rate,
                            "--lr_scheduler_type", "constant", "--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "no",
                            "--metric_for_best_model", metric, "--early_stopping_patience", str(patience), "--early_stopping_threshold", threshold,
                            "--threads", "1", "-q"], check=True, stdout=subprocess.DEVNULL)
            lines = [json.loads(line) for line in open(pathlib.Path(folder) / "metrics.jsonl")]
            evaluations = [(line["step"], line) for line in lines if line["k"] == "eval"]
            event = [line["step"] for line in lines if line.get("event") == "stopped-early"]
            wanted = stops_at(evaluations, patience, threshold, metric, folder)
        last = evaluations[-1][0]
        own = event[0] if event else None
        stopped += own is not None
        if own != wanted or (own is None and last != 14):
            different += 1
            print(f"DIFFERS  rate {rate}, patience {patience}, threshold {threshold}, {metric}: sft {own}, transformers {wanted}")
    print(f"early stopping: {len(CASES) - different} of {len(CASES)} runs end as with transformers' callback, {stopped} of them early")
    return different != 0


sys.exit(main())
