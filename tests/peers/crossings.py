"""Crossings of options: TRL's own script and `sft` train tiny models by the same recipe, and every logged number and the saved
weights are compared.

usage: python tests/peers/crossings.py build/sft WORK [name ...]     (trl 1.16, peft 0.21, transformers 5.24, torch,
datasets; on CPU)

WORK gets the recipes, the data that are made up, and what both programs wrote. TRL's runs are kept there: a second call with
the same recipes runs `sft` alone.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false",
    CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1", TQDM_DISABLE="1", CI="1", PYTHONWARNINGS="ignore", ACCELERATE_USE_CPU="true",
)  # fmt: skip

import crossings_table  # noqa: E402

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
LOSS, GRAD_NORM, ENTROPY, WEIGHT, TOKENS = 2e-5, 1e-4, 1e-4, 5e-5, 2
# Loss and grad_norm where adapters are in bfloat16, and where the base computes in fewer bits too.
BF16, ROUNDED = (2e-3, 2e-2), (2e-2, 5e-2)
# TRL rounds each update of such an adapter to the nearest, sft stochastically: an ulp of 0.25, a step.
BF16_WEIGHT = 6 * 2**-9
# What only measures time, and what TRL's script has no use for.
TIMES = ("_runtime", "_per_second", "_time")
MEMORY = ("_mem_",)
COUNTED = "include_num_input_tokens_seen:"


def write_data(root):
    """Rows that are tokenised already (so that models share them), a column of another name, a template."""
    rows = [json.loads(line) for line in (GOLDEN / "data/text/train.jsonl").open()]
    for name, begin in (("tokens", 1), ("more_tokens", 2)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "train.jsonl").open("w") as file:
            for number, row in enumerate(rows[begin::3]):
                ids = [ord(c) % 97 + 3 for c in row["text"][: 20 + 3 * number]]
                labels = [-100 if i < number % 5 else t for i, t in enumerate(ids)]
                file.write(json.dumps({"input_ids": ids, "labels": labels}) + "\n")
    (root / "content").mkdir(exist_ok=True)
    with (root / "content/train.jsonl").open("w") as file:
        for row in rows:
            file.write(json.dumps({"id": len(row["text"]), "content": row["text"]}) + "\n")
    (root / "messages").mkdir(exist_ok=True)
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    with (root / "messages/train.jsonl").open("w") as file:
        for line in (GOLDEN / "data/chat/train.jsonl").open():
            turns = json.loads(line)["conversations"]
            messages = [{"role": roles[m["from"]], "content": m["value"]} for m in turns]
            file.write(json.dumps({"messages": messages}) + "\n")
    (root / "template.jinja").write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    )


def filled(value, data):
    if isinstance(value, str):
        return value.replace("{data}", str(data)).replace("{models}", str(GOLDEN / "models"))
    if isinstance(value, list):
        return [filled(item, data) for item in value]
    return {k: filled(v, data) for k, v in value.items()} if isinstance(value, dict) else value


def recipe(name, root):
    model, data, options = crossings_table.CROSSINGS[name]
    args = {**crossings_table.BASE, **options}
    if data is not None:
        args["dataset_name"] = data if "{" in data else str(GOLDEN / "data" / data)
    own = {key: args.pop(key) for key in list(args) if key.startswith("_")}
    return {"model_name_or_path": str(GOLDEN / "models" / model), **filled(args, root / "data")}, own


def write_recipe(path, args):
    import yaml

    path.write_text(yaml.safe_dump(args, sort_keys=True))
    return path


def stages(name, root, who):
    """The recipes to run one after the other: where and with what."""
    args, own = recipe(name, root)
    folder = root / name / who
    out = {**args, "output_dir": str(folder / "out")}
    yield write_recipe(root / name / f"{who}.yaml", out), own
    step = own.get("_resume", own.get("_resume_ours") if who == "sft" else None)
    if step:
        again = {**out, "resume_from_checkpoint": str(folder / "out" / f"checkpoint-{step}")}
        yield write_recipe(root / name / f"{who}_resumed.yaml", again), own


def with_fields(config, path):
    """The LoraConfig of TRL's flags with the fields of --lora_config, a flag of ours alone."""
    import dataclasses

    import yaml

    fields = yaml.safe_load(path.read_text()).get("lora_config")
    return dataclasses.replace(config, **fields) if fields else config


def train_trl(path, result):
    import torch
    import trl
    from peft.utils.other import TrainableTokensWrapper
    from trl.scripts import sft as script

    TrainableTokensWrapper.bias = None  # TRL's loss asks a head with trained words for it

    torch.set_num_threads(1)
    made = []

    class Recorder(trl.SFTTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    original, trl.SFTTrainer = trl.SFTTrainer, Recorder
    flags = trl.get_peft_config
    try:
        trl.get_peft_config = lambda args: with_fields(flags(args), path)
        # TRL's parser takes this field for a yes or no; its words are for Python alone.
        words = path.read_text().replace(f"{COUNTED} all\n", "").replace(f"{COUNTED} non_padding\n", "")
        plain = path.with_suffix(".trl.yaml")
        plain.write_text(words)
        arguments = script.make_parser().parse_args_and_config(["--config", str(plain)], fail_with_unknown_args=False)
        for word in ("all", "non_padding"):
            if f"{COUNTED} {word}\n" in path.read_text():
                arguments[1].include_num_input_tokens_seen = word
        script.main(*arguments)
    finally:
        trl.SFTTrainer, trl.get_peft_config = original, flags
        torch.use_deterministic_algorithms(False)
    if made[0].is_world_process_zero():
        result.write_text(json.dumps({"log": made[0].state.log_history, "recipe": path.read_text()}))


def run_trl(name, root):
    last = list(stages(name, root, "trl"))
    result = root / name / "trl.json"
    if result.exists() and json.loads(result.read_text())["recipe"] == last[-1][0].read_text():
        return
    for path, own in last:
        if "_ranks" in own:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node",
                       str(own["_ranks"]), __file__, "--trl", str(path), str(result)]  # fmt: skip
            with (root / name / "trl.log").open("w") as log:
                subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
        else:
            with (root / name / "trl.log").open("w") as log, redirect_stdout(log), redirect_stderr(log):
                train_trl(path, result)


def run_sft(sft, name, root):
    for path, own in stages(name, root, "sft"):
        launch = ["launch", "--nproc_per_node", str(own["_ranks"])] if "_ranks" in own else []
        with (root / name / f"{path.stem}.log").open("w") as log:
            subprocess.run([sft, *launch, "--config", str(path)], check=True, stdout=log, stderr=subprocess.STDOUT)


def tolerance(key, want, trained, own):
    near = own.get("_near", 1)
    rough = ROUNDED if "_rounded" in own else BF16 if "_bf16" in own else (LOSS * near, GRAD_NORM * near)
    if key.endswith("loss"):
        return rough[0]
    if key == "grad_norm":
        return rough[1] * abs(want)
    if key.endswith("entropy"):
        return ENTROPY * near if rough[0] <= LOSS * near else rough[0]
    if key.endswith("mean_token_accuracy"):
        return (TOKENS + 0.5) / max(trained, 1)
    return 1e-12 * abs(want)  # counts, epochs and rates are exact


def trained_tokens(name, tokens):
    """Of the smallest batch behind a line, roughly: accuracy moves by one over that when a tie falls the other way."""
    args, _ = recipe(name, pathlib.Path())
    few = 0.3 if args.get("assistant_only_loss") or "pairs" in args.get("dataset_name", "") else 1
    return tokens * few / args.get("gradient_accumulation_steps", 1)


def compare_logs(name, want, have):
    if len(want) != len(have):
        return [f"{len(have)} log lines, TRL has {len(want)}"], 0
    problems, gap, before = [], 0.0, 0
    own = recipe(name, pathlib.Path())[1]
    resumed = "_resume" in own
    for number, (theirs, ours) in enumerate(zip(want, have), 1):
        tokens = theirs.get("num_tokens", before)
        trained = trained_tokens(name, tokens - before)
        before = tokens
        for key, value in theirs.items():
            if any(word in key for word in TIMES + MEMORY) or isinstance(value, str):
                continue
            if resumed and (key.endswith("num_tokens") or key == "train_loss"):
                continue  # TRL counts from the restart on
            if "_own_metrics" in own and key in ("entropy", "mean_token_accuracy"):
                continue
            if key not in ours:
                problems.append(f"line {number}: no {key}")
            elif not math.isclose(ours[key], value, rel_tol=0, abs_tol=tolerance(key, value, trained, own)):
                problems.append(f"line {number}: {key} is {ours[key]}, TRL has {value}")
            elif key.endswith("loss"):
                gap = max(gap, abs(ours[key] - value))
    return problems, gap


def turn_alike(want, have):
    """The signs of singular vectors are free, and training keeps them: each rank's A and B as TRL's has them."""
    for name in [n for n in want if n.endswith("lora_A.weight") and n in have]:
        other = name.replace("lora_A", "lora_B")
        signs = (want[name] * have[name]).sum(1).sign()
        signs[signs == 0] = 1
        have[name], have[other] = have[name] * signs[:, None], have[other] * signs[None, :]


def compare_weights(theirs, ours, allowed):
    from safetensors.torch import load_file

    # Where the vocabulary has grown PEFT saves a head that is trained whole three times.
    again = ("modules_to_save.weight", "original_module.weight")
    want, have = {k: v for k, v in load_file(theirs).items() if not k.endswith(again)}, load_file(ours)
    turn_alike(want, have)
    names = set(want) ^ set(have)
    if names:
        return [f"tensors that only one has: {sorted(names)}"]
    apart = {name: (want[name] - have[name]).abs().max().item() for name in want}
    return [f"{name} differs by {gap}" for name, gap in apart.items() if not gap <= allowed]


def check(sft, name, root):
    (root / name).mkdir(parents=True, exist_ok=True)
    alone = "_alone" in recipe(name, root)[1]
    if not alone:
        run_trl(name, root)
    try:
        run_sft(sft, name, root)
    except subprocess.CalledProcessError as error:
        logs = sorted((root / name).glob("sft*.log"), key=lambda p: p.stat().st_mtime)
        return [f"sft ended with {error.returncode}: {logs[-1].read_text()[-600:]}"], 0
    if alone:
        return [], 0
    want = json.loads((root / name / "trl.json").read_text())["log"]
    have = json.loads((root / name / "sft/out/trainer_state.json").read_text())["log_history"]
    problems, gap = compare_logs(name, want, have)
    own = recipe(name, root)[1]
    allowed = BF16_WEIGHT if "_bf16" in own else WEIGHT * own.get("_near", 1)
    file = "out/adapter_model.safetensors" if recipe(name, root)[0].get("use_peft") else "out/model.safetensors"
    return problems + compare_weights(root / name / "trl" / file, root / name / "sft" / file, allowed), gap


def unseen_fields():
    """Fields of SFTConfig that work, by docs/trl-fields.md, and stand in no crossing nor in its list of those left out."""
    page = (GOLDEN.parents[1] / "docs/trl-fields.md").read_text()
    listed = page.split("## Works")[1].split("\n## ")[0]
    config = [line.split("`")[1] for line in listed.splitlines() if line.startswith("| `") and "SFTConfig" in line]
    named = set(crossings_table.BASE) | {"output_dir", "resume_from_checkpoint"}
    for _, _, options in crossings_table.CROSSINGS.values():
        named |= set(options)
    return [name for name in config if name not in named and name not in crossings_table.NOT_ON_A_CPU]


def main():
    if sys.argv[1] == "--trl":
        return train_trl(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    sft, root = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    names = sys.argv[3:] or list(crossings_table.CROSSINGS)
    write_data(root / "data")
    failed = 0
    for name in names:
        try:
            problems, gap = check(sft, name, root)
        except (Exception, SystemExit) as error:  # one crossing that TRL refuses must not stop the others
            problems, gap = [f"TRL: {type(error).__name__}: {str(error)[:400]}"], 0
        failed += bool(problems)
        print(f"{name}: " + ("; ".join(problems[:4]) if problems else f"matches, loss within {gap:.1e}"), flush=True)
    unseen = [] if sys.argv[3:] else unseen_fields()
    print(f"{len(names) - failed} of {len(names)} crossings match" + (f"; in none of them: {unseen}" if unseen else ""))
    return 1 if failed or unseen else 0


if __name__ == "__main__":
    raise SystemExit(main())
