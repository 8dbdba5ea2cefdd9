#!/usr/bin/env python3
"""Draws the folders of src/ in their layers, as the includes have them: docs/layers.svg.

usage: tools/layers.py           writes it
       tools/layers.py --check   fails where it is not what the includes say (a ctest)
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "docs/layers.svg"
WHAT = {
    "cli": "the program's commands",
    "run": "a run put together",
    "train": "the loop",
    "watch": "the page's server",
    "report": "logs, charts",
    "settings": "a run's options",
    "state": "weights, ZeRO",
    "io": "files of models",
    "model": "families",
    "optim": "optimizers",
    "data": "rows to batches",
    "ops": "kernels",
    "chat": "templates, masks",
    "graph": "the tape",
    "comm": "between ranks",
    "jinja": "interpreter",
    "device": "CPU, GPU",
    "control": "ranks found, watched",
    "options": "how one is declared",
    "formats": "number formats",
    "hub": "downloads, uploads",
    "text": "tokenizers",
    "core": "what all stand on",
}
WIDTH, HEIGHT, GAP_X, GAP_Y = 148, 44, 18, 40


def heights():
    """The table of tools/check_layers, where each folder's layer is written once."""
    text = (ROOT / "tools/check_layers").read_text()
    table = text[text.index("declare -A height=(") :].split(")", 1)[0]
    return {name: int(h) for name, h in re.findall(r"\[(\w+)\]=(\d+)", table + ")")}


def includes():
    edges = set()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
            folder = path.relative_to(ROOT / "src").parts[0]
            for to in re.findall(r'^#include "(\w+)/', path.read_text(), re.M):
                if to != folder:
                    edges.add((folder, to))
    return edges


def direct(edges):
    """Without the edges that a longer way says already."""
    below = {}
    for a, b in edges:
        below.setdefault(a, set()).add(b)

    def reaches(a, b):
        return any(c == b or reaches(c, b) for c in below.get(a, ()))

    return {(a, b) for a, b in edges if not any(c != b and reaches(c, b) for c in below[a])}


def draw():
    level = heights()
    rows = {}
    for name in sorted(level, key=lambda n: list(WHAT).index(n)):
        rows.setdefault(level[name], []).append(name)
    most = max(len(names) for names in rows.values())
    width = most * (WIDTH + GAP_X) + GAP_X
    height = len(rows) * (HEIGHT + GAP_Y) + GAP_Y // 2
    place = {}
    for row, layer in enumerate(sorted(rows, reverse=True)):
        names = rows[layer]
        left = (width - len(names) * (WIDTH + GAP_X) + GAP_X) / 2
        for i, name in enumerate(names):
            place[name] = (left + i * (WIDTH + GAP_X), GAP_Y / 2 + row * (HEIGHT + GAP_Y))
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" role="img" aria-label="The folders of src in layers; each includes only those below">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for a, b in sorted(direct(includes())):
        (xa, ya), (xb, yb) = place[a], place[b]
        svg.append(
            f'<path d="M{xa + WIDTH / 2:.0f} {ya + HEIGHT:.0f} C{xa + WIDTH / 2:.0f} {ya + HEIGHT + 24:.0f} '
            f'{xb + WIDTH / 2:.0f} {yb - 24:.0f} {xb + WIDTH / 2:.0f} {yb:.0f}" fill="none" stroke="#9aa7b4"/>'
        )
    for name, (x, y) in place.items():
        svg.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eef3f8" stroke="#4a6785"/>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + 19:.0f}" text-anchor="middle" font-size="15" '
            f'font-weight="bold" fill="#1b2b3a">{name}</text>'
            f'<text x="{x + WIDTH / 2:.0f}" y="{y + 35:.0f}" text-anchor="middle" font-size="11" fill="#3d5266">{WHAT[name]}</text>'
        )
    return "\n".join(svg + ["</svg>"]) + "\n"


def main():
    drawn = draw()
    if "--check" in sys.argv[1:]:
        if OUT.read_text() != drawn:
            sys.exit("docs/layers.svg is not what the includes say: run tools/layers.py")
        return
    OUT.write_text(drawn)


if __name__ == "__main__":
    main()
