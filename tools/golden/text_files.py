"""Writes tests/data/golden/text_files.json: odd text files and the rows that `datasets` reads from
them. Needs datasets (made with 5.2).

    python tools/golden/text_files.py

Contents are bytes as Latin-1; numbers that JSON has no word for are written as text.
"""

import json
import math
import pathlib
import tempfile

import datasets

OUT = pathlib.Path(__file__).parents[2] / "tests" / "data" / "golden" / "text_files.json"
FILES = {
    "nan.jsonl": '{"text":"hello","score":NaN}\n{"text":"bye","score":0.5}\n',
    "infinity.jsonl": '{"text":"NaN, \\"Infinity","score":-Infinity}\n{"text":"b","score":Infinity}\n',
    "pretty.json": '{\n "text": "a"\n}\n{\n "text": "b"\n}\n',
    "pretty.jsonl": '{\n "text": "a}{"\n}\n{\n "text": "b"\n}\n',
    "two_on_a_line.json": '{"text": "a"} {"text": "b"}\n',
    "return.txt": "a\rb\r\nc\n\rd",
    "returns.txt": "a\r\rb\r",
    "windows.txt": "a\r\n\r\nb\r\n",
    "return.jsonl": '{"text":"a"}\r{"text":"b"}\r',
    "windows.jsonl": '{"text":"a"}\r\n{"text":"b"}\r\n',
    "return.csv": "text\ra\rb\r",
    "mark.jsonl": '\xef\xbb\xbf{"text":"a"}\n',
}


def named(value):
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main():
    datasets.disable_progress_bars()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            path = pathlib.Path(folder) / name
            path.write_bytes(text.encode("latin1"))
            kind = {".txt": "text", ".csv": "csv"}.get(path.suffix, "json")
            rows = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=folder + "/cache").to_list()
            cases.append({"file": name, "text": text, "rows": [{k: named(v) for k, v in row.items()} for row in rows]})
    OUT.write_text(json.dumps(cases, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
