"""templates.py PROBE [CASES] [SEED] [FOLDER ...]: chat templates rendered by transformers' jinja2 and by template_probe.

The cases of tools/golden/chat_template.py, random templates from a grammar, and every *.jinja of the folders named with
many conversations: the same text to the byte and the same generation blocks, or both must refuse."""

import glob
import itertools
import json
import re
import subprocess
import sys

sys.path[:0] = ["tools/golden", "tests/peers"]
import chat_template as G  # noqa: E402
import template_grammar as grammar  # noqa: E402

probe, count, seed = sys.argv[1], int((sys.argv + ["5000"])[2]), int((sys.argv + ["", "1"])[3])
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
EXTRA = [{}, {"enable_thinking": False}, {"enable_thinking": True}, {"date_string": "1 Jan", "preserve_thinking": True}]


def call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def say(role, content, **more):
    return {"role": role, "content": content, **more}


CHATS = {
    **G.CHATS,
    "system alone": [say("system", "S")],
    "system late": [say("user", "a"), say("system", "S"), say("assistant", "b")],
    "developer": [say("developer", "D"), say("user", "a"), say("assistant", "b", thinking="hmm")],
    "two users": [say("user", "a"), say("user", "b"), say("assistant", "c"), say("assistant", "d")],
    "no content": [say("user", "w?"), say("assistant", None, tool_calls=[call("weather", {"town": "X"})]), say("tool", "r", name="weather"),
                   say("assistant", "ok"), say("user", ""), say("assistant", "", tool_calls=[])],
    "text arguments": [say("user", "w?"), say("assistant", "x", tool_calls=[call("f", '{"a": 1}')]), say("tool", "r", tool_call_id="1")],
    "reasoning": [say("user", "q"), say("assistant", "", reasoning_content="r1", tool_calls=[call("f", {"a": [1, 2.5, None, True, {"q": "é"}]})]),
                  say("tool", "res"), say("assistant", "answer", reasoning_content="r3"), say("user", "more"), say("assistant", "np")],
    "parts": [say("user", [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]), say("assistant", [{"type": "text", "text": "A"}])],
    "long": [say(["user", "assistant"][i % 2], f"turn {i} <think>t{i}</think> x\n") for i in range(10)],
}

cases = list(G.cases())
for file in sorted(itertools.chain(*(glob.glob(f + "/*.jinja") for f in sys.argv[4:]))):
    source = open(file).read()
    for (name, chat), prompt, tools, extra in itertools.product(CHATS.items(), (False, True), (None, G.TOOLS), EXTRA):
        cases.append({"name": f"{file} {name}", "template": source, "messages": chat, "special": SPECIAL, "agp": prompt, "tools": tools,
                      "kwargs": extra})
listed = len(cases)
grammar.seed(seed)
cases += [{"template": grammar.template(), "messages": [], "kwargs": G.DATA} for _ in range(count)]

asked = "\n".join(json.dumps(case) for case in cases) + "\n"
answers = subprocess.run([probe], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
different = refused = skipped = 0
for case, line in zip(cases, answers, strict=True):
    ours, theirs = json.loads(line), G.reference(case)
    if "text" in theirs and re.search(r" at 0x[0-9a-f]+>", theirs["text"], re.I):
        skipped += 1  # the address of a Python object
        continue
    same = ("error" in ours) == ("error" in theirs)
    if same and "error" in theirs:
        refused += 1
    elif same:
        marked = "generation" in case["template"]
        same = ours["text"] == theirs["text"] and (not marked or sorted(ours["gen"]) == sorted(theirs["gen"]))
    if not same:
        different += 1
        print(f"--- {case.get('name', case['template'][:300])}\n  jinja2 {str(theirs)[:400]}\n  sft    {str(ours)[:400]}")
print(f"templates: {len(cases)} cases ({listed} listed, {count} random, seed {seed}): {refused} refused by both, {skipped} skipped, {different} different")
sys.exit(different > 0)
