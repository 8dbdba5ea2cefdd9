"""Writes src/text/unicode_ranges.inc: the character classes as the `tokenizers` library sees them.

The library mixes several Unicode versions (its regex engine, Rust's standard library, two older crates),
so the classes are asked from the library itself instead of taken from one version of the Unicode files.
Run with a Python that has `tokenizers`; the system's libutf8proc is only used to find what it knows more.
"""
import ctypes
import pathlib
import unicodedata

from tokenizers import Regex
from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODES))
PCRE_UNICODE = "14.0.0"  # the oldest PCRE2 we build with (10.40 to 10.42)
assert unicodedata.unidata_version == PCRE_UNICODE


def kept(pre_tokenizer):
    """Code points that are not removed by a pre-tokenizer."""
    pieces = pre_tokenizer.pre_tokenize_str(TEXT)
    return {ord(TEXT[i]) for _, (begin, end) in pieces for i in range(begin, end)}


def matching(regex):
    return kept(P.Split(Regex(regex), "removed", invert=True))


CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co").split()
category = {}
for name in CATEGORIES:
    for code in matching(r"\p{%s}" % name):
        category[code] = name

word = matching(r"\w")
space = matching(r"\s")
assert matching(r"\d") == {c for c, k in category.items() if k == "Nd"}
assert set(CODES) - kept(P.WhitespaceSplit()) == space
pairs = P.Whitespace().pre_tokenize_str("".join("a" + chr(c) + " " for c in CODES))
plain_word = {ord(piece[1]) for piece, _ in pairs if len(piece) == 2 and piece[0] == "a"}
pairs = P.Digits(individual_digits=True).pre_tokenize_str("".join("a" + chr(c) for c in CODES if c != 0x61))
numeric = {ord(piece) for piece, _ in pairs if len(piece) == 1 and piece != "a"}
punctuation = set(CODES) - kept(P.Punctuation("removed"))
strip = N.StripAccents()
mark = {c for c in CODES if strip.normalize_str(chr(c)) == ""}
clean = N.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
control = {c for c in CODES if clean.normalize_str(chr(c)) == ""}
bert_strip = N.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
nonspacing = {c for c in CODES if bert_strip.normalize_str("a" + chr(c)) == "a"}

utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]


class Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


utf8proc.utf8proc_get_property.restype = ctypes.POINTER(Property)


def map_text(text, options):
    out, data = ctypes.c_void_p(), text.encode()
    size = utf8proc.utf8proc_map(data, len(data), ctypes.byref(out), options)
    return ctypes.string_at(out.value, size).decode()


STABLE, COMPAT, COMPOSE, DECOMPOSE = 2, 4, 8, 16
nfc, nfd, nfkd = N.NFC(), N.NFD(), N.NFKD()
inert, unsafe = set(), set()  # inert: newer than the library's normalization; unsafe: NFC may change it
for code in CODES[1:]:
    c = chr(code)
    if nfkd.normalize_str(c) != map_text(c, STABLE | DECOMPOSE | COMPAT):
        inert.add(code)
    cc = utf8proc.utf8proc_get_property(code).contents.combining_class
    if cc > 0:
        wrong_order = "a" + c + "\u0334" if cc > 1 else "a\u0301" + c
        if nfd.normalize_str(wrong_order) == wrong_order:
            inert.add(code)
        else:
            unsafe.add(code)
    if nfc.normalize_str(c) != c:
        unsafe.add(code)
for code in CODES[1:]:
    parts = map_text(chr(code), STABLE | DECOMPOSE)
    if len(parts) > 1 and code not in inert:
        assert nfc.normalize_str(parts) == map_text(parts, STABLE | COMPOSE), hex(code)
        if not 0xAC00 <= code < 0xD7A4:
            unsafe.update(map(ord, unicodedata.normalize("NFD", chr(code))[1:]))
unsafe.update(range(0x1161, 0x1176))
unsafe.update(range(0x11A8, 0x11C3))

BITS = {
    "upper_letter": {c for c, k in category.items() if k in ("Lu", "Lt")},
    "lower_letter": {c for c, k in category.items() if k == "Ll"},
    "other_letter": {c for c, k in category.items() if k in ("Lm", "Lo")},
    "mark": {c for c, k in category.items() if k[0] == "M"},
    "digit": {c for c, k in category.items() if k == "Nd"},
    "other_number": {c for c, k in category.items() if k in ("Nl", "No")},
    "space": space,
    "punctuation": punctuation,
    "regex_word": word,
    "plain_word": plain_word,
    "numeric": numeric,
    "accent": mark,
    "nfc_unsafe": unsafe,
    "normal_inert": inert,
    "control": control,
    "nonspacing": nonspacing,
}
flags = [0] * 0x110000
for bit, members in enumerate(BITS.values()):
    for code in members:
        flags[code] |= 1 << bit


def runs(values):
    begin = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] != values[begin]:
            if values[begin]:
                yield begin, i - begin, values[begin]
            begin = i


lines = ["// Written by tools/golden/unicode_tables.py; do not edit."]
lines.append("// Bits: " + ", ".join(f"{1 << i:#x} {name}" for i, name in enumerate(BITS)))


def table(kind, name, rows):
    lines.append(f"constexpr {kind} {name}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 1 > 100:
            lines.append(line)
            line = "   "
        line += " " + row
    lines.extend([line, "};"])


table("ClassRun", "class_runs", [f"{{{b:#x},{n},{v:#x}}}," for b, n, v in runs(flags)])
symbols = [int(category.get(c, "C")[0] in "PS") for c in range(0x110000)]
table("SymbolRun", "symbol_runs", [f"{{{b:#x},{n}}}," for b, n, _ in runs(symbols)])
newer = [category.get(c) if unicodedata.category(chr(c)) == "Cn" else None for c in range(0x110000)]
table("NewerRun", "newer_runs", [f'{{{b:#x},{b + n - 1:#x},"{v}"}},' for b, n, v in runs(newer)])


def scripts():
    """A number for each character: 0 where UnicodeScripts never cuts, else equal within a script."""
    splitter, known, of_code = P.UnicodeScripts(), [], [0] * 0x110000
    codes = [c for c in CODES if c != 0x20]
    pieces = splitter.pre_tokenize_str("a" + "".join(map(chr, codes)))  # characters of no script join what precedes
    neutral = {c for c in CODES if len(splitter.pre_tokenize_str(chr(c))) == 0}
    starts = {begin - 1 for _, (begin, _) in pieces}
    number = 0
    for i, code in enumerate(codes):
        if code in neutral:
            continue
        if i in starts or number == 0 or codes[i - 1] in neutral:
            number = next((n for n, c in enumerate(known, 1) if len(splitter.pre_tokenize_str(chr(c) + chr(code))) == 1), 0)
            if number == 0:
                known.append(code)
                number = len(known)
        of_code[code] = number
    return of_code


table("ScriptRun", "script_runs", [f"{{{b:#x},{n},{v}}}," for b, n, v in runs(scripts())])
lower = N.Lowercase()
delta = [0] * 0x110000
for code in CODES:
    low = lower.normalize_str(chr(code))
    if low != chr(utf8proc.utf8proc_tolower(code)) and len(low) == 1:
        delta[code] = ord(low) - code
table("LowerRun", "lower_runs", [f"{{{b:#x},{b + n - 1:#x},{v}}}," for b, n, v in runs(delta)])
(ROOT / "src/text/unicode_ranges.inc").write_text("\n".join(lines) + "\n")
print({name: len(members) for name, members in BITS.items()}, len(lines), "lines")
