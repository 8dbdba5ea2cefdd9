"""Loads what sft saves of every family in transformers 4.57, with the logits of transformers 5.

usage: saved_families.py SFT WORK TRANSFORMERS4 [case ...]     (torch, transformers 5.24, trl, peft, datasets)
  TRANSFORMERS4  a folder with transformers 4.57 and its huggingface_hub
  case           of tools/golden/families.py or check_families.py's whole models; without, all are taken
A family that 4.57 does not know is said to be so.
"""
import json
import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
# What 4.57 has no key for in gpt-oss: its gate's slope and limit are fixed there, and attention always has biases.
BEYOND = {"gpt_oss_old": "swiglu_limit", "gpt_oss_plain": "swiglu_alpha, swiglu_limit and attention_bias"}
NEAR = 1e-4  # of the largest logit
VOCAB, LENGTH = 330, 200


def load(folder):
    """The model by the name in its config.json, or None where transformers has no such family."""
    import transformers
    config = json.loads((folder / "config.json").read_text())
    name = config["architectures"][0]
    types = [config["model_type"], config.get("text_config", config)["model_type"]]
    if any(kind not in transformers.CONFIG_MAPPING for kind in types) or not hasattr(transformers, name):
        return None
    return getattr(transformers, name).from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()


def write_logits(version, folders):
    """In each folder's place a file with the logits of a text, or with what went wrong."""
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    ids = torch.randint(3, VOCAB, (1, LENGTH))
    for folder in map(Path, folders):
        try:
            model = load(folder)
            with torch.no_grad():
                found = None if model is None else model(input_ids=ids).logits.float()
        except Exception as problem:  # whatever a release stumbles over
            found = f"{type(problem).__name__}: {problem}"
        torch.save(found, folder.parent / f"logits{version}.pt")


def main():
    sys.path.insert(0, str(ROOT / "tools"))
    import check_families
    program, work, transformers4, *cases = sys.argv[1:]
    check_families.ARGS.update(max_steps=1)
    folders = []
    for case in cases or [*check_families.families.FAMILIES, *check_families.WHOLE]:
        source, saved = Path(work) / case / "source", Path(work) / case / "saved"
        source.mkdir(parents=True)
        check_families.make_folder(case, source)
        check_families.train_with_sft(program, source, saved)
        folders.append(saved)
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    for version, path in (("5", ""), ("4", transformers4)):
        subprocess.run([sys.executable, __file__, "--logits", version, *folders], check=True, env={**os.environ, **quiet, "PYTHONPATH": path})
    bad = 0
    for folder in folders:
        case = folder.parent.name
        new, old = (torch.load(folder.parent / f"logits{v}.pt") for v in "54")
        if not isinstance(new, torch.Tensor) or isinstance(old, str):
            bad += 1
            print(f"FAIL {case}: {new if not isinstance(new, torch.Tensor) else old}")
        elif case in BEYOND:
            print(f"-    {case}: 4.57 has no {BEYOND[case]}")
        elif old is None:
            print(f"-    {case}: 4.57 does not know it")
        else:
            apart = (new - old).abs().max().item() / new.abs().max().item()
            bad += apart > NEAR
            print(f"{'ok  ' if apart <= NEAR else 'FAIL'} {case}: logits within {apart:.1e} of the largest")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1] == "--logits":
        write_logits(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
