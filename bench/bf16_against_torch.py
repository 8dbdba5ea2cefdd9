"""Losses of a 0.5B model in bfloat16 (float32 masters) against PyTorch's bf16 autocast, as TRL trains: same rows,
same order, same optimizer. Prints both curves and the mean absolute difference. Needs a GPU, torch and transformers.

    bf16_against_torch.py SFT CONFIG.json TOKENIZER_FOLDER CHAT.jsonl [steps] [batch]
"""
import json, os, subprocess, sys, tempfile
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

sft, config, tokenizer_folder, chat = sys.argv[1:5]
steps = int(sys.argv[5]) if len(sys.argv) > 5 else 100
batch = int(sys.argv[6]) if len(sys.argv) > 6 else 8
rate, longest, seed = 1e-4, 1024, 42

folder = tempfile.mkdtemp()
model_folder, rows_file, out = (os.path.join(folder, n) for n in ("model", "rows.jsonl", "out"))
os.makedirs(model_folder)
for name in os.listdir(tokenizer_folder):
    with open(os.path.join(tokenizer_folder, name), "rb") as f, open(os.path.join(model_folder, name), "wb") as to:
        to.write(f.read())
shape = json.load(open(config))
shape = AutoConfig.for_model(shape.pop("model_type", "qwen2"), **shape)
torch.manual_seed(0)
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16, attn_implementation="sdpa")
model.save_pretrained(model_folder)

tokenizer = Tokenizer.from_file(os.path.join(tokenizer_folder, "tokenizer.json"))
rows = []
for line in open(chat, encoding="utf-8"):
    text = "\n".join(m["value"] for m in json.loads(line)["conversations"])
    rows.append(tokenizer.encode(text).ids[:longest])
    if len(rows) == steps * batch:
        break
with open(rows_file, "w") as f:
    for ids in rows:
        f.write(json.dumps({"input_ids": ids}) + "\n")

subprocess.run([sft, "--model_name_or_path", model_folder, "--dataset_name", rows_file, "--do_train", "--output_dir", out,
                "--per_device_train_batch_size", str(batch), "--max_steps", str(steps), "--logging_steps", "1",
                "--learning_rate", str(rate), "--save_strategy", "no", "--max_length", str(longest), "-q"], check=True,
               stdout=subprocess.DEVNULL)
ours = [r["loss"] for r in json.load(open(os.path.join(out, "trainer_state.json")))["log_history"] if "loss" in r]

model = model.float().train()
for p in model.parameters():
    p.data = p.data.to(torch.bfloat16).float()
optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
theirs = []
for step in range(steps):
    chosen = [rows[i] for i in order[step * batch:(step + 1) * batch]]
    width = max(map(len, chosen))
    ids = torch.zeros(batch, width, dtype=torch.long)
    mask = torch.zeros(batch, width, dtype=torch.long)
    for i, row in enumerate(chosen):
        ids[i, :len(row)] = torch.tensor(row)
        mask[i, :len(row)] = 1
    ids, mask = ids.cuda(), mask.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits = model(input_ids=ids, attention_mask=mask).logits
    labels = ids.masked_fill(mask == 0, -100)[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels.flatten(),
                                             ignore_index=-100, reduction="sum") / (labels != -100).sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 - step / steps)
    optimizer.step()
    optimizer.zero_grad()
    theirs.append(loss.item())

difference = [abs(a - b) for a, b in zip(ours, theirs)]
half = steps // 2
for i in range(0, steps, max(steps // 10, 1)):
    print(f"step {i + 1:4d}  sft {ours[i]:.4f}  torch {theirs[i]:.4f}")
print(f"last       sft {ours[-1]:.4f}  torch {theirs[-1]:.4f}")
print(f"{len(ours)} steps: mean absolute difference {sum(difference) / steps:.5f}, first half "
      f"{sum(difference[:half]) / half:.5f}, second half {sum(difference[half:]) / (steps - half):.5f}, signed mean "
      f"{sum(a - b for a, b in zip(ours, theirs)) / steps:+.5f}")
