"""Writes tests/text/golden/tokenizer_facts.json: what the files beside tokenizer.json change, as
transformers reads them. Needs transformers (made with 5.24).

    python tools/golden/tokenizer_facts.py

A case lays `files` over a model of tests/golden/models (null: the file is away).
"""

import json
import pathlib
import shutil
import tempfile

from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).parents[2] / "tests"
TEXTS = ["hello <extra> world", "a<|im_end|>b <|im_start|>", " <one><two> <three>,<one>", "<end_of_turn> x <eos>",
         "xxone onexx <lone> ", "Ａ<extra>", "<dict_image>plain"]


def token(content, **flags):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
            "special": True, **flags}


def plain_token(content, **flags):
    """As in added_tokens_decoder."""
    return {k: v for k, v in token(content, **flags).items() if k != "__type"}


def cases():
    for model in ["chatml", "gemma"]:
        eos = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>"}[model]
        config = json.loads((ROOT / "golden/models" / model / "tokenizer_config.json").read_text())
        bare = {k: v for k, v in config.items() if not k.endswith("_token")}

        def case(name, tokenizer_config=config, special=None, added=None):
            return {"name": f"{model}/{name}", "model": model, "files": {
                "tokenizer_config.json": tokenizer_config, "special_tokens_map.json": special, "added_tokens.json": added}}

        yield case("as it is")
        yield case("no tokens named", bare)
        yield case("map only", bare, {"bos_token": eos, "eos_token": eos})
        yield case("map of objects", bare, {"eos_token": {"content": eos, "lstrip": False, "normalized": False, "rstrip": True, "single_word": False}})
        yield case("map wins", {**config, "eos_token": "<pad>"}, {"eos_token": eos})
        yield case("map with null", {**config, "eos_token": eos}, {"pad_token": eos})
        yield case("map with extra", config, {"additional_special_tokens": ["<extra>", "<one>"]})
        yield case("map with extra objects", config, {"extra_special_tokens": [{k: v for k, v in token("<extra>", lstrip=True).items() if k not in ("__type", "special")}, "<one>"]})
        yield case("map and config extra", {**config, "extra_special_tokens": ["<two>"]},
                   {"extra_special_tokens": ["<extra>"]})
        yield case("config extra", {**config, "extra_special_tokens": ["<extra>", "<two>"]})
        yield case("config additional", {**config, "additional_special_tokens": ["<extra>", "<two>"]})
        yield case("config additional objects", {**config, "additional_special_tokens": [token("<extra>", rstrip=True)]})
        yield case("both names", {**config, "additional_special_tokens": ["<one>"], "extra_special_tokens": ["<two>"]})
        yield case("extra as dict", {**config, "extra_special_tokens": {"image_token": "<dict_image>"}})
        yield case("model's own token", {**config, "image_token": "<dict_image>"})
        yield case("named, new", {**config, "eos_token": "<eos>", "pad_token": "<one>"})
        yield case("named object", {**config, "eos_token": token("<extra>", lstrip=True)})
        yield case("decoder", {**config, "added_tokens_decoder": {"900000": plain_token("<extra>"), "5": plain_token("<one>", special=False, normalized=True)}})
        yield case("decoder order", {**config, "added_tokens_decoder": {"900": plain_token("<one>"), "20000": plain_token("<two>"), "10000": plain_token("<three>", special=False)}})
        yield case("decoder changes flags", {**config, "added_tokens_decoder": {"3": token(eos, lstrip=True, rstrip=True)}})
        yield case("decoder hides the map", {**config, "added_tokens_decoder": {"900000": plain_token("<extra>")}},
                   {"eos_token": "<pad>", "additional_special_tokens": ["<one>"]}, {"<two>": 900001})
        yield case("added_tokens.json", config, None, {"<extra>": 900000, "<one>": 900001})
        yield case("added and map", config, {"additional_special_tokens": ["<one>"]}, {"<one>": 900001, "<two>": 900000})
        yield case("added in order", config, None, {"<two>": 900001, "<one>": 900000, "one": 900005})
        yield case("split_special_tokens", {**config, "split_special_tokens": True})
        yield case("split with extra", {**config, "split_special_tokens": True, "extra_special_tokens": ["<extra>"],
                                        "added_tokens_decoder": {"90000": plain_token("<one>", special=False)}})
        yield case("bos asked for", {**config, "bos_token": eos, "eos_token": eos, "add_bos_token": True})
        yield case("eos asked for", {**config, "bos_token": eos, "eos_token": eos, "add_eos_token": True})
        yield case("bos refused", {**config, "add_bos_token": False})
        yield case("both refused", {**config, "add_bos_token": False, "add_eos_token": False})
        yield case("single word", {**config, "extra_special_tokens": [token("one", single_word=True)]})


def result(case):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        shutil.copy(ROOT / "golden/models" / case["model"] / "tokenizer.json", folder)
        for name, content in case["files"].items():
            if content is not None:
                (folder / name).write_text(json.dumps(content))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        names = ["bos_token", "eos_token", "pad_token", "unk_token"]
        return {**{n: getattr(tokenizer, n) for n in names}, "class": type(tokenizer).__name__, "size": len(tokenizer),
                "with": [tokenizer(t)["input_ids"] for t in TEXTS],
                "without": [tokenizer(t, add_special_tokens=False)["input_ids"] for t in TEXTS],
                "decoded": [tokenizer.decode(tokenizer(t)["input_ids"], skip_special_tokens=True) for t in TEXTS]}


def main():
    out = []
    for case in cases():
        try:
            out.append({**case, **result(case)})
        except Exception as e:
            print(case["name"], type(e).__name__, str(e)[:200])
    text = json.dumps({"texts": TEXTS, "cases": out}, separators=(",", ":"), ensure_ascii=False)
    (ROOT / "text/golden/tokenizer_facts.json").write_text(text + "\n")
    print(len(out), len(text), {c["class"] for c in out})


if __name__ == "__main__":
    main()
