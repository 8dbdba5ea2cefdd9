"""The first step's gradient of adapters on a base in 4 bits: ours and bitsandbytes' beside that of the plain base.

usage: python tests/peers/quantised_gradient.py SFT WORK MODEL ROWS     (torch, transformers 5, peft 0.21, bitsandbytes 0.50; on CPU)
  MODEL  a model's folder, in float32;  ROWS  a file of conversations, of which the first four are taken

B is zero when training begins, so that after one step of plain SGD at a rate of 1 it is the gradient with its sign turned. What TRL
does of the adapters' types is done here: A and B in bfloat16 on a base of bitsandbytes. In float8 there is nothing of TRL's to compare.
"""

import json
import pathlib
import subprocess
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

LENGTH, COUNT = 64, 4


def of_sft(sft, work, model, rows, name, *flags):
    out = work / name
    words = ["--model_name_or_path", model, "--dataset_name", rows, "--output_dir", out, "--use_peft", "--lora_target_modules", "all-linear", "--lora_r", "16",
             "--lora_alpha", "32", "--lora_dropout", "0", "--max_length", LENGTH, "--per_device_train_batch_size", COUNT, "--max_steps", 1, "--optim", "sgd",
             "--learning_rate", 1, "--max_grad_norm", 0, "--lr_scheduler_type", "constant", "--save_strategy", "no", "--use_cpu", "--report_to", "none",
             "--logging_steps", 1, "--train_sampling_strategy", "sequential", *flags]  # fmt: skip
    subprocess.run([sft, *map(str, words)], check=True, capture_output=True)
    loss = next(e["loss"] for e in json.loads((out / "trainer_state.json").read_text())["log_history"] if "loss" in e)
    tensors = load_file(out / "adapter_model.safetensors")
    return loss, torch.cat([-tensors[k].float().flatten() for k in sorted(tensors) if "lora_B" in k])


def of_peft(model, ids, four_bits):
    transformers.set_seed(42)
    quantisation = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="float32") if four_bits else None
    base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, quantization_config=quantisation)
    transformers.set_seed(42)
    adapted = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, p in adapted.named_parameters():
        if four_bits and p.requires_grad:
            p.data = p.data.bfloat16().float()  # TRL keeps them so; PEFT widens the product's inputs to match
    count, loss = sum(len(i) - 1 for i in ids), 0.0
    for row in ids:
        tokens = torch.tensor([row])
        part = adapted(tokens, labels=tokens).loss * (len(row) - 1) / count
        part.backward()
        loss += part.item()
    found = {k.replace(".default", ""): p.grad for k, p in adapted.named_parameters() if "lora_B" in k}
    return loss, torch.cat([found[k].float().flatten() for k in sorted(found)])


def main():
    sft, work, model, rows = (pathlib.Path(a).resolve() for a in sys.argv[1:5])
    work.mkdir(parents=True, exist_ok=True)
    lines = rows.read_text().splitlines()[:COUNT]
    few = work / "rows.jsonl"
    few.write_text("\n".join(lines) + "\n")
    tok = transformers.AutoTokenizer.from_pretrained(model)
    ids = [tok.apply_chat_template(json.loads(line)["messages"], return_dict=True)["input_ids"][:LENGTH] for line in lines]
    plain_loss, plain = of_sft(sft, work, model, few, "plain")
    nf4_loss, nf4 = of_sft(sft, work, model, few, "nf4", "--load_in_4bit")
    fp8_loss, fp8 = of_sft(sft, work, model, few, "fp8", "--base_dtype", "fp8")

    def near(a, b):
        return cosine_similarity(a.double(), b.double(), dim=0).item()

    print(f"sft, cosine to its plain base's gradient (loss {plain_loss:.4f}): nf4 {near(nf4, plain):.4f} ({nf4_loss:.4f}), fp8 {near(fp8, plain):.4f} ({fp8_loss:.4f})",
          flush=True)  # fmt: skip
    their_loss, theirs = of_peft(model, ids, False)
    print(f"PEFT's plain base: loss {their_loss:.4f}, cosine to sft's {near(theirs, plain):.6f}", flush=True)
    their_nf4_loss, their_nf4 = of_peft(model, ids, True)
    print(f"bitsandbytes' nf4: loss {their_nf4_loss:.4f}, cosine to PEFT's plain base {near(their_nf4, theirs):.4f}, to sft's nf4 {near(their_nf4, nf4):.6f}",
          flush=True)  # fmt: skip
    return 0 if near(theirs, plain) > 0.999 and near(their_nf4, nf4) > 0.99 else 1


if __name__ == "__main__":
    raise SystemExit(main())
