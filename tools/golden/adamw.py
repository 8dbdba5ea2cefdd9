"""Writes tests/optim/golden/adamw.json: steps of torch.optim.AdamW with clipping, for optim/adamw to follow.

usage: python tools/golden/adamw.py          (torch)

Each case has its options, the parameters (whether weight decay applies, initial values), and per step the learning rate, the
gradients, the norm that torch.nn.utils.clip_grad_norm_ found, and the weights after the step. At the end stand the moments.
"""

import json
import pathlib

import torch

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/optim/golden/adamw.json"
SHAPES = ((7, True), (5, True), (20, False), (3, False), (18, True))

CASES = (
    dict(name="defaults", betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, max_grad_norm=1.0, rates=(1e-3,) * 6),
    dict(name="decay", betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1, max_grad_norm=0.3, rates=(0.0, 5e-4, 1e-2, 3e-2)),
    dict(name="unclipped", betas=(0.8, 0.99), eps=1e-3, weight_decay=0.5, max_grad_norm=0.0, rates=(0.1, 0.05, 0.01)),
)  # fmt: skip


def run(case, generator):
    weights = [torch.nn.Parameter(torch.randn(n, generator=generator)) for n, _ in SHAPES]
    groups = [
        {"params": [w for w, (_, decay) in zip(weights, SHAPES) if decay], "weight_decay": case["weight_decay"]},
        {"params": [w for w, (_, decay) in zip(weights, SHAPES) if not decay], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=case["betas"], eps=case["eps"], foreach=False)
    out = dict(case, parameters=[dict(decay=d, values=w.tolist()) for w, (_, d) in zip(weights, SHAPES)], steps=[])
    for index, rate in enumerate(case["rates"]):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for w in weights:
            w.grad = torch.randn(w.shape, generator=generator) * 10.0 ** (1 - index)
        gradients = [w.grad.tolist() for w in weights]
        limit = case["max_grad_norm"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(weights, limit, foreach=False).item()
        optimizer.step()
        out["steps"].append(dict(rate=rate, gradients=gradients, norm=norm, weights=[w.tolist() for w in weights]))
    del out["rates"]
    for key, name in (("exp_avg", "first"), ("exp_avg_sq", "second")):
        out[name] = [optimizer.state[w][key].tolist() for w in weights]
    return out


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(20)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    cases = [run(case, generator) for case in CASES]
    OUT.write_text(json.dumps({"torch": torch.__version__.split("+")[0], "cases": cases}) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")
