#!/usr/bin/env python3
"""What lm-evaluation-harness makes of tests/run/tasks on small models, for tests/run/tasks_test.cpp: every row's answers and the results.

usage: HF_HUB_OFFLINE=1 tools/golden/eval_tasks.py > tests/run/tasks/expected.json      run at the root; needs: torch, transformers 5, datasets,
lm_eval 0.4.13
"""
import contextlib
import json
import sys

from lm_eval import evaluator
from lm_eval.tasks import TaskManager

MODELS = ["q2gqa", "l32"]
TASKS = ["choice", "shots", "last_word", "written"]


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value


def main():
    out = {}
    for model in MODELS:
        for chat in [False, True]:
            with contextlib.redirect_stdout(sys.stderr):
                found = evaluator.simple_evaluate(
                    model="hf", model_args=f"pretrained=tests/golden/models/{model},dtype=float32", tasks=TASKS, device="cpu", batch_size=1,
                    apply_chat_template=chat, task_manager=TaskManager(include_path="tests/run/tasks"), bootstrap_iters=0)
            one = out[model + ("-chat" if chat else "")] = {"results": {}, "resps": {}, "contexts": {}}
            for task in TASKS:
                one["results"][task] = {key: plain(value) for key, value in found["results"][task].items() if "," in key and "stderr" not in key}
                samples = sorted(found["samples"][task], key=lambda s: s["doc_id"])
                seen, resps, contexts = set(), [], []
                for sample in samples:
                    if sample["doc_id"] in seen:
                        continue
                    seen.add(sample["doc_id"])
                    resps.append(plain([r[0] for r in sample["resps"]]))
                    contexts.append(sample["arguments"]["gen_args_0"]["arg_0"] if isinstance(sample["arguments"], dict) else sample["arguments"][0][0])
                one["resps"][task], one["contexts"][task] = resps, contexts
    print(json.dumps(out, indent=1, ensure_ascii=False))


main()
