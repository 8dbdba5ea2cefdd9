#!/usr/bin/env python3
"""Every family beside TRL: a tiny model of each case of tools/golden/families.py, and of the folders of whole_models.py, is trained 8 steps by
both from the same folder; then the folder that sft saved is loaded by transformers.

usage: HF_HUB_OFFLINE=1 tools/check_families.py build/sft [case ...]     (torch, transformers 5.24, trl 1.16, peft 0.21, datasets)

It compares: the loss of each step, the norm of its gradient, each trained weight, and the logits of the folder that was saved with those of
TRL's model. Where rounding alone moves a model (gradients' norms of 10 to 40), TRL trains it once more with another kernel of attention, and no
more than four times what its own two runs differ by is asked.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "golden"))
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error")

import families  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import whole_models  # noqa: E402
from datasets import load_dataset  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

GOLDEN = HERE.parent / "tests/golden"
STEPS = 8
ARGS = {"per_device_train_batch_size": 2, "max_steps": STEPS, "logging_steps": 1, "learning_rate": 1e-3, "bf16": False,
        "gradient_checkpointing": False, "save_strategy": "no", "use_cpu": True, "max_length": 48, "weight_decay": 0.1}  # fmt: skip
# Frequencies follow a document's length here, the longest so far of all batches there.
APART = {"llama_dynamic"}
WHOLE = {"gemma3_whole": whole_models.gemma3, "gemma4_whole": whole_models.gemma4,
         "gemma4_experts_whole": whole_models.gemma4_experts, "mistral3_whole": whole_models.mistral3, "qwen3_5_whole": whole_models.qwen3_5, "qwen3_5_moe_whole": whole_models.qwen3_5_moe}  # fmt: skip
JOINED = {"qwen3_5_moe_whole"}  # published with a layer's experts in two tensors, as in memory


def make_folder(case, folder):
    tokenizer = GOLDEN / "models/chatml"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    vocab = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    torch.manual_seed(len(case))
    if case in WHOLE:
        config = WHOLE[case]()
        config.text_config.vocab_size = vocab
        if hasattr(config.text_config, "vocab_size_per_layer_input"):
            config.text_config.vocab_size_per_layer_input = vocab
        model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation="eager", dtype=torch.float32)
    else:
        kind, settings, _ = families.FAMILIES[case]
        config = getattr(transformers, kind)(**families.copy.deepcopy({**families.SMALL, **settings, **{
            key: vocab for key in ("vocab_size", "vocab_size_per_layer_input") if key == "vocab_size" or key in settings}}))
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    families.randomise(model)
    model.save_pretrained(folder)
    if case in JOINED:
        save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    return type(model)


def train_with_trl(folder, model_class, out, attention="eager"):
    model = model_class.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    data = load_dataset("json", data_files=str(GOLDEN / "data/pairs/train.jsonl"), split="train")
    config = SFTConfig(output_dir=str(out), report_to=[], disable_tqdm=True, **ARGS)
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return trainer.model.eval(), [entry for entry in trainer.state.log_history if "grad_norm" in entry]


def train_with_sft(program, folder, out):
    words = [program, "--model_name_or_path", folder, "--dataset_name", GOLDEN / "data/pairs", "--output_dir", out, "--do_train"]
    words += ["--report_to", "none"] + [w for key, value in ARGS.items() for w in (f"--{key}", str(value).lower())]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return [e for e in json.loads((out / "trainer_state.json").read_text())["log_history"] if "grad_norm" in e]


def largest(a, b):
    """Of all steps: how far the losses are from each other, and the gradients' norms."""
    return (max(abs(x["loss"] - y["loss"]) for x, y in zip(a, b, strict=True)),
            max(abs(x["grad_norm"] / y["grad_norm"] - 1) for x, y in zip(a, b, strict=True)))  # fmt: skip


def furthest(a, b):
    """How far two models' weights are from each other."""
    other = dict(b.named_parameters())
    return max((p - other[name]).abs().max().item() for name, p in a.named_parameters())


def check(program, case):
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        folder, out = place / "model", place / "sft"
        folder.mkdir()
        model_class = make_folder(case, folder)
        mine = train_with_sft(program, folder, out)
        model, theirs = train_with_trl(folder, model_class, place / "trl")
        loss, norm = largest(mine, theirs)
        saved = model_class.from_pretrained(out, attn_implementation="eager", dtype=torch.float32).eval()
        weight = furthest(saved, model)
        ids = torch.arange(3, 60)[None]
        with torch.no_grad():
            logits = (saved(input_ids=ids).logits - model(input_ids=ids).logits).abs().max().item()
        before, after = load_file(folder / "model.safetensors"), load_file(out / "model.safetensors")
        names = "same names" if set(before) == set(after) else f"NAMES DIFFER: {sorted(set(before) ^ set(after))[:4]}"
        # Loss, gradient's norm, weights, logits. A value whose gradient is noise moves by a step of Adam's either way.
        seen, most, own = (loss, norm, weight, logits), (5e-5, 1e-4, ARGS["learning_rate"] / 2, 2e-3), ""
        if any(a > b for a, b in zip(seen, most)):
            second = {"": "eager", "text_config": "sdpa"} if case in WHOLE else "sdpa"  # towers know no other
            other, again = train_with_trl(folder, model_class, place / "again", second)
            with torch.no_grad():
                apart = (other(input_ids=ids).logits - model(input_ids=ids).logits).abs().max().item()
            noise = (*largest(again, theirs), furthest(other, model), apart)
            most = tuple(max(a, 4 * b) for a, b in zip(most, noise))
            own = " (TRL's own two: " + ", ".join(f"{x:.1e}" for x in noise) + ")"
        good = all(a < b for a, b in zip(seen, most)) and names == "same names"
        print(f"{'ok  ' if good else 'FAIL'} {case}: {len(mine)} steps, loss within {loss:.1e}, gradient's norm {norm:.1e}, "
              f"weights {weight:.1e}, logits of the saved folder {logits:.1e}, {names}{own}", flush=True)  # fmt: skip
        return good


if __name__ == "__main__":
    torch.set_num_threads(1)
    program, *cases = sys.argv[1:]
    bad = []
    for case in cases or [c for c in [*families.FAMILIES, *WHOLE] if c not in APART]:
        try:
            good = check(program, case)
        except Exception as problem:
            good = False
            print(f"FAIL {case}: {problem}")
        bad += [] if good else [case]
    sys.exit(f"{len(bad)} cases differ: {bad}" if bad else 0)
