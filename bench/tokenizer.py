"""Tokenizing alone: `sft tokenize` against PyPI's quicktok-v1, paired on one core, the ids compared first.

    python bench/tokenizer.py build/sft FOLDER_OF_QWEN_TOKENIZER CONVERSATIONS.jsonl [pairs] [core]

The texts are the "value" or "content" of every turn. Each side tokenizes all of them in a process of its own, ten times in
a row, and says the fastest; the sides take turns. Then sft alone with one and with two threads, also in turns.
"""
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

PEER = """
import sys, time
import quicktok
texts = [t.decode() for t in open(sys.argv[1], "rb").read().split(b"\\0")[:-1]]
size = sum(len(t.encode()) for t in texts)
encoding = quicktok.get_encoding("qwen3")
if sys.argv[2] == "ids":
    for t in texts:
        print(encoding.encode_ordinary(t))
else:
    def loop():
        for t in texts:
            encoding.encode_ordinary(t)
    best = float("inf")
    for work in (loop, lambda: encoding.encode_batch(texts, 1)):
        for _ in range(10):
            start = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - start)
    print(size / best / 1e6)
"""


def main():
    sft, tokenizer, source = sys.argv[1:4]
    pairs, core = (int(a) for a in (sys.argv[4:6] + ["7", "1"][len(sys.argv) - 4 :]))
    texts = []
    for line in open(source, encoding="utf-8"):
        row = json.loads(line)
        texts += [turn.get("value") or turn.get("content") or "" for turn in row.get("conversations") or row["messages"]]
    data = pathlib.Path(tempfile.mkdtemp(), "texts")
    data.write_bytes(b"".join(text.replace("\0", "").encode() + b"\0" for text in texts))

    def ours(threads=1, cores=str(core), extra=("--rounds", "10")):
        command = ["taskset", "-c", cores, sft, "tokenize", "--model", tokenizer, "--file", data, "--nul", "--threads", str(threads), *extra]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    def rate(text):
        return float(text.split(" MB/s")[0].split()[-1])

    def theirs(what):
        command = ["taskset", "-c", str(core), sys.executable, "-c", PEER, data, what]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    mine = [json.loads(line)["ids"] for line in ours(extra=("--json",)).splitlines()]
    peers = [json.loads(line) for line in theirs("ids").splitlines()]
    different = sum(a != b for a, b in zip(mine, peers, strict=True))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=pathlib.Path(__file__).parent).stdout.strip()
    print(f"commit {commit}, {platform.processor() or platform.machine()}, {data.stat().st_size} bytes in {len(texts)} texts, {sum(map(len, mine))} tokens, {different} texts with other ids")
    rows = [(rate(ours()), float(theirs("rate"))) for _ in range(pairs)]
    print("| pair | sft MB/s | quicktok-v1 MB/s | ratio |\n|---|---|---|---|")
    for i, (a, b) in enumerate(rows, 1):
        print(f"| {i} | {a:.1f} | {b:.1f} | {a / b:.2f} |")
    print(f"| median | {statistics.median(a for a, _ in rows):.1f} | {statistics.median(b for _, b in rows):.1f} | {statistics.median(a / b for a, b in rows):.2f} |")
    print(f"| best | {max(a for a, _ in rows):.1f} | {max(b for _, b in rows):.1f} | |")
    scaling = [(rate(ours(1, "0,1")), rate(ours(2, "0,1"))) for _ in range(pairs)]
    print("two threads against one: " + ", ".join(f"{b / a:.2f}" for a, b in scaling) + f"; best {max(b / a for a, b in scaling):.2f}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
