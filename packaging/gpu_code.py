#!/usr/bin/env python3
"""What a library of the CUDA half has inside, by compute capability, and whether every promised card finds machine code in it.

usage: packaging/gpu_code.py file...           lists the code of each; exit status 1 when a card of libsft_cuda12, 13 goes without
       packaging/gpu_code.py --compile 12|13   what to compile for, as CMake names it        needs Python 3.9, no CUDA

Machine code runs on cards of its own generation, from its own capability on (7.0's on 7.5, 8.0's on 8.6 and 8.9), so that the first
of each is compiled for; 9.0a is Hopper with its own instructions. PTX of the last is for cards to come."""
import collections, pathlib, re, struct, sys

COMPILED = {12: "70-real;80-real;90a-real", 13: "75-real;80-real;90a-real;100-real;120"}
PROMISED = {12: (70, 75, 80, 86, 89, 90), 13: (75, 80, 86, 89, 90, 100, 120)}

# A unit of compilation leaves one container, behind a header of 16 bytes; in it stand entries with a header each.
MAGIC, CONTAINER_VERSION = 0xBA55ED50, 1
PTX, MACHINE_CODE = 1, 2
OF_ONE_CARD = 0x100000  # "90a": neither newer cards nor other ones of the generation run it

Code = collections.namedtuple("Code", "kind capability of_one_card bytes")


def units(path):
    """The code of every unit in a file, in the order in which they lie there."""
    content = pathlib.Path(path).read_bytes()
    magic = struct.pack("<I", MAGIC)
    found, at = [], content.find(magic)
    while at >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", content, at)
        if version != CONTAINER_VERSION or header != 16 or at + header + size > len(content):
            at = content.find(magic, at + 4)  # the same four bytes by chance
            continue
        entry, end, codes = at + header, at + header + size, []
        while entry < end:
            kind, _, entry_header, entry_size, _, _, _, _, capability, _, _, flags = struct.unpack_from("<HHIQIIHHIIIQ", content, entry)
            codes.append(Code(kind, capability, bool(flags & OF_ONE_CARD), entry_size))
            entry += entry_header + entry_size
        found.append(codes)
        at = content.find(magic, end)
    return found


def runs_on(code, card):
    same_generation = code.capability // 10 == card // 10 and code.capability <= card
    return code.kind == MACHINE_CODE and (code.capability == card if code.of_one_card else same_generation)


def faults(path):
    """A sentence for each promised card that a unit has no machine code for; [] for a file that promises none."""
    found = re.match(r"libsft_cuda(12|13)\.so$", pathlib.Path(path).name)
    if not found:
        return []
    inside = units(path)
    if not inside:
        return [f"{path}: no code for a GPU in it"]
    out = []
    for card in PROMISED[int(found.group(1))]:
        without = sum(not any(runs_on(code, card) for code in codes) for codes in inside)
        if without:
            out.append(f"{path}: {without} of {len(inside)} units have no machine code for compute capability {card // 10}.{card % 10}")
    return out


def summary(path):
    """[(name, units, bytes)]: "70", "90a", "PTX 120"."""
    count = collections.Counter()
    size = collections.Counter()
    for code in (code for codes in units(path) for code in codes):
        name = (code.kind == PTX, code.capability, code.of_one_card)
        count[name] += 1
        size[name] += code.bytes
    names = {key: f"{'PTX ' if key[0] else ''}{key[1]}{'a' if key[2] else ''}" for key in count}
    return [(names[key], count[key], size[key]) for key in sorted(count)]


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--compile" and sys.argv[2] in ("12", "13"):
        print(COMPILED[int(sys.argv[2])])
        return 0
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    wrong = []
    for path in sys.argv[1:]:
        for name, count, size in summary(path):
            print(f"{pathlib.Path(path).name}  {name:>8}  {count:>3} units  {size:>12,} bytes")
        wrong += faults(path)
    for line in wrong:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
