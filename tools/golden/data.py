"""Golden files of tests/data: the orders that torch, numpy, datasets and accelerate draw, TRL's
packing, and rows prepared by TRL's own trainer code.

    python tools/golden/data.py [order|pack|shards|rows|render ...]
"""

import json
import pathlib
import random
import sys

OUT = pathlib.Path(__file__).parents[2] / "tests" / "data" / "golden"


def write(name, value):
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")
    print(path.name, path.stat().st_size)


def digest(values):
    """FNV-1a over the numbers, so that long orders stay one number."""
    h = 0xCBF29CE484222325
    for v in values:
        h = ((h ^ v) * 0x100000001B3) % 2**64
    return f"{h:016x}"


def order():
    import numpy as np
    import torch
    from datasets import Dataset

    cases = []
    for n in [1, 2, 3, 5, 7, 16, 97, 200, 1000, 4097, 100000]:
        for seed in [0, 1, 42, 43, 2**31, 2**32 + 5]:
            p = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
            cases.append({"n": n, "seed": seed, "head": p[:10], "digest": digest(p)})
    shuffles = []
    for n in [1, 2, 3, 10, 257, 1000, 65537]:
        for seed in [0, 1, 42, 2**32 + 7]:
            p = np.random.default_rng(seed).permutation(n).tolist()
            shuffles.append({"n": n, "seed": seed, "head": p[:10], "digest": digest(p)})
    ds = Dataset.from_dict({"x": list(range(50))})
    assert ds.shuffle(seed=42)["x"] == np.random.default_rng(42).permutation(50).tolist()
    splits = []
    for n, size in [(50, 0.1), (50, 7), (33, 0.25)]:
        s = Dataset.from_dict({"x": list(range(n))}).train_test_split(test_size=size, seed=42)
        splits.append({"n": n, "size": size, "train": s["train"]["x"][:], "test": s["test"]["x"][:]})
    draws = torch.Generator().manual_seed(7)
    write("order", {"torch": cases, "numpy": shuffles, "splits": splits,
                    "torch_random": torch.randint(0, 2**32, (4,), generator=draws).tolist()})


def pack():
    from datasets import Dataset, disable_progress_bars
    from trl.data_utils import pack_dataset

    disable_progress_bars()
    rng = random.Random(5)
    sets = {
        "small": [5, 2, 3, 1, 4, 4, 0, 9, 1],
        "ties": [3] * 7 + [5] * 6 + [2] * 9,
        "even": [64] * 20,
        "ragged": [rng.randint(1, 90) for _ in range(300)],
        "two_slices": [rng.choice([1, 3, 7, 12, 30, 31, 33, 64, 65, 200]) for _ in range(2300)],
    }
    cases = []
    for name, lengths in sets.items():
        start = 0
        ids = []
        for length in lengths:
            ids.append(list(range(start, start + length)))
            start += length
        for max_length in [8, 64]:
            for strategy in ["bfd", "bfd_split", "wrapped"]:
                ds = Dataset.from_dict({"input_ids": ids, "labels": ids})
                out = pack_dataset(ds, max_length, strategy)
                rows = out["input_ids"][:]
                docs = out["seq_lengths"][:] if "seq_lengths" in out.column_names else []
                cases.append({
                    "set": name, "max_length": max_length, "strategy": strategy, "rows": len(rows),
                    "tokens": digest([t for r in rows for t in r]),
                    "lengths": digest([len(r) for r in rows]),
                    "documents": digest([d for r in docs for d in r]) if docs else "",
                })
    write("pack", {"sets": sets, "cases": cases})


def shards():
    """Which rows each rank gets in one epoch: torch's BatchSampler through accelerate's shard."""
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    cases = []
    for n in [1, 2, 5, 7, 8, 16, 17, 33]:
        for batch in [1, 2, 4]:
            for world in [2, 3, 4]:
                for drop in [False, True]:
                    ranks = []
                    for rank in range(world):
                        shard = BatchSamplerShard(BatchSampler(range(n), batch, drop), world, rank)
                        ranks.append([list(b) for b in shard])
                    cases.append({"n": n, "batch": batch, "world": world, "drop_last": drop, "ranks": ranks})
    write("shards", cases)


def rows():
    """The same rows as JSON, parquet (two row groups) and arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({
        "messages": pa.array(
            [[{"role": "user", "content": "grüße", "tool": None}, {"role": "assistant", "content": None, "tool": "t"}],
             [], None],
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("tool", pa.string())]))),
        "n": pa.array([1, None, -3], pa.int32()),
        "x": pa.array([0.5, 2.0, None]),
        "ok": pa.array([True, False, None]),
        "ids": pa.array([[1, 2], [], [3]], pa.large_list(pa.int64())),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "day": pa.array([0, 1, 2], pa.date32()),
    })
    pq.write_table(table, OUT / "rows.parquet", row_group_size=2)
    with pa.OSFile(str(OUT / "rows.arrow"), "wb") as f, pa.ipc.new_stream(f, table.schema) as w:
        w.write_table(table, max_chunksize=2)
    wanted = table.to_pylist()
    for row in wanted:
        row["day"] = str(row["day"])
        for message in row["messages"] or []:
            if message["tool"] is None:
                del message["tool"]
    write("rows", wanted)


def cases_to_render():
    words = "the fox counts barrels while gulls look on and never waits for a ferry".split()
    rng = random.Random(3)

    def said(n):
        return " ".join(rng.choice(words) for _ in range(n))

    def turn(role, n):
        return {"role": role, "content": said(n)}

    text = [{"text": said(n)} for n in [5, 12, 1, 20, 3]] + [{"text": ""}, {"text": "x\n"}, {"text": "é 🦊 漢字"}]
    pairs = [{"prompt": said(n) + " ", "completion": said(m)} for n, m in [(3, 4), (9, 2), (25, 3), (2, 30), (1, 0)]]
    glued = [{"prompt": said(4)[:-1], "completion": said(3)} for _ in range(4)]
    chat = [{"messages": [turn("system", 2), turn("user", n), turn("assistant", m), turn("user", 3), turn("assistant", 2)]}
            for n, m in [(3, 4), (20, 9), (1, 1), (7, 7)]]
    chat_pairs = [{"prompt": [turn("user", n), turn("assistant", 2), turn("user", 2)], "completion": [turn("assistant", m)]}
                  for n, m in [(3, 4), (9, 2), (2, 12)]]
    many = [{"text": said(rng.randint(1, 25))} for _ in range(60)]
    tokens = [{"input_ids": list(range(9, 9 + n)), "labels": [-100] * 2 + list(range(11, 9 + n))} for n in [6, 2, 12]]
    for model in ["chatml", "windowed", "gemma"]:
        yield f"text_{model}", model, text, {}
        yield f"pairs_{model}", model, pairs, {"max_length": 40}
    yield "text_ended", "chatml", [{"text": r["text"] + "<|im_end|>"} for r in text], {}
    yield "pairs_all", "chatml", pairs, {"completion_only_loss": False}
    yield "pairs_glued", "chatml", glued, {}
    yield "pairs_cut", "chatml", pairs, {"max_length": 12}
    yield "pairs_keep_end", "chatml", pairs, {"max_length": 12, "truncation_mode": "keep_end"}
    yield "chat", "chatml", chat, {}
    yield "chat_cut", "chatml", chat, {"max_length": 30}
    yield "chat_assistant", "chatml", chat, {"assistant_only_loss": True, "max_length": 60}
    yield "chat_pairs", "chatml", chat_pairs, {}
    yield "chat_pairs_all", "chatml", chat_pairs, {"completion_only_loss": False}
    yield "chat_pairs_assistant", "chatml", chat_pairs, {"assistant_only_loss": True}
    yield "chat_pairs_assistant_all", "chatml", chat_pairs, {"assistant_only_loss": True, "completion_only_loss": False}
    yield "shuffled", "chatml", many, {"shuffle_dataset": True, "seed": 7, "max_length": 16}
    for strategy in ["bfd", "bfd_split", "wrapped"]:
        yield f"packed_{strategy}", "chatml", many, {"packing": True, "packing_strategy": strategy, "max_length": 32}
        yield f"packed_{strategy}_shuffled", "chatml", many, {
            "packing": True, "packing_strategy": strategy, "max_length": 32, "shuffle_dataset": True, "seed": 7}
    yield "packed_pairs", "chatml", pairs, {"packing": True, "max_length": 24}
    yield "tokens", "chatml", tokens, {"max_length": 8}


def render():
    """Rows that TRL's own trainer prepares, for the tokenizers of tests/golden/models."""
    import os
    import tempfile

    os.environ["HF_HUB_OFFLINE"] = "1"
    import trl
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    models = OUT.parents[1] / "golden" / "models"
    cases = []
    for name, model, rows, args in cases_to_render():
        with tempfile.TemporaryDirectory() as out:
            config = trl.SFTConfig(output_dir=out, report_to=[], bf16=False, use_cpu=True, **args)
            trainer = trl.SFTTrainer(str(models / model), args=config, train_dataset=Dataset.from_list(rows))
        prepared = [[r["input_ids"], [i for i, label in enumerate(r["labels"]) if label != -100],
                     r.get("seq_lengths") or []] for r in trainer.train_dataset]
        cases.append({"name": name, "model": model, "args": args, "rows": rows, "prepared": prepared})
    # A case a line; masks as positions trained.
    body = ",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=False) for c in cases)
    (OUT / "render.json").write_text(f"[{body}]\n")
    print("render.json", (OUT / "render.json").stat().st_size, trl.__version__)


def main():
    steps = {"order": order, "pack": pack, "shards": shards, "rows": rows, "render": render}
    for name in sys.argv[1:] or steps:
        steps[name]()


if __name__ == "__main__":
    main()
