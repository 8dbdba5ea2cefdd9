"""Golden files of tests/data: what `datasets` gives for every type of Arrow and feature of its own,
and what a chat template then prints. Needs datasets, pyarrow and transformers (made with datasets
5.2, pyarrow 26, transformers 5.24).

    python tools/golden/logical_types.py
"""

import json
import pathlib
import tempfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features, Json, LargeList, List, Value
from transformers.utils.chat_template_utils import _normalize_chat_messages, render_jinja_template

OUT = pathlib.Path(__file__).parents[2] / "tests" / "data" / "golden" / "logical"
TEMPLATE = "{% for m in messages %}[{{ m.role }}|{{ m.content }}|{{ m.tool_calls | tojson if m.tool_calls }}]{% endfor %}{{ tools | tojson }}"

TOOL = {"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["ä", "b"]}, "n": {"type": "integer"}}}}}
OTHER = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}


def json_array(values):
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(values, pa.string()))


def arrow_types():
    """One column a type; what JSON has a word for."""
    storage = json_array(['{"a": 1, "b": [1.5, null]}', '"text"', None])
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), json_array(['{"x": {"y": 1}}', "3", "[]"]))
    inner = pa.StructArray.from_arrays([pa.array(["u", None, "w"]), storage], ["name", "props"])
    columns = {
        "string": pa.array(["a", "ä", None]),
        "large_string": pa.array(["a", "", None], pa.large_string()),
        "string_view": pa.array(["a", "longer than twelve bytes", None], pa.string_view()),
        "dictionary": pa.array(["x", "y", "x"]).dictionary_encode(),
        "bool": pa.array([True, False, None]),
        **{f"{t}": pa.array([0, 1, None], t) for t in [pa.int8(), pa.int16(), pa.int32(), pa.int64()]},
        "int64_min": pa.array([-(2**63), 2**63 - 1, 0]),
        **{f"{t}": pa.array([0, 1, None], t) for t in [pa.uint8(), pa.uint16(), pa.uint32()]},
        "uint64": pa.array([0, 2**64 - 1, None], pa.uint64()),
        "float16": pa.array([1.5, -0.000061035, 65504.0], pa.float16()),
        "float": pa.array([1.5, 0.25, None], pa.float32()),
        "double": pa.array([0.1, 1e300, None]),
        "null": pa.nulls(3),
        "list": pa.array([["a"], [], None]),
        "large_list": pa.array([["a"], [], None], pa.large_list(pa.string())),
        "fixed_list": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int32(), 2)),
        "struct": pa.array([{"a": 1, "b": "x"}, {"a": None, "b": "y"}, None]),
        "json": storage,
        "list_of_json": lists,
        "struct_with_json": inner,
    }
    return pa.table(columns)


def features():
    """Written by `datasets` itself."""
    image = Features({"messages": List({"role": Value("string"), "content": Value("string"), "tool_calls": List(Json())}),
                      "tools": List(Json()), "large": LargeList(Json()), "any": Json(),
                      "label": datasets.ClassLabel(names=["no", "yes"]),
                      "array": datasets.Array2D(shape=(2, 2), dtype="int32"),
                      "turns": datasets.Sequence({"from": Value("string"), "extra": Json()})})
    call = {"type": "function", "function": {"name": "f", "arguments": {"city": None, "n": [1, {"deep": "x"}]}}}
    rows = [
        {"messages": [{"role": "user", "content": "q", "tool_calls": None},
                      {"role": "assistant", "content": None, "tool_calls": [call]}],
         "tools": [TOOL, OTHER], "large": [{"a": 1}, 2], "any": {"k": [None, True]}, "label": 1,
         "array": [[1, 2], [3, 4]],
         "turns": {"from": ["human"], "extra": [{"z": 1}]}},
        {"messages": [{"role": "user", "content": "r", "tool_calls": None},
                      {"role": "assistant", "content": "s", "tool_calls": None}],
         "tools": None, "large": [], "any": "text", "label": 0,
         "array": [[0, 0], [0, 0]], "turns": {"from": [], "extra": []}},
    ]
    return Dataset.from_list(rows, features=image)


def rendered(row):
    [text], _ = render_jinja_template([_normalize_chat_messages(row["messages"])], tools=row["tools"], chat_template=TEMPLATE)
    return text


def main():
    datasets.disable_progress_bars()
    OUT.mkdir(parents=True, exist_ok=True)
    cases = []

    def add(name, texts=False):
        kind = "parquet" if name.endswith(".parquet") else "arrow"
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.load_dataset(kind, data_files=str(OUT / name), split="train", cache_dir=cache).to_list()
        cases.append({"file": name, "rows": rows,
                      **({"texts": [rendered(r) for r in rows]} if texts else {})})

    table = arrow_types()
    pq.write_table(table.drop_columns(["string_view"]), OUT / "types.parquet")
    add("types.parquet")
    # Only parquet's own logical types are left.
    pq.write_table(table.select(["string", "json"]), OUT / "no_arrow_schema.parquet", store_schema=False)
    add("no_arrow_schema.parquet")
    with pa.OSFile(str(OUT / "types.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    add("types.arrow")
    with pa.OSFile(str(OUT / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    add("stream.arrow")
    made = features()
    made.to_parquet(str(OUT / "features.parquet"))
    add("features.parquet", texts=True)
    with tempfile.TemporaryDirectory() as folder:
        made.save_to_disk(folder)
        [saved] = pathlib.Path(folder).glob("*.arrow")
        (OUT / "features.arrow").write_bytes(saved.read_bytes())
    add("features.arrow", texts=True)
    text = json.dumps({"template": TEMPLATE, "cases": cases}, separators=(",", ":"), ensure_ascii=False)
    (OUT.parent / "logical.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
