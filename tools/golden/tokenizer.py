"""Writes tests/text/golden/tokenizer_*.json: small tokenizers of every kind and what Hugging Face's
`tokenizers` makes of nasty texts: ids, spans in bytes, and the decoded text.

Each file: {"tokenizer": tokenizer.json, "cases": [[text, ids, begin and end of each span, decoded], ...]}
with special tokens added. Names of kinds as arguments write those alone.
"""
import base64
import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/peers"))
from tokenizers_random import KNOWN, charsmap

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/text/golden"
GPT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = GPT + r"\p{L}+|\p{N}" + REST
LLAMA3 = GPT + r"\p{L}+|\p{N}{1,3}" + REST
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = """The lighthouse keeper wrote 1,024 letters; none of them reached the harbour before 1987.
I'll tell you what we've learned: don't feed the geese, they'd follow you home. "Really?" she asked.
def area(width, height):\n    # the usual rule\n    return width * height\n\nprint(area(3, 14.5))
Übermäßig große Flüsse fließen; où est la forêt où naît l'été? El niño comió piñas y jalapeños.
海边的灯塔很高，渔民们每天早上出海。天气好的时候，可以看到对岸的山。数字是一二三四五。
港の灯台は古い。漁師たちは毎朝海に出る。カモメが鳴いている。 등대는 높고 바다는 넓다. 어부는 아침에 나간다.
Маяк стоит на скале, а рыбаки уходят в море. الفنار قديم والبحر واسع. המגדלור ישן והים רחב.
👍 well done 👩‍👩‍👧 family 🇫🇮 flag ❤️ heart.\t\ttabs and   spaces    here\r\nlines\n\n\nend of the text."""
CORPUS = [line for line in CORPUS.split("\n") if line]

NASTY = [
    "", " ", "  ", "\n", "\r\n\r\n", "\t \t", "a", "'", "''s", "I'LL don't we'Ve 'ſ x'ſ", "hello  world", " hello", "hello ",
    "\n\n  x", "  \n \n x", "x \n", "a\u00a0b\u3000c\u2003 d\u180ee\u200bf\u2028g\u0085h", "1234567 12,345.67 ٣٤ ¼ Ⅷ １２３",
    "\u00e9 e\u0301 \u1e9b\u0323 a\u0323\u0308 a\u0308\u0323 \u0334\u0301\u0327", "각 가 \u1100\u1161\u11a8 \u1175\u11a8",
    "\ufb01 \u2126 \u212b \u212a \ufb2c ｶﾞ", "İIıi ΣςσẞßſŠ ǅ ʰª", "👩‍👩‍👧‍👦👍🏽🇩🇪❤️", "\U0010ffff\ue000\ufeff\ufffd\x01\x7f",
    "\u1c89\u1c8a \U0002ebf0 \U00011f04 𝟘𐍈", "a" * 300, " " * 150 + "x", "\n" * 90, "=" * 129, "ab" * 150, "海" * 100, "0" * 70,
    "<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|>b <|im_end|> c", "<s> x </s>y", " <tool>  <tool>x", "wordfoo foo  foo\n",
    "ABC abc Abc", "<|im_start", "▁▁a ▁ b▁", "ĠĊ Ġ", "http://x.y/z?a=b&c=1#d", "foo_bar-FooBar(fooBAR)[x1y2]{}", "\"quoted\" 'it' `x`",
    "中文English混合123テスト한국어", "ก็ที่น้ำ", "हिन्दी क्षत्रिय", "...!!!???", "—…–", "\u0301\u0301a", "x\u200d\u200dy",
]


def texts(seed, added):
    """The nasty texts and random mixtures of them and of the corpus."""
    rng = random.Random(seed)
    out = list(NASTY)
    for _ in range(60):
        parts = []
        for _ in range(rng.randrange(1, 7)):
            kind = rng.random()
            if kind < 0.35:
                parts.append(rng.choice(NASTY)[:24])
            elif kind < 0.5:
                parts.append(rng.choice(added))
            elif kind < 0.6:
                parts.append("".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(160, 0xD800), rng.randrange(0xE000, 0x20000)])) for _ in range(4)))
            else:
                line = rng.choice(CORPUS)
                at = rng.randrange(len(line))
                parts.append(line[at : at + rng.randrange(1, 20)])
        out.append("".join(parts))
    return out


def train(tokenizer, size=420, specials=(), byte_level=False, **options):
    if byte_level:
        options["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), show_progress=False, **options)
    tokenizer.train_from_iterator(CORPUS * 2, trainer)
    return tokenizer


def byte_level(pre_tokenizer, normalizer=None, ignore_merges=False, **options):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, byte_level=True, **options)


def split(regex):
    isolated = pre_tokenizers.Split(Regex(regex), "isolated")
    return pre_tokenizers.Sequence([isolated, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def qwen():
    t = byte_level(split(QWEN), normalizers.NFC())
    t.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    t.add_tokens([AddedToken("<tool>", normalized=False)])
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return t


def llama3():
    t = byte_level(split(LLAMA3), ignore_merges=True)
    t.add_special_tokens(special("<|begin|>", "<|im_end|>"))
    template = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", t.token_to_id("<|begin|>"))])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return t


def smollm():
    digits = pre_tokenizers.Digits(individual_digits=True)
    t = byte_level(pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    # A few bytes are missing from the real one's vocabulary too.
    data = json.loads(t.to_str())
    del data["model"]["vocab"]["ð"]
    data["model"]["merges"] = [m for m in data["model"]["merges"] if "ð" not in "".join(m)]
    data["model"]["vocab"] = {k: v for k, v in data["model"]["vocab"].items() if "ð" not in k}
    data["model"]["vocab"] = {k: i for i, k in enumerate(data["model"]["vocab"])}
    t = Tokenizer.from_str(json.dumps(data))
    t.add_special_tokens(special("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    return t


def gpt2():
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True))
    t.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False, lstrip=True)])
    t.post_processor = processors.RobertaProcessing(("a", t.token_to_id("a")), ("b", t.token_to_id("b")))
    return t


def tekken():
    t = byte_level(split(TEKKEN), ignore_merges=True)
    t.add_special_tokens(special("<s>", "</s>"))
    return t


BYTES = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]


def sentencepiece(normalizer, pre_tokenizer, decoder, merge_on=None):
    t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    t.normalizer = normalizer
    t.pre_tokenizer = merge_on or pre_tokenizers.Split("▁", "merged_with_next")
    train(t, 700, BYTES, max_token_length=12)
    data = json.loads(t.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(data))
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    else:
        data = json.loads(t.to_str())
        data["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(data))
    t.decoder = decoder
    return t


SPM_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def llama2():
    norm = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t = sentencepiece(norm, None, decoders.Sequence(SPM_DECODER + [decoders.Strip(" ", 1, 0)]))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    t.add_tokens([AddedToken("foo", normalized=True), AddedToken("<tool>", normalized=False, rstrip=True)])
    return t


def gemma3():
    t = sentencepiece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), decoders.Sequence(SPM_DECODER))
    t.add_tokens([AddedToken(s, normalized=False) for s in ("\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁▁", "\t\t")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return t


def metaspace():
    meta = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    t = sentencepiece(normalizers.NFKC(), meta, decoders.Metaspace(prepend_scheme="first"), merge_on=meta)
    t.add_special_tokens([AddedToken("<|im_end|>", special=True, normalized=False, rstrip=True)])
    return t


def words():
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex(r"\d{4,}"), "#")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_previous")])
    train(t, 400, ["<unk>"], end_of_word_suffix="</w>")
    t.decoder = decoders.BPEDecoder()
    t.add_tokens([AddedToken("foo", single_word=True, normalized=False), AddedToken("ABC", normalized=True)])
    return t


def pieces():
    t = Tokenizer(models.BPE(continuing_subword_prefix="##"))
    t.normalizer = normalizers.NFKD()
    splits = [(r"[\r\n]+", "contiguous", False), (r"\p{Han}+|\w+", "merged_with_next", False), (r"[^\s]", "removed", True), (r"\d{1,3}(?=(?:\d{3})*\b)", "isolated", False)]
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r), b, invert=i) for r, b, i in splits] + [pre_tokenizers.Digits(False), pre_tokenizers.WhitespaceSplit()])
    return train(t, 400, continuing_subword_prefix="##")


def unigram(normalizer, pre_tokenizer, decoder, byte_fallback):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizer
    names = BYTES if byte_fallback else BYTES[:3]
    t.train_from_iterator(CORPUS * 2, trainers.UnigramTrainer(vocab_size=280, special_tokens=names, unk_token="<unk>", show_progress=False))
    data = json.loads(t.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    data["model"]["byte_fallback"] = byte_fallback
    for pair in data["model"]["vocab"]:
        pair[1] = round(pair[1], 3)
    t = Tokenizer.from_str(json.dumps(data))
    t.decoder = decoder
    return t


def unigram_bytes():
    t = unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Sequence(SPM_DECODER + [decoders.Strip(" ", 1, 0)]), True)
    t.add_tokens([AddedToken("<tool>", normalized=False, lstrip=True)])
    return t


def unigram_charsmap():
    precompiled = normalizers.Precompiled(base64.b64decode(charsmap(random.Random(3))))
    norm = normalizers.Sequence([precompiled, normalizers.Replace(Regex(" {2,}"), " ")])
    t = unigram(norm, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), decoders.Metaspace(), False)
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", t.token_to_id("</s>"))])
    return t


def wordpiece():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(CORPUS * 2, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    t.decoder = decoders.WordPiece(cleanup=True)
    names = [(name, t.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=names)
    return t


def wordlevel():
    t = Tokenizer(models.WordLevel(unk_token="<unk>"))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    t.train_from_iterator(CORPUS * 2, trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    t.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return t


def deepseek():
    splits = [pre_tokenizers.Split(Regex(KNOWN[name]), "isolated") for name in ("deepseek digits", "deepseek cjk", "deepseek")]
    t = byte_level(pre_tokenizers.Sequence(splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    t.add_special_tokens(special("<|im_start|>", "<|im_end|>"))
    return t


KINDS = [qwen, llama3, smollm, gpt2, tekken, llama2, gemma3, metaspace, words, pieces, unigram_bytes, unigram_charsmap, wordpiece, wordlevel, deepseek]


def case(tokenizer, text):
    encoding = tokenizer.encode(text)
    offsets = [0]
    for char in text:
        offsets.append(offsets[-1] + len(char.encode()))
    spans = [offsets[i] for span in encoding.offsets for i in span]
    return [text, encoding.ids, spans, tokenizer.decode(encoding.ids, skip_special_tokens=False)]


OUT.mkdir(parents=True, exist_ok=True)
for seed, kind in enumerate(KINDS):
    if sys.argv[1:] and kind.__name__ not in sys.argv[1:]:
        continue
    tokenizer = kind()
    data = json.loads(tokenizer.to_str())
    if kind in (qwen, llama2):  # the older spelling of merges
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    added = [t.content for t in tokenizer.get_added_tokens_decoder().values()] or ["foo"]
    cases = [case(tokenizer, text) for text in texts(seed, added)]
    path = OUT / f"tokenizer_{kind.__name__}.json"
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    made_by = json.dumps(f"tools/golden/tokenizer.py, tokenizers {tokenizers.__version__}")
    head = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    path.write_text('{"made_by": %s,\n"tokenizer": %s,\n"cases": [\n%s\n]}\n' % (made_by, head, lines), encoding="utf-8")
    print(path.name, path.stat().st_size, len(cases))
