"""Quantised models beside bitsandbytes: its checkpoints read by sft, and sft's by transformers.

usage: python tests/peers/quantised.py build/sft WORK [hidden]     (transformers 5.24, bitsandbytes 0.50, peft, torch; on CPU)

A Llama of one wide layer (hidden 3072: 1.1e8 linear weights) with random weights is quantised by bitsandbytes in each of its
forms. What is compared: all numbers that sft reads from such a folder with those that bitsandbytes decodes (a zero may have
either sign), and all codes and scales that `sft merge --quantization` writes with bitsandbytes' own, for an adapter of zeros.
Of nested scales a few codes may differ: bitsandbytes' loops for CPUs find them in a table that is too coarse beside the middle
of two (its CUDA kernels do not), and torch adds their mean up in an order of its own.
"""

import json
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors import safe_open
from safetensors.torch import load_file, save_file

FORMS = {
    "nf4": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "nf4_nested": dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "fp4": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    "fp4_nested": dict(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True),
    "int8": dict(load_in_8bit=True),
}
TOKENS = torch.arange(3, 35).reshape(2, 16)


def make_plain(folder, hidden):
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=hidden, intermediate_size=hidden * 8 // 3 // 64 * 64, num_hidden_layers=1,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 128, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def make_zero_adapter(folder, base, plain):
    weights = load_file(plain / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    out, wide = weights[name + ".weight"].shape
    folder.mkdir(exist_ok=True)
    save_file({f"base_model.model.{name}.lora_A.weight": torch.zeros(1, wide),
               f"base_model.model.{name}.lora_B.weight": torch.zeros(out, 1)}, folder / "adapter_model.safetensors")  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"], "base_model_name_or_path": str(base)}))  # fmt: skip
    return folder


def decoded(model):
    out = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            state = module.weight.quant_state
            state.dtype = torch.float32  # rows are whole blocks, which bitsandbytes' loops for CPUs need
            out[name + ".weight"] = dequantize_4bit(module.weight.data, state)
        elif isinstance(module, Linear8bitLt):
            w = module.weight
            out[name + ".weight"] = w.data.float() * w.SCB.unsqueeze(1).mul(1.0 / 127.0)
    return out


def same_bits(a, b):
    return torch.equal((a.float() + 0.0).view(torch.int32), (b.float() + 0.0).view(torch.int32))


def states_differ(theirs, ours):
    a, b = (json.loads(bytes(t.numpy()).decode()) for t in (theirs, ours))
    apart = abs(a.pop("nested_offset", 0) - b.pop("nested_offset", 0))
    return {key for key in a if a[key] != b.get(key)} or (apart > 1e-7 and {"nested_offset"}) or set()


def merge(sft, adapter, out, *flags):
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run([sft, "merge", "--adapter", adapter, "--output_dir", out, *flags], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stderr


def check(sft, work, form):
    folder = work / form
    model = transformers.AutoModelForCausalLM.from_pretrained(
        work / "plain", dtype=torch.bfloat16, quantization_config=transformers.BitsAndBytesConfig(**FORMS[form])
    )
    model.save_pretrained(folder)
    want = decoded(model)
    merge(sft, make_zero_adapter(work / "zeros_on_it", folder, work / "plain"), work / "read", "--dtype", "float32")
    problems, values = [], 0
    with safe_open(work / "read/model.safetensors", "pt") as have:
        for name, theirs in want.items():
            values += theirs.numel()
            if not same_bits(theirs, have.get_tensor(name)):
                problems.append(f"{name} is read as other numbers")
    said = merge(sft, make_zero_adapter(work / "zeros", work / "plain", work / "plain"), work / "written", "--quantization", form)
    theirs, ours = load_file(folder / "model.safetensors"), load_file(work / "written/model.safetensors")
    problems += [f"only one of the two has {name}" for name in sorted(set(theirs) ^ set(ours))[:3]]
    codes = 0
    for name in set(theirs) & set(ours):
        if "quant_state" in name:
            problems += [f"{name}: {key}" for key in states_differ(theirs[name], ours[name])]
        elif "nested" in form and name.endswith("nested_absmax"):
            if not torch.allclose(theirs[name], ours[name], rtol=1e-6, atol=0):
                problems.append(f"{name} differs")
        elif "nested" in form and name.endswith(".absmax"):
            codes += (theirs[name] != ours[name]).sum().item()
        elif not torch.equal(theirs[name].view(torch.uint8), ours[name].view(torch.uint8)):
            apart = (theirs[name].view(torch.uint8) != ours[name].view(torch.uint8)).sum().item()
            problems.append(f"{name}: {apart} bytes of {ours[name].nbytes} differ")
    again = transformers.AutoModelForCausalLM.from_pretrained(work / "written").eval()
    with torch.no_grad():
        gap = (again(TOKENS).logits.float() - model.eval()(TOKENS).logits.float()).abs().max().item()
    line = next((line for line in said.splitlines() if "rounding" in line), "")
    print(f"{form}: {values:,} values read, " + ("; ".join(problems[:5]) if problems else f"all bits equal, and all that is written; "
          f"logits of transformers within {gap:.1e}; {line.strip()}"), flush=True)  # fmt: skip
    if codes:
        print(f"  {codes} of {values // 64:,} codes of scales differ: bitsandbytes' loops for CPUs are coarse beside a middle")
    return not problems and gap < (5e-2 if "nested" in form else 1e-2) and codes * 64 * 400 <= values


def main():
    sft, work = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    make_plain(work / "plain", int(sys.argv[3]) if len(sys.argv) > 3 else 3072)
    failed = [form for form in FORMS if not check(sft, work, form)]
    print(f"{len(FORMS) - len(failed)} of {len(FORMS)} forms agree" + (f"; not {failed}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
