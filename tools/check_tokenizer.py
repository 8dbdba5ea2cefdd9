"""Compares our tokenizer with Hugging Face's `tokenizers` on thousands of random texts.

    ninja -C build tokenizer_probe
    python tools/check_tokenizer.py build/tests/text/tokenizer_probe tokenizer.json [texts] [seed]

Prints how many ids, spans and decoded texts differ, and the first few; exits with 1 when any does.
"""
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

SPACES = [" ", "  ", "\n", "\r", "\r\n", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2028", "\u200b", "\u202f", "\u3000", "\ufeff"]
TRAPS = [
    "'s", "'S", "'ſ", "'LL", "'Re", "''", "don't", "e\u0301", "a\u0308\u0323", "a\u0323\u0308", "ﬁ", "각", "\u1100\u1161\u11a8", "中文", "ひらがな", "ｶﾞ",
    "１２３", "¼", "²", "Ⅷ", "٣", "𝟘", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "\u0301", "\u0334\u0301\u0327", "İ", "ẞ", "ǅ", "ʰ", "_", "—", "...", "<|", "▁▁", "Ġ", "\x01",
    "\U0010ffff", "\ue000", "a" * 90, " " * 40, "\n" * 30, "0" * 25, "=" * 70, "x1y2", "FooBar", "http://x.y/z?a=b&c=1", "the quick brown fox", "1,234.5",
]


def random_char(rng):
    ranges = [(32, 127), (160, 0x300), (0x300, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]
    return chr(rng.randrange(*rng.choice(ranges)))


def random_text(rng, added, vocabulary):
    parts = []
    for _ in range(rng.randrange(14)):
        kind = rng.random()
        if kind < 0.2:
            parts.append(rng.choice(SPACES))
        elif kind < 0.5:
            parts.append(rng.choice(TRAPS))
        elif kind < 0.65:
            parts.append("".join(random_char(rng) for _ in range(rng.randrange(1, 8))))
        elif kind < 0.75 and added:
            parts.append(rng.choice(added))
        elif kind < 0.95:
            parts.append(rng.choice(vocabulary).replace("Ġ", " ").replace("▁", " "))
        else:
            parts.append(rng.choice(SPACES + TRAPS) * rng.randrange(2, 60))
    return "".join(parts).replace("\0", "")


def main():
    probe, path = sys.argv[1:3]
    count, seed = (int(a) for a in (sys.argv[3:5] + ["5000", "0"][len(sys.argv) - 3 :]))
    rng = random.Random(seed)
    reference = Tokenizer.from_file(path)
    reference.no_truncation()
    reference.no_padding()
    added = [token.content for token in reference.get_added_tokens_decoder().values()]
    vocabulary = sorted(reference.get_vocab())
    texts = [random_text(rng, added, vocabulary) for _ in range(count)]
    data = b"".join(text.encode() + b"\0" for text in texts)
    lines = subprocess.run([probe, path], input=data, stdout=subprocess.PIPE, check=True).stdout.splitlines()
    wrong = {"ids": 0, "spans": 0, "text": 0}
    for text, line, want in zip(texts, lines, reference.encode_batch(texts), strict=True):
        ids, spans, decoded = json.loads(line)
        offsets = [0]
        for char in text:
            offsets.append(offsets[-1] + len(char.encode()))
        pairs = {
            "ids": (ids, want.ids),
            "spans": (spans, [[offsets[a], offsets[b]] for a, b in want.offsets]),
            "text": (decoded, reference.decode(want.ids, skip_special_tokens=False)),
        }
        for what, (ours, theirs) in pairs.items():
            if ours != theirs:
                wrong[what] += 1
                if wrong[what] <= 3:
                    print(f"{what} of {text!r}\n  ours   {ours}\n  theirs {theirs}")
    print(f"{len(texts)} texts, different: {wrong}")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
