"""Writes examples/tiny-model: a random two-layer Llama with its own tokenizer and chat template, under 300 kB.

usage: python tools/make_tiny_model.py         (torch, transformers 5, tokenizers)
It stands in for a real model where none can be downloaded, and in the tests of the recipes.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools/golden"))

import tiny_models  # noqa: E402

FOLDER = ROOT / "examples/tiny-model"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def main():
    data = ROOT / "examples/data/ostrafell"
    lines = (data / "facts.txt").read_text().splitlines() + (data / "conversations.txt").read_text().splitlines()
    FOLDER.mkdir(parents=True, exist_ok=True)
    vocab = tiny_models.train_tokenizer(
        FOLDER, lines, 512, SPECIAL, tiny_models.CHATML, eos="<|im_end|>", pad="<|endoftext|>", digits=True
    )
    size = dict(vocab_size=vocab, hidden_size=48, intermediate_size=96, num_attention_heads=3, num_key_value_heads=1)
    settings = dict(tie_word_embeddings=True, rope_parameters=tiny_models.rope(1e4), max_position_embeddings=2048)
    tiny_models.write_model(FOLDER, "LlamaConfig", 1642, **{**tiny_models.SMALL_SIZE, **size, **settings})
    print({p.name: p.stat().st_size for p in FOLDER.iterdir()})


if __name__ == "__main__":
    main()
