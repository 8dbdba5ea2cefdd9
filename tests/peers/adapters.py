"""Adapters beside PEFT: what sft saved is loaded by PEFT, sft goes on from what PEFT saved, and sft's merge equals
merge_and_unload.

usage: python tests/peers/adapters.py build/sft WORK [folder ...]     (peft 0.21, transformers, torch; on CPU)

WORK is that of crossings.py; the folders are its runs with adapters, by default all that are there. A head that is its model's
embeddings: where training has parted the two, PEFT's merge adds the update to both, and sft's keeps them apart, so what is
compared then is the merged model with the adapted one.
"""

import json
import pathlib
import subprocess
import sys
import warnings

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM

warnings.filterwarnings("ignore")
# Of logits, between sft's run and TRL's. Adapters in bfloat16 are rounded to the nearest there and stochastically here.
NEAR, NEAR_BF16 = 1e-3, 2e-2
TOKENS = torch.arange(3, 35).reshape(2, 16)


def load(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:  # a vocabulary that was grown
        tables = [file.get_slice(name).get_shape()[0] for name in file.keys() if "embed_tokens" in name and "base_layer" in name]
    if tables and tables[0] > base.config.vocab_size:
        base.resize_token_embeddings(tables[0], mean_resizing=False)
    torch.manual_seed(42)  # pissa_niter draws where it is loaded, and nothing says what
    return base, PeftModel.from_pretrained(base, adapter).eval()


def in_bf16(adapter):
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        return any(file.get_slice(name).get_dtype() == "BF16" for name in file.keys())


def merged_by(sft, adapter, out):
    subprocess.run([sft, "merge", "--adapter", adapter, "--output_dir", out], check=True, capture_output=True)
    return AutoModelForCausalLM.from_pretrained(out).eval()


def check(sft, run, work):
    adapter, theirs_folder = run / "sft/out", run / "trl/out"
    base, model = load(adapter)
    parted = base.config.tie_word_embeddings and any(
        "lm_head" in name or "embed_tokens" in name for name, p in model.named_parameters() if p.requires_grad or "modules_to_save" in name or "lora_" in name
    )
    with torch.no_grad():
        logits = model(TOKENS).logits
        beside = 0.0
        taken = 0.0
        if theirs_folder.exists():
            their_logits = load(theirs_folder)[1](TOKENS).logits
            beside = (their_logits - logits).abs().max().item()
            theirs = merged_by(sft, theirs_folder, work / f"taken_{run.name}")
            taken = (theirs(TOKENS).logits - their_logits).abs().max().item()
        ours = merged_by(sft, adapter, work / f"merged_{run.name}")
        again = (ours(TOKENS).logits - logits).abs().max().item()
        gap = 0.0
        if not parted:
            merged = model.merge_and_unload().state_dict()
            gap = max((value - merged[name]).abs().max().item() for name, value in ours.state_dict().items())
    said = "" if parted else f"weights within {gap:.1e} of merge_and_unload, "
    print(f"{run.name}: {said}logits within {again:.1e}; of TRL's run {beside:.1e}; PEFT's folder {taken:.1e}", flush=True)
    return gap < 2e-6 and again < 1e-4 and beside < (NEAR_BF16 if in_bf16(adapter) else NEAR) and taken < 1e-4


def main():
    sft, work = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    runs = [work / name for name in sys.argv[3:]] or sorted(p.parents[2] for p in work.glob("*/sft/out/adapter_config.json"))
    failed = []
    for run in runs:
        try:
            good = check(sft, run, work)
        except (Exception, SystemExit) as error:
            good = print(f"{run.name}: {type(error).__name__}: {str(error)[-400:]}", flush=True)
        failed += [] if good else [run.name]
    print(f"{len(runs) - len(failed)} of {len(runs)} adapters agree" + (f"; not {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
