"""Every field of TRL's SFT script by what `sft` does with it: works, without meaning here, refused with its one reason.

usage: python tools/trl_fields.py [build/sft]            writes docs/trl-fields.md         (trl 1.16 and what it needs)
       python tools/trl_fields.py [build/sft] --check    fails where the page is not what would be written
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")

import transformers  # noqa: E402
import trl  # noqa: E402
from trl.scripts.utils import DatasetMixtureConfig  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/trl-fields.md"
REFUSED, INERT, OLDER = "Known, not built yet", "Accepted, without meaning here", "Older names"


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def options_of(sft):
    """name -> (class, what is said), as `sft config --markdown` has them, with older names."""
    text = subprocess.run([sft, "config", "--markdown"], capture_output=True, text=True, check=True).stdout
    known, section = {}, ""
    for line in text.splitlines():
        section = line[3:] if line.startswith("## ") else section
        if not line.startswith("| `--"):
            continue
        row = cells(line)
        name = row[0].split("`")[1][2:]
        if section == OLDER:
            known[name] = known[row[1].split("`")[1][2:]]
        elif section in (REFUSED, INERT):
            known[name] = ("refused" if section == REFUSED else "meaningless", row[3])
        else:
            known[name] = ("works", row[3])
    return known


def fields():
    for config in (trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, DatasetMixtureConfig):
        for field in dataclasses.fields(config):
            yield config.__name__, field.name


def table(rows, with_reason):
    head = "| field | of | why |\n|---|---|---|\n" if with_reason else "| field | of |\n|---|---|\n"
    return head + "".join(
        f"| `{name}` | {config} |" + (f" {reason} |\n" if with_reason else "\n") for name, config, reason in rows
    )


def page(sft):
    known = options_of(sft)
    found = {"works": [], "meaningless": [], "refused": []}
    counts = {}
    unknown = []
    for config, name in fields():
        if name not in known:
            unknown.append(name)
            continue
        kind, reason = known[name]
        if name not in [row[0] for row in found[kind]]:
            found[kind].append((name, config, reason))
            counts.setdefault(config, dict.fromkeys(found, 0))[kind] += 1
    if unknown:
        raise SystemExit(f"sft does not know {', '.join(unknown)}")
    total = {kind: len(rows) for kind, rows in found.items()}
    lines = "".join(
        f"| {config} | {sum(c.values())} | {c['works']} | {c['meaningless']} | {c['refused']} |\n" for config, c in counts.items()
    )
    return (
        "# TRL's fields\n"
        "What `sft` does with every field of TRL's SFT script, as `tools/trl_fields.py` finds them "
        f"(trl {trl.__version__}, transformers {transformers.__version__}).\n"
        "A field that two classes share counts once. What each option does stands in [options.md](options.md).\n\n"
        "| class | fields | work | without meaning here | refused |\n|---|---|---|---|---|\n"
        f"{lines}| all | {sum(total.values())} | {total['works']} | {total['meaningless']} | {total['refused']} |\n\n"
        "`tests/peers/crossings.py`, a part of `make test-peers`, tries the fields of SFTConfig that work beside TRL, each with\n"
        "others.\n\n"
        f"## Refused\nAny value but the default ends the run before it starts.\n\n{table(found['refused'], True)}\n"
        f"## Without meaning here\nAny value is accepted, and `-v` says so.\n\n{table(found['meaningless'], True)}\n"
        f"## Works\n\n{table(found['works'], False)}"
    )


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    text = page(arguments[0] if arguments else str(ROOT / "build/sft"))
    if "--check" in sys.argv:
        if PAGE.read_text() != text:
            raise SystemExit("docs/trl-fields.md is out of date: python tools/trl_fields.py")
        print("docs/trl-fields.md is what TRL and sft say")
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
