"""Tiny random models with tokenizers, and the data folders, for trl_runs.py."""

import json
import pathlib
import random

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

# One turn of the two invented template styles; both mark what the assistant says for assistant-only loss.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nAnswer kindly.<|im_end|>\\n' }}{% endif %}" + CHATML
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' + m['content'] | trim + eos_token }}{% endgeneration %}"
    "{% else %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}{% endif %}{% endfor %}"
)

GPT_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(folder, lines, vocab, special, template, *, eos, pad, bos=None, digits=False):
    """A byte-level BPE; `special` follow the ordinary tokens. A `bos` is put before every text by the post-processor."""
    tokenizer = Tokenizer(models.BPE())
    if digits:
        split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        tokenizer.normalizer = normalizers.NFC()
        split = [pre_tokenizers.Split(Regex(GPT_SPLIT), "isolated"),
                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab - len(special), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(special)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"backend": "tokenizers", "bos_token": bos, "eos_token": eos, "pad_token": pad,
              "model_max_length": 4096, "tokenizer_class": "TokenizersBackend"}  # fmt: skip
    write_json(folder / "tokenizer_config.json", {k: v for k, v in config.items() if v is not None})
    (folder / "chat_template.jinja").write_text(template)
    return tokenizer.get_vocab_size()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_model(folder, kind, seed, **settings):
    config = getattr(transformers, kind)(**settings)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0.0, 0.1)
        elif parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        elif "embed_tokens" in name:
            parameter.data.mul_(2.5)
    model.save_pretrained(folder)


def rope(theta, kind="default", **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def gemma_rope():
    return {"sliding_attention": rope(1e4), "full_attention": rope(1e6)}


# family: (class, what differs from WIDE_SIZE, tokenizer)
WIDE_SIZE = dict(
    vocab_size=1536, hidden_size=64, intermediate_size=144, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.06, rms_norm_eps=1e-6,
    bos_token_id=None, eos_token_id=None, pad_token_id=None,
)  # fmt: skip
LLAMA3 = rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)
YARN = rope(1e4, "yarn", factor=4.0, original_max_position_embeddings=64)
WIDE = {
    "qwen2": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=rope(1e6)), "qwen"),
    "llama3": ("LlamaConfig", dict(rope_parameters=LLAMA3), "llama"),
    "llama_linear": ("LlamaConfig", dict(rope_parameters=rope(1e4, "linear", factor=3.0)), "llama"),
    "llama_yarn": ("LlamaConfig", dict(rope_parameters=YARN, max_position_embeddings=1024), "llama"),
    "smollm2": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters=rope(1e5), hidden_size=72,
        num_attention_heads=9, num_key_value_heads=3, rms_norm_eps=1e-5), "smollm"),
    "qwen3": ("Qwen3Config", dict(tie_word_embeddings=True, rope_parameters=rope(1e6), head_dim=32), "qwen3"),
    "mistral": ("MistralConfig", dict(rope_parameters=rope(1e4), sliding_window=32, head_dim=16), "brackets"),
    "gemma3": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=gemma_rope(), head_dim=24,
        sliding_window=40, query_pre_attn_scalar=20, hidden_activation="gelu_pytorch_tanh",
        layer_types=["sliding_attention", "sliding_attention", "full_attention"]), "gemma"),
}  # fmt: skip


def copy_tokenizer(source, folder, template=None):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((source / name).read_bytes())
    if template:
        (folder / "chat_template.jinja").write_bytes(template.read_bytes())


def wide_tokenizer(kind, folder, text, lines):
    templates = text.parent / "data/chat-templates"
    if kind == "qwen":
        copy_tokenizer(text / "models/qwen2-qwen", folder)
    elif kind == "qwen3":
        copy_tokenizer(text / "models/qwen2-qwen", folder, templates / "qwen3.jinja")
    elif kind == "llama":
        copy_tokenizer(text / "models/llama-llama", folder)
    elif kind == "smollm":
        train_tokenizer(folder, lines, 1503, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], DEFAULT_SYSTEM,
                        eos="<|im_end|>", pad="<|im_end|>", digits=True)  # fmt: skip
    elif kind == "brackets":
        train_tokenizer(folder, lines, 1502, ["<s>", "</s>"], BRACKETS, bos="<s>", eos="</s>", pad="</s>")
    elif kind == "gemma":
        special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
        train_tokenizer(folder, lines, 1505, special, (templates / "gemma3.jinja").read_text(), bos="<bos>",
                        eos="<eos>", pad="<pad>")  # fmt: skip


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_wide(text, root):
    """models/ and data/ of the wide runs, made of the data and tokenizers in `text`."""
    rows = {name: read_rows(text / "data" / name / "train.jsonl") for name in ("chat", "multi", "pc", "text")}
    rows["pc_chat"] = [{"prompt": [{"role": "user", "content": r["prompt"]}],
                        "completion": [{"role": "assistant", "content": r["completion"]}]} for r in rows["pc"]]  # fmt: skip
    rows["content"] = [{"content": r["text"]} for r in rows["text"]]
    for name in list(rows):
        write_rows(root / "data" / name / "train.jsonl", rows[name])
        held_out = len(rows[name]) // 4
        write_rows(root / "data" / f"{name}_eval" / "train.jsonl", rows[name][:-held_out])
        write_rows(root / "data" / f"{name}_eval" / "test.jsonl", rows[name][-held_out:])
    lines = [r["text"] for r in rows["text"]] + [m["value"] for r in rows["multi"] for m in r["conversations"]]
    for seed, (name, (kind, settings, tokenizer)) in enumerate(WIDE.items()):
        folder = root / "models" / name
        if (folder / "model.safetensors").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        wide_tokenizer(tokenizer, folder, text, lines)
        write_model(folder, kind, 100 + seed, **{**WIDE_SIZE, **settings})


SMALL_SIZE = dict(
    hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
    max_position_embeddings=512, initializer_range=0.08, rms_norm_eps=1e-6, bos_token_id=None, eos_token_id=None,
    pad_token_id=None,
)  # fmt: skip
SUBJECTS = ["the miller", "a red fox", "my neighbour Ines", "the tide", "an old clock", "the school choir", "a lighthouse"]
DEEDS = ["counts the barrels", "sings before rain", "moves north in May", "keeps 12 keys", "forgets its name",
         "paints the gate blue", "waits for the ferry", "écrit à sa sœur", "breaks the ice"]  # fmt: skip
REASONS = ["because the wind turned", "since nobody asked", "and it's never late", "while 47 gulls look on",
           "so that we'll sleep", "though the bridge is shut"]  # fmt: skip


def small_rows():
    """A few dozen sentences of very different lengths in the four shapes that the small runs use."""
    choose = random.Random(11)

    def sentence():
        return f"{choose.choice(SUBJECTS)} {choose.choice(DEEDS)} {choose.choice(REASONS)}".capitalize() + "."

    def passage(low, high):
        return " ".join(sentence() for _ in range(choose.randint(low, high)))

    def conversation(index):
        turns = [{"from": "system", "value": "Be brief."}] if index % 3 == 0 else []
        for _ in range(choose.randint(1, 2)):
            turns.append({"from": "human", "value": f"What does {choose.choice(SUBJECTS)} do?\n"})
            turns.append({"from": "gpt", "value": passage(1, 2)})
        return {"id": index, "conversations": turns, "langdetect": "en"}

    chat = [conversation(i) for i in range(40)]
    text = [{"text": passage(1, 5)} for _ in range(40)]
    pairs = [{"prompt": f"Say what {choose.choice(SUBJECTS)} does:\n", "completion": passage(1, 3)} for _ in range(36)]
    return chat, text, pairs


def packed_rows(count):
    """Rows of tokens that were packed before, each of one to four documents; some have labels of their own."""
    draw = random.Random(9)
    for i in range(count):
        lengths = [draw.randint(1, 12) for _ in range(draw.randint(1, 4))]
        ids = [draw.randint(5, 300) for _ in range(sum(lengths))]
        labels = [t if draw.random() < 0.7 else -100 for t in ids[:-1]] + ids[-1:]
        yield {"input_ids": ids, "labels": labels, "seq_lengths": lengths}


def write_small(root: pathlib.Path):
    chat, text, pairs = small_rows()
    write_rows(root / "data/chat/train.jsonl", chat)
    write_rows(root / "data/text/train.jsonl", text)
    write_rows(root / "data/pairs/train.jsonl", pairs[:24])
    write_rows(root / "data/pairs/test.jsonl", pairs[24:])
    write_rows(root / "data/packed/train.jsonl", packed_rows(24))
    lines = [r["text"] for r in text] + [m["value"] for r in chat for m in r["conversations"]]
    small = {
        "chatml": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=rope(1e5)),
                   dict(special=["<|im_start|>", "<|im_end|>"], template=CHATML, eos="<|im_end|>", pad="<|im_end|>")),
        "windowed": ("MistralConfig", dict(rope_parameters=rope(1e4), sliding_window=16, head_dim=8, vocab_size=320),
                     dict(special=["<s>", "</s>"], template=BRACKETS, bos="<s>", eos="</s>", pad="</s>")),
        "gemma": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=gemma_rope(), head_dim=8,
                  sliding_window=16, query_pre_attn_scalar=12, hidden_activation="gelu_pytorch_tanh",
                  layer_types=["sliding_attention", "full_attention"]),
                  dict(special=["<bos>", "<eos>", "<pad>"], template=CHATML, bos="<bos>", eos="<eos>", pad="<pad>",
                       digits=True)),
        "experts": ("Qwen3MoeConfig", dict(rope_parameters=rope(1e5), head_dim=8, num_experts=6, num_experts_per_tok=2,
                    moe_intermediate_size=16, norm_topk_prob=True, router_aux_loss_coef=0.02),
                    dict(special=["<|im_start|>", "<|im_end|>"], template=CHATML, eos="<|im_end|>", pad="<|im_end|>")),
    }  # fmt: skip
    for seed, (name, (kind, settings, tokenizer)) in enumerate(small.items()):
        folder = root / "models" / name
        folder.mkdir(parents=True, exist_ok=True)
        vocab = train_tokenizer(folder, lines, 336, **tokenizer)
        write_model(folder, kind, 200 + seed, **{**SMALL_SIZE, **settings, "vocab_size": vocab})
        (folder / "generation_config.json").unlink()
