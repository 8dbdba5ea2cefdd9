#!/usr/bin/env python3
"""Makes a data set of any size out of a small one: its rows again and again, with small changes.

usage: data_rows.py SOURCE.jsonl ROWS OUT.{jsonl,parquet} [--most-characters N] [--group ROWS] [--repeat N]

Each copy of a row has other numbers in its texts, so that no two rows are the same. Parquet gets
row groups of --group rows (10,000). --most-characters takes only rows of at most that size, and
--repeat writes everything N times over, which is fast.
"""
import argparse
import json
import random
import re


def changed(value, random_number):
    if isinstance(value, str):
        words = value.split(" ")
        at = random_number.randrange(len(words))
        words[at] += f" {random_number.randrange(100000)}"
        return re.sub(r"\d", lambda m: str((int(m.group()) + random_number.randrange(10)) % 10), " ".join(words))
    if isinstance(value, list):
        return [changed(v, random_number) for v in value]
    if isinstance(value, dict):
        return {k: changed(v, random_number) if k in ("value", "content") or not isinstance(v, str) else v
                for k, v in value.items()}
    return value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("rows", type=int)
    parser.add_argument("out")
    parser.add_argument("--most-characters", type=int, default=0)
    parser.add_argument("--group", type=int, default=10000)
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    numbers = random.Random(1)
    lines = [line for line in open(args.source, encoding="utf-8")
             if not args.most_characters or len(line) <= args.most_characters]
    base = [json.loads(line) for line in lines]

    def rows():
        for i in range(args.rows):
            row = dict(base[i % len(base)])
            row["conversations"] = changed(row["conversations"], numbers)
            row["id"] = i
            yield row

    if args.out.endswith(".jsonl"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
        with open(args.out, "w", encoding="utf-8") as out:
            for _ in range(args.repeat):
                out.write(text)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows()))
    with pq.ParquetWriter(args.out, table.schema) as writer:
        for _ in range(args.repeat):
            writer.write_table(table, row_group_size=args.group)


if __name__ == "__main__":
    main()
