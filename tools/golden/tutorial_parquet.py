"""The parquet file that the tests' hub serves under the tutorial's data set name: the rows of
examples/data/ostrafell, which have its schema. Needs pyarrow.

    python tools/golden/tutorial_parquet.py
"""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).parents[2]
OUT = ROOT / "tests/readme/Infinity-Instruct/0625/train-00000-of-00001.parquet"

lines = (ROOT / "examples/data/ostrafell/train.jsonl").read_text().splitlines()
strings = pa.list_(pa.string())
schema = pa.schema({
    "id": pa.int64(),
    "conversations": pa.list_(pa.struct({"from": pa.string(), "value": pa.string()})),
    "label": pa.struct({name: strings for name in
                        ("ability_en", "ability_zh", "cate_ability_en", "cate_ability_zh")}),
    "langdetect": pa.string(),
    "source": pa.string(),
})
table = pa.Table.from_pylist([json.loads(line) for line in lines], schema=schema)
pq.write_table(table, OUT, compression="snappy", row_group_size=100)
print(OUT.relative_to(ROOT), table.num_rows, OUT.stat().st_size)
