"""What transformers' samplers and torch's generator draw, for tests/data/tokens/draws_test.cpp.

usage: python tools/golden/draws.py      writes tests/data/golden/draws.json     (transformers 5.24, torch; on CPU)
"""

import json
import pathlib
import random

import torch
from transformers.trainer_pt_utils import BatchRebalanceSampler, get_length_grouped_indices

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/golden/draws.json"


def lengths(n, seed, most):
    source = random.Random(seed)
    return [source.randint(1, most) for _ in range(n)]


def uniform(seed, shape, most):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.zeros(shape).uniform_(-most, most, generator=generator)
    return {"seed": seed, "count": noise.numel(), "most": most, "values": noise.flatten()[-5:].tolist()}


def grouped(n, batch, seed, most):
    rows = lengths(n, seed, most)
    order = get_length_grouped_indices(rows, batch, generator=torch.Generator().manual_seed(seed))
    return {"lengths": rows, "batch": batch, "seed": seed, "order": order}


def rebalanced(n, per_device, ranks, accumulation, drop_last, most):
    rows = lengths(n, n + accumulation, most)
    epochs = []
    for epoch in range(2):
        per_rank = []
        for rank in range(ranks):
            sampler = BatchRebalanceSampler(rows, per_device * ranks * accumulation, ranks, accumulation, rank=rank,
                                            drop_last=drop_last)  # fmt: skip
            sampler.set_epoch(epoch)
            per_rank.append(list(sampler))
        epochs.append(per_rank)
    return {"lengths": rows, "per_device": per_device, "ranks": ranks, "accumulation": accumulation, "drop_last": drop_last,
            "epochs": epochs}  # fmt: skip


def main():
    golden = {
        "uniform": [uniform(7, (5,), 0.3), uniform(42, (3, 64, 24), 0.12757758796215057), uniform(3, (40,), 5.0)],
        "grouped": [grouped(40, 4, 42, 60), grouped(103, 6, 7, 900), grouped(5, 8, 1, 30), grouped(900, 2, 11, 50)],
        "rebalanced": [
            rebalanced(40, 4, 1, 1, False, 60), rebalanced(41, 4, 1, 3, False, 900), rebalanced(41, 4, 1, 3, True, 900),
            rebalanced(50, 3, 2, 2, False, 2000), rebalanced(37, 1, 1, 6, False, 5000), rebalanced(33, 2, 3, 2, False, 300),
            rebalanced(64, 8, 2, 4, False, 4000), rebalanced(9, 1, 2, 4, False, 700), rebalanced(3, 4, 1, 4, False, 50),
        ],
    }  # fmt: skip
    OUT.write_text(json.dumps(golden, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
