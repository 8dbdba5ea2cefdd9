"""check_saved.py SOURCE SAVED [SAVED ...]: whether transformers loads each saved folder and gives the
same logits as for the source, within 1e-4, the same token ids and the same rendered chat.

SOURCE is a model folder, a .gguf file, or a reference.pt. With --write reference.pt the facts about
the source are kept, so that another generation of transformers, which may not read the source itself,
can be compared with them."""

import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

TEXT = "The café in Zürich opened at 7:45 — 12,345 people came!\n\tif x: return 你好"
CHAT = [{"role": "user", "content": "What is the capital of France?"}]


def load_model(path, attention):
    path = pathlib.Path(path)
    where, extra = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    return transformers.AutoModelForCausalLM.from_pretrained(
        where, torch_dtype=torch.float32, attn_implementation=attention, **extra).eval()


def load_tokenizer(path):
    if not (pathlib.Path(path) / "tokenizer.json").exists():
        return None
    return transformers.AutoTokenizer.from_pretrained(path)


def logits(model, vocab):
    torch.manual_seed(1)
    ids = torch.randint(0, vocab, (2, 200))
    with torch.no_grad():
        return model(ids).logits.float()


def facts(path):
    if str(path).endswith(".pt"):
        return torch.load(path)
    model, tokenizer = load_model(path, "eager"), load_tokenizer(path)
    vocab = model.config.vocab_size
    known = {"vocab": vocab, "logits": logits(model, vocab)}
    if tokenizer is not None:
        known["ids"] = tokenizer(TEXT)["input_ids"]
        if tokenizer.chat_template:
            known["chat"] = tokenizer.apply_chat_template(CHAT, tokenize=False,
                                                          add_generation_prompt=True)
    return known


def answer(path, chat):
    model, tokenizer = load_model(path, "eager"), load_tokenizer(path)
    ids = tokenizer(chat, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1]:]
    stops = model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    return f"answer {tokenizer.decode(out)!r}, stopped: {out[-1].item() in stops}"


def compare(source, saved):
    found = facts(saved)
    worst = (source["logits"] - found["logits"]).abs().max().item()
    ok = worst <= 1e-4
    line = f"{saved}: max |logits difference| {worst:.2e}"
    for key in ("vocab", "ids", "chat"):
        if key in source:
            ok &= source[key] == found.get(key)
            line += f", same {key}: {source[key] == found.get(key)}"
    if "chat" in found:
        line += ", " + answer(saved, found["chat"])
    print(line, "" if ok else "  <-- DIFFERS")
    return ok


def main():
    transformers.logging.set_verbosity_error()
    print("transformers", transformers.__version__)
    arguments = sys.argv[1:]
    write = None
    if arguments[0] == "--write":
        write, arguments = arguments[1], arguments[2:]
    source = facts(arguments[0])
    if write:
        torch.save(source, write)
    results = [compare(source, saved) for saved in arguments[1:]]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
