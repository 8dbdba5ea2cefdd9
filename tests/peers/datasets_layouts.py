"""datasets_layouts.py PROBE [CASES] [SEED]: random folder layouts, read by PyPI's `datasets` and by dataset_probe; the
rows of each split, their order, and slices must be the same, or both must refuse."""

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile

home = tempfile.mkdtemp()
os.environ.update(HF_HOME=home, HF_DATASETS_CACHE=home + "/cache", HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import zstandard  # noqa: E402

datasets.logging.set_verbosity(datasets.logging.CRITICAL)
probe_path, cases, seed = sys.argv[1], int((sys.argv + ["300"])[2]), int((sys.argv + ["", "1"])[3])
R = random.Random(seed)
probe = subprocess.Popen([probe_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

FOLDERS = ["", "", "data/", "train/", "test/", "dev/", "my-test-set/", "x/y/", "validation_2/", "eval/", ".hidden/", "__special/", "a.train/",
           "training/", "Test/", "0625/", "deep/train-1/z/"]
STEMS = ["train", "test", "dev", "valid", "validation", "eval", "a", "b", "part-1", "train_0", "train_1", "my-train-file", "trainer", "x.test.1",
         "test eval", "evaluation2", "Train", "latest", "train-00000-of-00002", "train-00001-of-00002", "odd-00000-of-00001", "val 1", ".hid"]
PACK = {"": lambda b: b, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
        ".zst": lambda b: zstandard.ZstdCompressor().compress(b)}
number = 0


def rows(n):
    global number
    out = []
    for _ in range(n):
        number += 1
        out.append({"text": R.choice(["row", "a, \"b\"", "é ü", "tab\there"]) + f" {number}", "id": f"n{number}"})
    return out


def write(path, kind):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    data = rows(R.randint(1, 5))
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(data), path + ".parquet", compression=R.choice(["snappy", "gzip", "zstd", "lz4", "brotli", "none"]))
        return
    if kind == "arrow":
        with pa.OSFile(path + ".arrow", "wb") as f:
            table = pa.Table.from_pylist(data)
            with R.choice([pa.ipc.new_file, pa.ipc.new_stream])(f, table.schema) as w:
                w.write_table(table)
        return
    if kind == "jsonl":
        text = "\n".join(json.dumps(r, ensure_ascii=R.random() < 0.5) for r in data) + R.choice(["", "\n"])
    elif kind == "json":
        form = R.choice(["lines", "array", "indented", "strings"])
        text = {"lines": "\n".join(map(json.dumps, data)), "array": json.dumps(data), "indented": json.dumps(data, indent=2),
                "strings": json.dumps([r["text"] for r in data])}[form]
    elif kind == "csv" or kind == "tsv":
        import csv
        import io
        buffer = io.StringIO()
        w = csv.DictWriter(buffer, ["text", "id"], delimiter="," if kind == "csv" else "\t", lineterminator=R.choice(["\n", "\r\n"]))
        w.writeheader()
        w.writerows(data)
        text = buffer.getvalue()
    else:
        text = R.choice(["\n", "\r\n"]).join(r["text"] for r in data) + R.choice(["", "\n"])
    pack = R.choice(["", "", "", *PACK])
    open(path + "." + kind + pack, "wb").write(PACK[pack](text.encode()))


def card(folder, names):
    configs = []
    for name in names:
        config = {"config_name": name}
        form = R.randint(0, 4)
        if form == 0:
            config["data_files"] = R.choice(["*", "**", "data/*", "train*", "**/*train*", "x/y/*"])
        elif form == 1:
            config["data_files"] = [R.choice(["*", "data/*", "train/*"]), R.choice(["test/*", "x/**"])]
        elif form == 2:
            config["data_files"] = [{"split": s, "path": R.choice(["*", "**/*" + s + "*", s + "/*", ["data/*", s + "*"]])}
                                    for s in R.sample(["train", "test", "validation"], R.randint(1, 3))]
        elif form == 3:
            config["data_dir"] = R.choice(["data", "train", "x", "."])
        if R.random() < 0.3:
            config["default"] = True
        configs.append(config)
    import yaml
    open(folder + "/README.md", "w").write("---\nlicense: mit\nconfigs:\n" + yaml.dump(configs) + "---\n# Title\n")


def layout(folder):
    kind = R.choice(["jsonl", "jsonl", "json", "csv", "tsv", "txt", "parquet", "arrow"])
    for _ in range(R.randint(1, 6)):
        path = folder + "/" + R.choice(FOLDERS) + R.choice(STEMS)
        write(path, kind if R.random() < 0.9 else R.choice(["jsonl", "csv", "txt"]))
    if R.random() < 0.3:
        open(folder + "/" + R.choice(["LICENSE", "notes.log", "README.md", "x.bin"]), "w").write("nothing\n")
    names = []
    if R.random() < 0.35:
        names = R.sample(["default", "en", "0625", "b c"], R.randint(1, 3))
        card(folder, names)
    return names


def number_or_text(rows):
    """Every value as text: csv has no types here, and columns of several files are joined."""
    return [{k: str(v) for k, v in r.items() if v is not None} for r in rows]


def peer(folder, config, split):
    try:
        shutil.rmtree(home + "/cache", ignore_errors=True)
        return {"rows": number_or_text(datasets.load_dataset(folder, config, split=split).to_list())}
    except Exception as e:  # noqa: BLE001: whatever it refuses with
        return {"error": f"{type(e).__name__}: {e}"}


def known(folder, config, ours, theirs, names):
    """Where the two differ on purpose."""
    if "rows" in ours and "rows" in theirs:
        seen, once = set(), []
        for r in theirs["rows"]:  # a file that fits two patterns of a split is read twice by datasets
            key = json.dumps(r, sort_keys=True)
            if key not in seen:
                seen.add(key)
                once.append(r)
        return "twice" if number_or_text(ours["rows"]) == once and len(once) < len(theirs["rows"]) else None
    if "rows" in ours:  # stricter there: formats of the splits must agree, each config must have files, names of splits
        e = theirs["error"]
        for reason in ["same data file format for all splits", "CastError", "DatasetGenerationError", "Unable to find", "doesn't contain",
                       "not found. Available: ['default']", "Instruction", "StopIteration", "corresponds to no data", "No (supported)",
                       "Split name should match", "FileNotFoundError", "DataFilesNotFound", "Unknown split"]:
            if reason in e:
                return "strict"
    return None


counts = {"same": 0, "refused": 0, "different": 0, "twice": 0, "strict": 0}
for case in range(cases):
    folder = tempfile.mkdtemp()
    names = layout(folder)
    config = R.choice([None, *names, *(["none"] if R.random() < 0.05 else [])]) if names else None
    split = R.choice(["train", "train", "test", "validation"])
    split = R.choice([split, split, split, split + R.choice(["[:1]", "[1:]", "[-2:]", "[:50%]", "[20%:70%]", "[-33%:]"]), "train+test"])
    theirs = peer(folder, config, split)
    question = {"name": folder, "split": split, **({"config": config} if config else {})}
    probe.stdin.write(json.dumps(question) + "\n")
    probe.stdin.flush()
    ours = json.loads(probe.stdout.readline())
    if "error" in ours and "error" in theirs:
        counts["refused"] += 1
    elif "rows" in ours and "rows" in theirs and number_or_text(ours["rows"]) == theirs["rows"]:
        counts["same"] += 1
    elif (why := known(folder, config, ours, theirs, names)) is not None:
        counts[why] += 1
    else:
        counts["different"] += 1
        files = sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, fs in os.walk(folder) for f in fs)
        print(f"case {case}: {files} config={config} split={split}\n  datasets {str(theirs)[:300]}\n  sft      {str(ours)[:300]}")
        if os.path.exists(folder + "/README.md"):
            print("  " + open(folder + "/README.md").read().replace("\n", "\n  "))
    shutil.rmtree(folder)
print(f"data sets: {cases} layouts (seed {seed}): {counts['same']} the same rows, {counts['refused']} refused by both, "
      f"{counts['twice']} read twice by datasets alone, {counts['strict']} refused by datasets alone, {counts['different']} different")
shutil.rmtree(home)
sys.exit(counts["different"] > 0)
