"""Learning-rate factors of transformers' schedules and of torch's ReduceLROnPlateau, step by step.

Also of DeepSpeed's schedules, stepped as its engine does, once before each step but the first.
Writes tests/optim/golden/schedules.json. Needs torch, transformers and deepspeed.
"""
import json
import pathlib

import torch
from deepspeed.runtime import lr_schedules
from transformers import get_scheduler

LR = 3e-4
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/optim/golden/schedules.json"

CASES = [
    ("linear", 0, 13, None),
    ("linear", 5, 20, None),
    ("linear", 20, 20, None),
    ("cosine", 4, 25, None),
    ("cosine", 0, 17, {"num_cycles": 1.25}),
    ("cosine_with_restarts", 3, 24, {"num_cycles": 3}),
    ("cosine_with_restarts", 0, 10, None),
    ("polynomial", 4, 21, None),
    ("polynomial", 2, 18, {"lr_end": 1e-5, "power": 2.5}),
    ("constant", 5, 8, None),
    ("constant_with_warmup", 6, 12, None),
    ("inverse_sqrt", 7, 22, None),
    ("inverse_sqrt", 0, 9, None),
    ("inverse_sqrt", 3, 15, {"timescale": 50}),
    ("cosine_with_min_lr", 3, 16, {"min_lr": 1e-4}),
    ("cosine_with_min_lr", 0, 16, {"min_lr": 0}),
    ("cosine_with_min_lr", 5, 26, {"min_lr_rate": 0.1, "num_cycles": 0.75}),
    ("cosine_warmup_with_min_lr", 5, 19, {"min_lr_rate": 0.2}),
    ("cosine_warmup_with_min_lr", 5, 19, {"min_lr": 2e-5, "warmup_lr_rate": 0.05}),
    ("cosine_warmup_with_min_lr", 1, 7, {"min_lr_rate": 0.0, "warmup_lr_rate": 0.3}),
    ("warmup_stable_decay", 4, 20, {"num_decay_steps": 6}),
    ("warmup_stable_decay", 5, 30, {"num_decay_steps": 9, "num_stable_steps": 7, "min_lr_ratio": 0.1,
                                    "warmup_type": "cosine", "decay_type": "linear"}),
    ("warmup_stable_decay", 6, 24, {"num_decay_steps": 8, "warmup_type": "1-sqrt", "decay_type": "1-sqrt",
                                    "num_cycles": 0.5}),
]

DEEPSPEED = [
    ("deepspeed_warmup", "WarmupLR", 5, 12, {"warmup_num_steps": 5}),
    ("deepspeed_warmup", "WarmupLR", 1, 6, {"warmup_num_steps": 1}),
    ("deepspeed_warmup", "WarmupLR", 6, 12, {"warmup_num_steps": 6, "warmup_type": "linear",
                                              "warmup_min_lr": 3e-5}),
    ("deepspeed_warmup_decay", "WarmupDecayLR", 4, 15, {"warmup_num_steps": 4, "total_num_steps": 15}),
    ("deepspeed_warmup_decay", "WarmupDecayLR", 5, 14, {"warmup_num_steps": 5, "total_num_steps": 14,
                                                          "warmup_type": "linear", "warmup_min_lr": 1e-5}),
    ("deepspeed_warmup_cosine", "WarmupCosineLR", 4, 15, {"warmup_num_steps": 4, "total_num_steps": 15}),
    ("deepspeed_warmup_cosine", "WarmupCosineLR", 3, 16, {"warmup_num_steps": 3, "total_num_steps": 16,
                                                            "warmup_min_ratio": 0.2, "cos_min_ratio": 0.1,
                                                            "warmup_type": "linear"}),
]

PLATEAU = [
    {"patience": 1, "factor": 0.5},
    {"mode": "max", "patience": 0, "factor": 0.3, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 2},
    {"patience": 0, "min_lr": 1e-4, "eps": 1e-6},
]
GREEDY = [
    {"patience": 1, "factor": 0.5, "min_lr": 1e-5},
    {"mode": "max", "patience": 0, "factor": 0.7, "threshold": 0.05, "threshold_mode": "rel", "cooldown": 1, "warmup": 2,
     "min_lr": 2e-4, "max_lr": 4e-3},
    {"patience": 0, "smooth": True, "window_size": 3, "min_lr": 1e-5, "eps": 1e-6},
    {"patience": 0, "min_lr": 9e-4, "factor": 0.9, "reset_start": 2},
    {},
]
METRICS = [2.0, 1.9, 1.95, 1.93, 1.92, 1.5, 1.6, 1.6, 1.6, 1.49999, 1.7, 1.8, 1.2, 1.3, 1.4, 1.5]


def optimizer(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def factors(name, warmup, total, kwargs):
    # A base rate of LR is needed by min_lr and lr_end; the lambda gives the factor itself.
    scheduler = get_scheduler(name, optimizer(LR), warmup, total, kwargs)
    return [float(scheduler.lr_lambdas[0](step)) for step in range(total + 3)]


def deepspeed_factors(kind, total, kwargs):
    opt = optimizer(LR)
    peak = {} if kind == "WarmupCosineLR" else {"warmup_max_lr": LR}
    scheduler = getattr(lr_schedules, kind)(opt, **peak, **kwargs)
    out = []
    for _ in range(total + 3):
        out.append(opt.param_groups[0]["lr"] / LR)
        scheduler.step()
    return out


def plateau(kwargs):
    opt = optimizer(LR)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, **kwargs)
    rates = []
    for metric in METRICS:
        scheduler.step(metric)
        rates.append(opt.param_groups[0]["lr"])
    return rates


def greedy(kwargs):
    opt = optimizer(LR)
    scheduler = get_scheduler("greedy", opt, 0, 100, kwargs)
    rates = []
    for metric in METRICS:
        scheduler.step(metric)
        rates.append(opt.param_groups[0]["lr"])
    return rates


def main():
    golden = {
        "learning_rate": LR,
        "schedules": [
            {"name": n, "warmup": w, "total": t, "kwargs": k, "factors": factors(n, w, t, k)} for n, w, t, k in CASES
        ] + [
            {"name": n, "warmup": w, "total": t, "kwargs": k, "factors": deepspeed_factors(kind, t, k)}
            for n, kind, w, t, k in DEEPSPEED
        ],
        "plateau_metrics": METRICS,
        "plateau": [{"kwargs": k, "rates": plateau(k)} for k in PLATEAU],
        "greedy": [{"kwargs": k, "rates": greedy(k)} for k in GREEDY],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
