"""Reference runs of TRL, step by step: what `sft` must reproduce through its command line.

usage: python tools/golden/trl_runs.py small                              writes tests/golden/
       python tools/golden/trl_runs.py wide --text DIR --out DIR [run ...]  many runs on given data and tokenizers
(trl 1.10 or 1.16 as runs_table.py says, peft 0.21, transformers, torch, datasets; on CPU, one thread, float32)

`--text` is a folder with data/{chat,multi,pc,text}/train.jsonl and models/*/{tokenizer*.json,chat_template.jinja}.
A run with `use_peft` trains an adapter: PEFT's LoraConfig is made as TRL's script makes it of these flags, `lora_config` being
more fields of it. Every RUN.json holds the arguments over TRL's defaults (args), model and data folder, the first prepared rows, the log of
every step and, per parameter after training, its sum, its sum of squares and its first four values.
"""

import argparse
import json
import os
import pathlib
import shutil
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")

import runs_table  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import load_dataset  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def to_messages(row):
    """What a TRL user does by hand before training on from/value conversations."""
    return {"messages": [{"role": ROLES[m["from"]], "content": m["value"]} for m in row["conversations"]]}


def load(folder, cache):
    splits = {p.stem: str(p) for p in sorted(folder.glob("*.jsonl"))}
    data = load_dataset("json", data_files=splits, cache_dir=cache)
    if "conversations" in data["train"].column_names:
        data = data.map(to_messages, remove_columns=data["train"].column_names)
    return data


def numbers(row):
    return {k: list(v) for k, v in row.items() if k in ("input_ids", "labels", "seq_lengths")}


def adapter_of(args):
    """The LoraConfig of a run's flags, which are taken out of them; None where all of the model is trained."""
    if not args.pop("use_peft", False):
        return None
    from peft import LoraConfig

    own = {key: args.pop(key) for key in list(args) if key.startswith("lora_") or key in ("use_rslora", "use_dora")}
    fields = own.pop("lora_config", {})
    renamed = {"lora_r": "r", "lora_target_modules": "target_modules", "lora_modules_to_save": "modules_to_save"}
    return LoraConfig(task_type="CAUSAL_LM", **{renamed.get(key, key): value for key, value in own.items()}, **fields)


def trained_of(trainer, adapter):
    """What is trained, by the names that files have: experts one by one, as transformers saves them."""
    if adapter is None:
        with tempfile.TemporaryDirectory() as folder:
            trainer.model.save_pretrained(folder)
            return load_file(pathlib.Path(folder) / "model.safetensors")
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(trainer.model)


def record(name, run, root, cache):
    model, data, args = run
    args = {**runs_table.BASE, **args}
    given = dict(args)
    adapter = adapter_of(args)
    rows = load(root / "data" / data, cache)
    evaluated = args.get("eval_strategy", "no") != "no" or args.get("eval_on_start")
    with tempfile.TemporaryDirectory() as out:
        trainer = trl.SFTTrainer(
            model=str(root / "models" / model),
            args=trl.SFTConfig(output_dir=out, **args),
            train_dataset=rows["train"],
            peft_config=adapter,
            eval_dataset=rows["test"] if evaluated else None,
        )
        trainer.train()
    result = {
        "run": name,
        "model": model,
        "data": data,
        "args": given,
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
        "rows": len(trainer.train_dataset),
        "first_rows": [numbers(trainer.train_dataset[i]) for i in range(min(3, len(trainer.train_dataset)))],
        "log": trainer.state.log_history,
        "final_params": {},
        "attn": trainer.model.config._attn_implementation,
    }
    for key, parameter in trained_of(trainer, adapter).items():
        w = parameter.detach().double().flatten()
        result["final_params"][key] = [w.sum().item(), w.square().sum().item(), w[:4].tolist()]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    (root / f"{name}.json").write_text(json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    print(f"{name}: {result['rows']} rows, loss {losses[0]:.4f} .. {losses[-1]:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=["small", "wide"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parents[1] / "tests/golden")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    runs = runs_table.SMALL if options.set == "small" else runs_table.WIDE
    root = options.out
    root.mkdir(parents=True, exist_ok=True)
    if options.set == "small":
        tiny_models.write_small(root)
    else:
        tiny_models.write_wide(options.text, root)
    failed = []
    cache = tempfile.mkdtemp()
    for name in options.names or runs:
        try:
            record(name, runs[name], root, cache)
        except Exception as error:  # one run that TRL refuses must not stop the others
            failed.append(f"{name}: {type(error).__name__}: {error}")
    shutil.rmtree(cache)
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
