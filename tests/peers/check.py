#!/usr/bin/env python3
"""What `sft check` says of transformers, beside what transformers does: for each folder broken on purpose, whether it loads, and whether it
is still the same model, tokenizer and chat.

usage: tests/peers/check.py SFT CHECK_PROBE WORK [4|5]      needs: torch, transformers 4.57 or 5 (which of them says the last word)
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(folder):
    """What a user gets of a folder: "refuses", or the numbers and texts that should not change."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # whatever it is, the folder does not load
        return {"refuses": f"{type(error).__name__}: {str(error)[:90]}"}
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7, 8, 9, 300]])).logits
    try:
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    except Exception:
        chat = None
    eos = model.generation_config.eos_token_id
    return {"logits": logits, "ids": tokenizer("The miller grinds wheat.")["input_ids"], "chat": chat, "eos_token": tokenizer.eos_token,
            "eos": set(eos) if isinstance(eos, list) else {eos}, "most": max(tokenizer.get_vocab().values())}


def same(a, b):
    return (torch.allclose(a["logits"], b["logits"], atol=1e-4) and all(a[key] == b[key] for key in ("ids", "chat", "eos_token", "eos"))
            and a["most"] < 512)


def main():
    sft, probe, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    reader = "transformers " + transformers.__version__[0]
    sound = work / "sound"
    subprocess.run([sft, "--model_name_or_path", ROOT / "examples/tiny-model", "--dataset_name", ROOT / "examples/data/ostrafell",
                    "--output_dir", sound, "--max_steps", "1", "--save_strategy", "no", "-q"], check=True, stdout=subprocess.DEVNULL)
    names = subprocess.run([probe, sound, work / "broken"], check=True, capture_output=True, text=True).stdout.split()
    whole = load(sound)
    # What these are can only be told from the folder itself: what the others take for it is compared with what it is made right.
    for name in ("rope-old-form", "head-differs"):
        shutil.copytree(work / "broken" / name, work / "fixed" / name, dirs_exist_ok=True)
        subprocess.run([sft, "check", "--fix", "-q", work / "fixed" / name], stdout=subprocess.DEVNULL, check=True)
    right = {name: load(work / "fixed" / name) for name in ("rope-old-form", "head-differs")}
    wrong = 0
    for name in names:
        said = json.loads(subprocess.run([sft, "check", "--weights", "--json", work / "broken" / name], capture_output=True, text=True).stdout)
        effect = said["readers"][reader]
        found = load(work / "broken" / name)
        does = "refuses" if "refuses" in found else "same" if same(found, right.get(name, whole)) else "wrong"
        # "warns" is of what works all the same, or of a chat that is refused.
        agrees = effect == does or (does == "same" and effect in ("sound", "warns")) or (does == "wrong" and name == "template-missing")
        wrong += not agrees
        print(f"{'' if agrees else 'DIFFERS  '}{name}: sft check says {effect}, {reader} {does} {found.get('refuses', '')}")
    print(f"{reader} ({transformers.__version__}): {len(names) - wrong} of {len(names)} folders are as sft check says")
    return wrong != 0


sys.exit(main())
