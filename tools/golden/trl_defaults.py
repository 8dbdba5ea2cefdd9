"""Writes every default of TRL's sft.py as a user would type it: tests/settings/golden/trl_defaults.txt.

Needs trl 1.16. Usage: python trl_defaults.py FILE
"""

import dataclasses
import enum
import sys

import trl


def typed(value):
    if value is None or value == []:
        return "none"
    if isinstance(value, enum.Enum):
        value = value.value
    return str(value)


def main():
    lines = []
    for config in (trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig):
        for field in dataclasses.fields(config):
            value = field.default
            if value is dataclasses.MISSING:
                value = field.default_factory()
            lines.append(f"{field.name}\t{typed(value)}\n")
    with open(sys.argv[1], "w") as out:
        out.writelines(lines)


if __name__ == "__main__":
    main()
