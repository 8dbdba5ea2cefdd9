"""Loads a saved folder with the transformers at hand: logits of a chat prompt and a greedy answer, as JSON."""

import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, out = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
messages = [{"role": "user", "content": "What does the miller do?"}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
with torch.no_grad():
    logits = model(ids).logits[0]
    answer = model.generate(ids, max_new_tokens=16, do_sample=False)[0, ids.shape[1] :]
with open(out, "w") as file:
    json.dump({
        "transformers": transformers.__version__,
        "ids": ids[0].tolist(),
        "logits": logits.tolist(),
        "eos": model.generation_config.eos_token_id,
        "answer": tokenizer.decode(answer, skip_special_tokens=True),
    }, file)  # fmt: skip
