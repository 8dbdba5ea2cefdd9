"""Writes tests/optim/golden/optimizers.json: steps of the optimizers beside AdamW, for optim/rules to follow.

usage: python tools/golden/optimizers.py          (torch, transformers, bitsandbytes)

Those of torch, transformers' Adafactor, and bitsandbytes' Lion in 32 and in 8 bits. Each case has what `sft` takes (optim, optim_args, betas, weight_decay), the
parameters, per step rate, gradients and weights after it, and the state at the end by slot. In 8 bits the state is codes (hexadecimal) and
scales, and rounding to codes is to the nearest, as in adamw_8bit.py.
"""

import json
import pathlib

import bitsandbytes as bnb
import bitsandbytes.backends.cpu.ops as cpu_ops
import torch
from adamw_8bit import quantise, values

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/optim/golden/optimizers.json"
SHAPES = ((7, True), (20, False), (18, True))
RATES = (1e-2, 5e-3, 0.0, 3e-2)
LION = dict(betas=(0.9, 0.99))

CASES = (
    dict(name="sgd", optim="sgd", make=torch.optim.SGD, slots={}),
    dict(name="sgd with momentum", optim="sgd", args=dict(momentum=0.9), make=torch.optim.SGD, slots={"momentum_buffer": "momentum_buffer"}),
    dict(name="sgd with dampening", optim="sgd", args=dict(momentum=0.8, dampening=0.3), make=torch.optim.SGD, slots={"momentum_buffer": "momentum_buffer"}),
    dict(name="sgd, nesterov", optim="sgd", args=dict(momentum=0.9, nesterov=True), make=torch.optim.SGD, slots={"momentum_buffer": "momentum_buffer"}),
    dict(name="rmsprop", optim="rmsprop", make=torch.optim.RMSprop, slots={"square_avg": "square_avg"}),
    dict(
        name="rmsprop, centred, with momentum",
        optim="rmsprop",
        args=dict(alpha=0.9, momentum=0.5, eps=1e-4, centered=True),
        make=torch.optim.RMSprop,
        slots={"square_avg": "square_avg", "momentum_buffer": "momentum_buffer", "grad_avg": "grad_avg"},
    ),
    dict(name="rmsprop, centred", optim="rmsprop", args=dict(centered=True), make=torch.optim.RMSprop, slots={"square_avg": "square_avg", "grad_avg": "grad_avg"}),
    dict(name="adagrad", optim="adagrad", make=torch.optim.Adagrad, slots={"sum": "sum"}),
    dict(name="adagrad with decay", optim="adagrad", args=dict(lr_decay=0.1, eps=1e-3), make=torch.optim.Adagrad, slots={"sum": "sum"}),
    dict(name="lion", optim="lion_32bit", make=bnb.optim.Lion32bit, own=LION, slots={"exp_avg": "state1"}),
)  # fmt: skip


def run(case, generator):
    weights = [torch.nn.Parameter(torch.randn(n, generator=generator)) for n, _ in SHAPES]
    decay = 0.1
    groups = [
        {"params": [w for w, (_, d) in zip(weights, SHAPES) if d], "weight_decay": decay},
        {"params": [w for w, (_, d) in zip(weights, SHAPES) if not d], "weight_decay": 0.0},
    ]
    args = case.get("args", {})
    optimizer = case["make"](groups, lr=1.0, **args, **case.get("own", {}))
    text = ",".join(f"{k}={v}" for k, v in args.items())
    out = dict(name=case["name"], optim=case["optim"], optim_args=text, weight_decay=decay, **case.get("own", {}))
    out["parameters"] = [dict(decay=d, values=w.tolist()) for w, (_, d) in zip(weights, SHAPES)]
    out["steps"] = []
    for index, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for w in weights:
            w.grad = torch.randn(w.shape, generator=generator) * 10.0 ** (1 - index)
        gradients = [w.grad.tolist() for w in weights]
        optimizer.step()
        out["steps"].append(dict(rate=rate, gradients=gradients, weights=[w.tolist() for w in weights]))
    out["state"] = {ours: [optimizer.state[w][theirs].tolist() for w in weights] for ours, theirs in case["slots"].items()}
    return out


def lion_8bit():
    shape, steps, rate, decay = (16, 262), 5, 1e-2, 0.1
    cpu_ops._quant_blockwise_fp32_direct = quantise
    weight = torch.nn.Parameter(values(shape, 1))
    optimizer = bnb.optim.Lion8bit([weight], lr=rate, weight_decay=decay, **LION)
    for step in range(steps):
        weight.grad = values(shape, 100 * (step + 1))
        optimizer.step()
    state = optimizer.state[weight]
    return dict(
        steps=steps, rate=rate, weight_decay=decay, shape=shape, weights=weight.detach().flatten().tolist(),
        codes=bytes(state["state1"].flatten().tolist()).hex(), scales=state["absmax1"].tolist(), **LION,
    )  # fmt: skip


WHOLE_SHAPES = ((12, 20), (20, 12), (9,))


def whole_case(name, optim, args, make, slots, generator):
    """Steps that take whole tensors. Muon's case has no vector: that is AdamW's."""
    shapes = [s for s in WHOLE_SHAPES if len(s) == 2 or optim == "adafactor"]
    weights = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    optimizer = make(weights, lr=1.0, weight_decay=0.1)
    out = dict(name=name, optim=optim, optim_args=args, weight_decay=0.1, shapes=shapes, steps=[])
    out["weights"] = [w.flatten().tolist() for w in weights]
    for index, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for w in weights:
            w.grad = torch.randn(w.shape, generator=generator) * 10.0 ** (1 - index)
        gradients = [w.grad.flatten().tolist() for w in weights]
        optimizer.step()
        out["steps"].append(dict(rate=rate, gradients=gradients, weights=[w.flatten().tolist() for w in weights]))
    out["state"] = {
        slot: [optimizer.state[w][slot].flatten().tolist() if slot in optimizer.state[w] else None for w in weights] for slot in slots
    }
    return out


def whole_cases(generator):
    from transformers.optimization import Adafactor

    def adafactor(weights, lr, weight_decay):
        return Adafactor(weights, lr=lr, weight_decay=weight_decay, scale_parameter=False, relative_step=False)

    def muon(**options):
        return lambda weights, lr, weight_decay: torch.optim.Muon(weights, lr=lr, weight_decay=weight_decay, **options)

    momentum = ["momentum_buffer"]
    return [
        whole_case("adafactor", "adafactor", "", adafactor, ["exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq"], generator),
        whole_case("muon", "muon", "", muon(), momentum, generator),
        whole_case("muon as AdamW", "muon", "adjust_lr_fn=match_rms_adamw,momentum=0.9,nesterov=false", muon(adjust_lr_fn="match_rms_adamw", momentum=0.9, nesterov=False), momentum, generator),
    ]  # fmt: skip


def short(value):
    """float32 values in as many digits as they need."""
    if isinstance(value, dict):
        return {k: short(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [short(v) for v in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(21)
    cases = [run(case, generator) for case in CASES]
    versions = dict(torch=torch.__version__.split("+")[0], bitsandbytes=bnb.__version__)
    content = dict(cases=cases, whole=whole_cases(generator), lion_8bit=lion_8bit())
    OUT.write_text(json.dumps(short(versions | content)) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")
