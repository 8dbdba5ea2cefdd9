#!/usr/bin/env python3
"""Pictures of the page of a real run, for README.md: docs/pictures/{desktop,phone,dark}.png.

usage: tools/screenshots.py SFT CHROMIUM RUN_FOLDER     (Debian: chromium; RUN_FOLDER is a run's output_dir)
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/browser"))
from chrome import Chrome  # noqa: E402


def main():
    sft, chromium, folder = sys.argv[1:4]
    out = ROOT / "docs/pictures"
    out.mkdir(exist_ok=True)
    server = subprocess.Popen([sft, "watch", folder], stderr=subprocess.PIPE, text=True)
    chrome = Chrome(chromium)
    try:
        address = server.stderr.readline().split()[1]
        for name, width, height, dark in (("desktop", 1100, 900, False), ("phone", 390, 844, False),
                                          ("dark", 1100, 900, True)):
            page = chrome.page(width, height, dark)
            page.open(address)
            page.until("document.body.dataset.offset")
            (out / f"{name}.png").write_bytes(page.picture())
    finally:
        chrome.close()
        server.kill()


if __name__ == "__main__":
    main()
