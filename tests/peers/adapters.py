"""Adapters beside PEFT: what sft saved is loaded by PEFT, and sft's merge equals merge_and_unload.

usage: python tests/peers/adapters.py build/sft WORK [folder ...]     (peft 0.21, transformers, torch; on CPU)

WORK is that of crossings.py; the folders are its runs with adapters, by default all that are there.
"""

import pathlib
import subprocess
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

TOKENS = torch.arange(3, 35).reshape(2, 16)


def check(sft, run, work):
    adapter = run / "sft/out"
    base = AutoModelForCausalLM.from_pretrained(
        __import__("json").loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    )
    with torch.no_grad():
        model = PeftModel.from_pretrained(base, adapter)
        logits = model(TOKENS).logits
        theirs = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base.name_or_path), run / "trl/out"
        )(TOKENS).logits
        merged = model.merge_and_unload().state_dict()
    out = work / f"merged_{run.name}"
    subprocess.run([sft, "merge", "--adapter", adapter, "--output_dir", out], check=True, capture_output=True)
    ours = AutoModelForCausalLM.from_pretrained(out)
    gap = max((value - merged[name]).abs().max().item() for name, value in ours.state_dict().items())
    with torch.no_grad():
        again = (ours(TOKENS).logits - logits).abs().max().item()
    beside = (theirs - logits).abs().max().item()
    print(f"{run.name}: weights within {gap:.1e} of merge_and_unload, logits within {again:.1e}; of TRL's run {beside:.1e}", flush=True)
    return gap < 1e-6 and again < 1e-4 and beside < 1e-3


def main():
    sft, work = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    runs = [work / name for name in sys.argv[3:]] or sorted(p.parents[2] for p in work.glob("*/sft/out/adapter_config.json"))
    failed = [run.name for run in runs if not check(sft, run, work)]
    print(f"{len(runs) - len(failed)} of {len(runs)} adapters agree" + (f"; not {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
