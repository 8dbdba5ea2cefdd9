"""training_templates.py PROBE [OUT.json]: what assistant_only_loss trains, against TRL's training templates.

For each chat template that TRL replaces under assistant_only_loss (trl/chat_templates/X.jinja by X_training.jinja), many
conversations: the text that is tokenised and the characters of it that are trained, as TRL has them and as template_probe
gives them for the template as the model ships it. Needs trl and transformers. Prints one line a template; OUT.json gets
the counts: same, the text differs, the trained part differs, refused by one side alone."""

import glob
import itertools
import json
import os
import subprocess
import sys

sys.path[:0] = ["tools/golden", "tests/peers"]
import chat_template as G  # noqa: E402
import trl  # noqa: E402

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


CHATS = {
    "one turn": [say("user", "Hi"), say("assistant", "Hello there.")],
    "system": [say("system", "Be brief."), say("user", "Hi"), say("assistant", "Hello.")],
    "turns": [say("user", "a"), say("assistant", "one"), say("user", "b"), say("assistant", "two"), say("user", "c"), say("assistant", "three")],
    "same answers": [say("user", "a"), say("assistant", "yes"), say("user", "a"), say("assistant", "yes")],
    "think at the end": [say("user", "q"), say("assistant", "<think>\nhm\n</think>\n\nanswer")],
    "think in every turn": [say("user", "q"), say("assistant", "<think>\nfirst\n</think>\n\none"), say("user", "r"),
                            say("assistant", "<think>\nsecond\n</think>\n\ntwo")],
    "think in the first": [say("user", "q"), say("assistant", "<think>\nfirst\n</think>\n\none"), say("user", "r"), say("assistant", "two")],
    "empty think": [say("user", "q"), say("assistant", "<think>\n\n</think>\n\none"), say("user", "r"), say("assistant", "two")],
    "reasoning field": [say("user", "q"), say("assistant", "one", reasoning_content="why"), say("user", "r"), say("assistant", "two", reasoning_content="because")],
    "tool call": [say("user", "w?"), say("assistant", "", tool_calls=[call("weather", {"town": "Köln", "days": 3})]), say("tool", "rain", name="weather"),
                  say("assistant", "It rains.")],
    "tool call, text before": [say("user", "w?"), say("assistant", "Let me see.", tool_calls=[call("weather", {"town": "X"})]), say("tool", "sun", name="weather"),
                               say("assistant", "Sun."), say("user", "thanks"), say("assistant", "welcome")],
    "two calls": [say("user", "w?"), say("assistant", None, tool_calls=[call("weather", {"town": "X"}), call("stop", {})]), say("tool", "sun", name="weather"),
                  say("tool", "ok", name="stop"), say("assistant", "Sun.")],
    "unicode": [say("user", "日本語?"), say("assistant", "はい 🎉\n"), say("user", " spaces "), say("assistant", "  kept?  ")],
    "assistant last is empty": [say("user", "q"), say("assistant", "")],
    "prefill": [say("assistant", "I begin."), say("user", "q"), say("assistant", "a")],
}  # fmt: skip


def trained(answer):
    marks = [False] * len(answer["text"].encode())
    for begin, end in answer["gen"]:
        marks[begin:end] = [True] * (end - begin)
    return marks


folder = os.path.join(os.path.dirname(trl.__file__), "chat_templates")
cases = []
for marked in sorted(glob.glob(folder + "/*_training.jinja")):
    name = os.path.basename(marked).removesuffix("_training.jinja")
    shipped = open(f"{folder}/{name}.jinja", encoding="utf-8").read()
    training = open(marked, encoding="utf-8").read()
    for (chat, messages), tools in itertools.product(CHATS.items(), (None, G.TOOLS)):
        base = {"messages": messages, "special": SPECIAL, "tools": tools}
        cases.append((name, chat, {**base, "template": shipped, "assistant": True}, {**base, "template": training}))

asked = "\n".join(json.dumps(ours) for _, _, ours, _ in cases) + "\n"
answers = subprocess.run([sys.argv[1]], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
counts, shown = {}, set()
for (name, chat, _, case), line in zip(cases, answers, strict=True):
    ours, theirs = json.loads(line), G.reference(case)
    if "error" in theirs and "error" in ours:
        kind = "refused by both"
    elif "error" in theirs:
        kind = "TRL refuses"
    elif "error" in ours:
        kind = "sft refuses"
    elif ours["text"] != theirs["text"]:
        kind = "text differs"
    elif trained(ours) != trained(theirs):
        kind = "trained part differs"
    else:
        kind = "same"
    row = counts.setdefault(name, {})
    row[kind] = row.get(kind, 0) + 1
    if kind not in ("same", "refused by both") and (name, kind) not in shown:
        shown.add((name, kind))
        print(f"--- {name}, {chat}: {kind}\n  TRL {json.dumps(theirs, ensure_ascii=False)[:500]}\n  sft {json.dumps(ours, ensure_ascii=False)[:500]}")
for name, row in counts.items():
    print(f"{name}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(row.items())))
if len(sys.argv) > 2:
    with open(sys.argv[2], "w") as out:
        json.dump({"trl": trl.__version__, "templates": counts}, out, indent=1, sort_keys=True)
        out.write("\n")
