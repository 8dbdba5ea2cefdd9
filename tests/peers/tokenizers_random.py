"""Random tokenizers on random texts: `sft tokenize` against PyPI's `tokenizers`, ids, spans and decoded text.

    python tests/peers/tokenizers_random.py build/sft [tokenizers] [texts each] [seed]

Every tokenizer is trained here on a few lines: a model of each kind with normalizers, pre-tokenizers, post-processors,
decoders and added tokens drawn at random. A path in place of the number checks that tokenizer.json alone. Prints the
number of cases and what differs; exits with 1 when anything does.
"""
import base64
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

os.environ.update(RUST_BACKTRACE="0", TOKENIZERS_PARALLELISM="false")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LINES = """The lighthouse keeper wrote 1,024 letters; none of them reached the harbour before 1987.
I'll tell you what we've learned: don't feed the geese, they'd follow you home. "Really?" she asked. It's fine - isn't it !
def area(width, height):  # the usual rule
    return width * height + 14.5 if width else None
Übermäßig große Flüsse fließen; où est la forêt où naît l'été? El niño comió piñas y jalapeños. Přílişžluťoučký kůň.
海边的灯塔很高，渔民们每天早上出海。天气好的时候，可以看到对岸的山。数字是一二三四五。
港の灯台は古い。漁師たちは毎朝海に出る。カモメが鳴いている。ﾊﾝｶｸ ー 等대는 높고 바다는 넓다. 어부는 아침에 나간다.
Маяк стоит на скале, а рыбаки уходят в море. الفنار قديم والبحر واسع. המגדלור ישן והים רחב. Ο φάρος είναι παλιός.
दीपस्तंभ पुराना है। บ้านริมทะเลเก่ามาก ဗမာစာ ქართული հայերեն தமிழ் বাংলা ਪੰਜਾਬੀ ગુજરાતી తెలుగు ಕನ್ನಡ മലയാളം සිංහල ລາວ བོད་ አማርኛ ᠮᠣᠩᠭᠣᠯ ខ្មែរ
👍 well done 👩‍👩‍👧 family 🇫🇮 flag ❤️ heart.""".split("\n")
SPACES = [" ", " ", "  ", "\n", "\r", "\r\n", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u2028", "\u200b", "\u202f", "\u3000", "\ufeff"]
TRAPS = [
    "'s", "'S", "'ſ", "'LL", "''", "don't", " do not ", " n't", " .", "e\u0301", "a\u0308\u0323", "ﬁ", "각", "\u1100\u1161\u11a8", "中文", "ひらがなカタカナー", "ｶﾞ", "™\u0301", "\r\n\u0301",
    "１２３", "¼", "²", "Ⅷ", "٣", "𝟘", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪", "\u0301", "\u0334\u0301\u0327", "İ", "ẞ", "ǅ", "ʰ", "_", "—", "...", "<|", "▁▁", "▁", "Ġ", "\x01", "\x7f", "##a", "</w>", "|",
    "\U0010ffff", "\ue000", "\ufffd", "a" * 120, " " * 40, "\n" * 30, "0" * 25, "=" * 70, "x1y2", "FooBar", "HTTPServer", "http://x.y/z?a=b&c=1", "1,234.5", "<0x41>", "<unk>", "[UNK]", "cafe\u0301s", "x\u200dy", "क्ष",
    "\u1e9b\u0323", "\u212b", "\ufb2c", "ß", "Σς", "ﷺ", "\u0f73", "\u0958", "\u2f00", "豈", "\U0002f800", "\u115f", "\u3164", "\u0600a", "\u0e33", "a\u0903",
]
# What the trained alphabets do not hold: everything else.
RANGES = [(32, 127), (160, 0x300), (0x300, 0x370), (0x300, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]


def random_char(rng):
    return chr(rng.randrange(*rng.choice(RANGES)))


def random_text(rng, words):
    parts = []
    for _ in range(rng.randrange(12)):
        kind = rng.random()
        if kind < 0.2:
            parts.append(rng.choice(SPACES))
        elif kind < 0.4:
            parts.append(rng.choice(TRAPS))
        elif kind < 0.5:
            parts.append("".join(random_char(rng) for _ in range(rng.randrange(1, 8))))
        elif kind < 0.55:
            parts.append(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 12))).decode(errors="replace"))
        elif kind < 0.75 and words:
            parts.append(rng.choice(words).replace("Ġ", " ").replace("▁", " "))
        elif kind < 0.95:
            line = rng.choice(LINES)
            at = rng.randrange(len(line))
            parts.append(line[at : at + rng.randrange(1, 40)])
        else:
            parts.append(rng.choice(SPACES + TRAPS) * rng.randrange(2, 12))
    return "".join(parts).replace("\0", "")


def charsmap(rng):
    """A double array of a few replacements, as SentencePiece stores it."""
    rules = {"ﬁ": "fi", "\u3000": " ", "\t": " ", "\n": " ", "\r": " ", "™": "TM", "\u212b": "Å", "e\u0301": "é", "\x01": "", "\u200b": "", "…": "...", "ｶ": "カ", "Ａ": "A", "½": "1/2", "a\u0308": "ä", "\u0344": "\u0308\u0301"}
    rules = {k: v for k, v in rules.items() if rng.random() < 0.8} or {"ﬁ": "fi"}
    blob, values = b"", {}
    for key, new in rules.items():
        values[key.encode()] = len(blob)
        blob += new.encode() + b"\0"
    units = [None] * 256

    def place(prefix):
        keys = sorted({k[len(prefix)] for k in values if k.startswith(prefix) and len(k) > len(prefix)})
        labels = keys + ([0] if prefix in values else [])
        base = 256
        while True:
            while base + 256 > len(units):
                units.extend([None] * 256)
            if all(units[base ^ label] is None for label in labels):
                break
            base += 1 if base % 256 != 255 else 1
        for label in labels:
            units[base ^ label] = 0
        return base, keys, prefix in values

    def fill(prefix, at, label):
        base, keys, leaf = place(prefix)
        offset = at ^ base
        assert offset < 1 << 21
        units[at] = offset << 10 | (1 << 8 if leaf else 0) | label
        if leaf:
            units[base] = 1 << 31 | values[prefix]
        for key in keys:
            fill(prefix + bytes([key]), base ^ key, key)

    units[0] = 0
    fill(b"", 0, 0)
    packed = b"".join(struct.pack("<I", unit or 0) for unit in units)
    return base64.b64encode(struct.pack("<I", len(packed)) + packed + blob).decode()


BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
GPT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDING}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDING}|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KNOWN = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "qwen2": GPT + r"\p{L}+|\p{N}" + REST,
    "qwen3.5": GPT + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama3": GPT + r"\p{L}+|\p{N}{1,3}" + REST,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "cl100k possessive": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": O200K,
    "tekken": O200K.replace(ENDING, "").replace(r"\p{N}{1,3}", r"\p{N}"),
    # As its file has them, line ends as themselves.
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^RN\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[RN]*|\s*[RN]+|\s+(?!\S)|\s+".replace("RN", "\r\n").replace('\\"', '"'),
    "deepseek cjk": "[一-龥\u3040-ゟ゠-ヿ]+",
    "deepseek digits": r"\p{N}{1,3}",
    "words": r"\w+|[^\w\s]+",
    "spaces": r"\s+",
    "three digits": r"\d{1,3}(?=(?:\d{3})*\b)",
    "newlines": r"[\r\n]+",
}


def pick(rng, *makers):
    return rng.choice(makers)()


def normalizer(rng, depth=0):
    N = normalizers
    makers = [
        N.NFC, N.NFD, N.NFKC, N.NFKD, N.Lowercase, N.StripAccents, N.Nmt,
        lambda: N.Strip(left=rng.random() < 0.5, right=rng.random() < 0.5),
        lambda: N.Replace(rng.choice([" ", "a", "e\u0301", Regex(r"\s+"), Regex(r" {2,}"), Regex(r"[0-9]"), Regex(r"(?i)THE"), Regex("\\n")]), rng.choice(["▁", " ", "", "xy", "é"])),
        lambda: N.Prepend(rng.choice(["▁", " ", "ab"])),
        lambda: N.BertNormalizer(rng.random() < 0.7, rng.random() < 0.7, rng.choice([None, True, False]), rng.random() < 0.5),
        lambda: N.Precompiled(base64.b64decode(charsmap(rng))),
    ]
    if depth == 0 and rng.random() < 0.35:
        return N.Sequence([normalizer(rng, 1) for _ in range(rng.randrange(1, 4))])
    return pick(rng, *makers)


def split(rng):
    pattern = Regex(rng.choice(list(KNOWN.values()))) if rng.random() < 0.7 else rng.choice([" ", "a", "th", "\n", "。"])
    return pre_tokenizers.Split(pattern, rng.choice(BEHAVIORS), invert=rng.random() < 0.3)


def pre_tokenizer(rng, depth=0):
    P = pre_tokenizers
    makers = [
        P.BertPreTokenizer, P.Whitespace, P.WhitespaceSplit, P.UnicodeScripts,
        lambda: P.ByteLevel(add_prefix_space=rng.random() < 0.5, use_regex=rng.random() < 0.5),
        lambda: split(rng), lambda: split(rng), lambda: split(rng),
        lambda: P.Digits(rng.random() < 0.5), lambda: P.Punctuation(rng.choice(BEHAVIORS)), lambda: P.FixedLength(rng.randrange(1, 9)),
        lambda: P.Metaspace(rng.choice(["▁", "_"]), rng.choice(["always", "never", "first"]), rng.random() < 0.6),
        lambda: P.CharDelimiterSplit(rng.choice([" ", "e", "。"])),
    ]
    if depth == 0 and rng.random() < 0.4:
        return P.Sequence([pre_tokenizer(rng, 1) for _ in range(rng.randrange(1, 4))])
    return pick(rng, *makers)


def decoder(rng, depth=0):
    D = decoders
    makers = [
        D.ByteLevel, D.ByteFallback, D.Fuse, lambda: D.WordPiece(rng.choice(["##", "a"]), rng.random() < 0.5), lambda: D.BPEDecoder(rng.choice(["</w>", "e"])),
        lambda: D.Metaspace("▁", rng.choice(["always", "never", "first"]), True), lambda: D.CTC(rng.choice(["<pad>", "a"]), rng.choice(["|", "e"]), rng.random() < 0.5),
        lambda: D.Strip(rng.choice([" ", "a", "▁"]), rng.randrange(3), rng.randrange(3)), lambda: D.Replace(rng.choice(["▁", "a", Regex("[ae]+")]), rng.choice([" ", ""])),
    ]
    if depth == 0 and rng.random() < 0.5:
        return D.Sequence([decoder(rng, 1) for _ in range(rng.randrange(1, 5))])
    return pick(rng, *makers)


def post_processor(rng, tokenizer, depth=0):
    R = processors
    names = [tokenizer.id_to_token(rng.randrange(tokenizer.get_vocab_size())) or "a" for _ in range(2)]
    a, b = [(name, tokenizer.token_to_id(name) or 0) for name in names]
    template = rng.choice([["$A"], [a, "$A"], ["$A", b], [a, "$A:0", b], [a, b, "$A", b]])
    single = [part if isinstance(part, str) else {"SpecialToken": {"id": part[0], "type_id": 0}} for part in template]

    def make_template():
        data = {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}
        data["single"] = [{"Sequence": {"id": "A", "type_id": 0}} if isinstance(part, str) else part for part in single]
        data["special_tokens"] = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (a, b)}
        return data

    makers = [
        make_template,
        lambda: {"type": "BertProcessing", "sep": list(b), "cls": list(a)},
        lambda: {"type": "RobertaProcessing", "sep": list(b), "cls": list(a), "trim_offsets": rng.random() < 0.5, "add_prefix_space": rng.random() < 0.5},
        lambda: {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": rng.random() < 0.5, "use_regex": True},
    ]
    if depth == 0 and rng.random() < 0.3:
        trims = [{"type": "ByteLevel", "add_prefix_space": rng.random() < 0.5, "trim_offsets": True, "use_regex": True}]
        return {"type": "Sequence", "processors": trims * rng.randrange(2) + [post_processor(rng, tokenizer, 1)]}
    return pick(rng, *makers)


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def trained(rng):
    kind = rng.choice(["byte-level", "byte-level", "bpe", "bpe", "unigram", "unigram", "wordpiece", "wordlevel"])
    size = rng.choice([60, 300, 700, 1500])
    stages = {}
    if rng.random() < 0.6:
        stages["normalizer"] = normalizer(rng)
    fallback = rng.random() < 0.5
    if kind == "byte-level":
        model = models.BPE(ignore_merges=rng.random() < 0.4)
        first = [pre_tokenizer(rng, 1) for _ in range(rng.randrange(0, 3))]
        regexes = [rng.choice(list(KNOWN.values()))] if rng.random() < 0.8 else [KNOWN["deepseek digits"], KNOWN["deepseek cjk"], KNOWN["deepseek"]]
        known = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in regexes] if rng.random() < 0.7 else []
        stages["pre_tokenizer"] = pre_tokenizers.Sequence(first * (rng.random() < 0.3) + known + [pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.3, use_regex=not known)])
        trainer = trainers.BpeTrainer(vocab_size=max(size, 300), initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if rng.random() < 0.85 else [], show_progress=False)
        stages["decoder"] = decoders.ByteLevel()
    else:
        if rng.random() < 0.8 or kind in ("wordpiece", "wordlevel"):
            stages["pre_tokenizer"] = pre_tokenizer(rng)
        special = ["<unk>"] + (BYTES if fallback and rng.random() < 0.9 else [])
        if kind == "bpe":
            affix = {"continuing_subword_prefix": "##"} if rng.random() < 0.15 else {"end_of_word_suffix": "</w>"} if rng.random() < 0.15 else {}
            model = models.BPE(unk_token="<unk>" if rng.random() < 0.8 else None, fuse_unk=rng.random() < 0.5, byte_fallback=fallback, ignore_merges=rng.random() < 0.3, **affix)
            trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, max_token_length=16, **affix)
        elif kind == "unigram":
            model = models.Unigram()
            trainer = trainers.UnigramTrainer(vocab_size=min(size, 400), special_tokens=special, unk_token="<unk>", show_progress=False)
        elif kind == "wordpiece":
            model = models.WordPiece(unk_token="<unk>", max_input_chars_per_word=rng.choice([100, 5, 20]))
            trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        else:
            model = models.WordLevel(unk_token="<unk>")
            trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        if rng.random() < 0.8:
            stages["decoder"] = decoder(rng)
    tokenizer = Tokenizer(model)
    for name, stage in stages.items():
        setattr(tokenizer, name, stage)
    tokenizer.train_from_iterator(LINES * 2, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if rng.random() < 0.5]  # some stay plain tokens
    if kind == "unigram":
        data["model"]["byte_fallback"] = fallback
        if rng.random() < 0.3:  # ties
            for pair in data["model"]["vocab"]:
                pair[1] = round(pair[1])
    tokenizer = Tokenizer.from_str(json.dumps(data))
    flag = lambda: rng.random() < 0.35
    for content in rng.sample(["<tool>", "foo", " ", "the", "\n\n", "É", "</s>", "<|im_end|>", "灯", "▁▁", "ab c", "Th"], rng.randrange(0, 6)):
        token = AddedToken(content, single_word=flag(), lstrip=flag(), rstrip=flag(), normalized=flag(), special=flag())
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    data = json.loads(tokenizer.to_str())
    if rng.random() < 0.5:
        data["post_processor"] = post_processor(rng, tokenizer)
    if rng.random() < 0.1:  # not looked at by a training run
        data["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        data["padding"] = {"strategy": {"Fixed": 20}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"}
    return kind, json.dumps(data, ensure_ascii=rng.random() < 0.5)


def trained_somehow(rng):
    while True:
        try:
            return trained(rng)
        except Exception:  # a trainer that finds the vocabulary too small for the alphabet
            continue


def compare(sft, text_of_tokenizer, texts, label, shown):
    reference = Tokenizer.from_str(text_of_tokenizer)
    reference.no_truncation()
    reference.no_padding()
    with tempfile.TemporaryDirectory() as folder:
        path, data = pathlib.Path(folder, "tokenizer.json"), pathlib.Path(folder, "texts")
        path.write_text(text_of_tokenizer, encoding="utf-8")
        data.write_bytes(b"".join(text.encode() + b"\0" for text in texts))
        command = [sft, "tokenize", "--model", path, "--file", data, "--nul", "--json", "--spans", "--decode", "--threads", "2"]
        run = subprocess.run(command, capture_output=True)
    if run.returncode != 0:
        print(f"{label}: {run.stderr.decode()}")
        return {"refused": 1}
    wrong = {}
    for text, line in zip(texts, run.stdout.split(b"\n")):
        got = json.loads(line)
        try:
            want = reference.encode(text)
            decoded = reference.decode(want.ids, skip_special_tokens=False)
        except BaseException as error:  # the library panics on some texts
            if isinstance(error, KeyboardInterrupt):
                raise
            shown["panics"] = shown.get("panics", 0) + 1
            continue
        offsets = [0]
        for char in text:
            offsets.append(offsets[-1] + len(char.encode()))
        sane = all(b < len(offsets) for _, b in want.offsets)  # some of the library's lie outside of the text
        pairs = {
            "ids": (got["ids"], want.ids),
            "spans": (got["spans"], [[offsets[a], offsets[b]] for a, b in want.offsets] if sane else got["spans"]),
            "text": (got["text"], decoded),
        }
        for what, (ours, theirs) in pairs.items():
            if ours != theirs:
                wrong[what] = wrong.get(what, 0) + 1
                if shown.setdefault(label + what, 0) < 1:
                    shown[label + what] += 1
                    print(f"{label}, {what} of {text!r}\n  ours   {ours}\n  theirs {theirs}")
    return wrong


def main():
    sft = sys.argv[1]
    what = sys.argv[2] if len(sys.argv) > 2 else "200"
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    shown, total, bad = {}, {}, []
    if not what.isdigit():
        text = pathlib.Path(what).read_text(encoding="utf-8")
        words = sorted(Tokenizer.from_str(text).get_vocab())
        rng = random.Random(seed)
        total = compare(sft, text, [random_text(rng, words) for _ in range(count)], what, shown)
        print(f"{what}: {count} texts, different: {total or 'none'}")
        return 1 if total else 0
    for number in range(int(what)):
        rng = random.Random(f"{seed} {number}")
        kind, text = trained_somehow(rng)
        words = sorted(Tokenizer.from_str(text).get_vocab())
        wrong = compare(sft, text, [random_text(rng, words) for _ in range(count)], f"{kind} {seed} {number}", shown)
        if wrong:
            bad.append(number)
            pathlib.Path(tempfile.gettempdir(), f"tokenizer_{seed}_{number}.json").write_text(text, encoding="utf-8")
        for key, value in wrong.items():
            total[key] = total.get(key, 0) + value
    print(f"{what} tokenizers, {int(what) * count} texts, {shown.get('panics', 0)} of them too much for the library, different: {total or 'none'}" + (f" in the tokenizers {bad}" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
