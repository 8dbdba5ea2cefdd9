"""compare.py NAME V4.json V5.json SFT.txt: the same ids, logits within 1e-4, the same greedy answer, an end token."""

import json
import sys

name, old, new, ours = sys.argv[1:]
a, b = json.load(open(old)), json.load(open(new))
problems = []
if a["ids"] != b["ids"]:
    problems.append(f"ids differ: {a['ids']} and {b['ids']}")
gap = max(abs(x - y) for r, s in zip(a["logits"], b["logits"]) for x, y in zip(r, s))
if not gap <= 1e-4:
    problems.append(f"logits differ by {gap}")
if a["eos"] is None or b["eos"] is None:
    problems.append("generation_config.json names no end of turn")
answer = open(ours).read().strip()
if b["answer"].strip() != answer:
    problems.append(f"sft answers {answer!r}, transformers {b['answer']!r}")
versions = f"transformers {a['transformers']} and {b['transformers']}"
print(f"{name}: {versions}: " + ("; ".join(problems) or f"logits within {gap:.1e}, the same answer"))
sys.exit(bool(problems))
