"""Writes tests/chat/golden/chat_templates.json: templates, conversations and what transformers renders.

Run from the repository root with a Python that has transformers and jinja2:
    python tools/golden/chat_template.py
Each case holds template, messages and options as the program takes them, and either `text` with the
byte ranges `gen` of its generation blocks, or `error` (and `raised`, where the template itself spoke).
"""

import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils

OUT = pathlib.Path("tests/chat/golden/chat_templates.json")


def reference(case):
    """The case's result as transformers gives it."""
    template = case["template"]
    kwargs = {**case.get("special", {}), **(case.get("kwargs") or {})}
    try:
        # As a tokenizer's apply_chat_template does first: null members are dropped.
        messages = chat_template_utils._normalize_chat_messages(case["messages"])
        rendered, spans = chat_template_utils.render_jinja_template(
            conversations=[messages],
            tools=case.get("tools"),
            documents=case.get("documents"),
            chat_template=template,
            return_assistant_tokens_mask="generation" in template,
            continue_final_message=case.get("cont", False),
            add_generation_prompt=case.get("agp", False),
            **kwargs,
        )
    except Exception as e:  # whatever Python raises, the case is an error
        result = {"error": f"{type(e).__name__}: {e}"}
        if type(e) is jinja2.exceptions.TemplateError:
            result["raised"] = e.message
        return result
    text = rendered[0]
    offset = lambda n: len(text[:n].encode())
    return {"text": text, "gen": [[offset(a), offset(b)] for a, b in (spans[0] if spans else [])]}


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a town, \"now\" or later",
            "parameters": {
                "type": "object",
                "properties": {
                    "town": {"type": "string", "description": "Its name (größer als ein Dorf)"},
                    "days": {"type": "integer", "default": 1, "enum": [1, 3, 7]},
                    "metric": {"type": "boolean"},
                },
                "required": ["town"],
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "", "parameters": {}}},
]

CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"town": "Köln", "days": 3}}},
        {"type": "function", "function": {"name": "stop", "arguments": "{\"a\": 1}"}},
    ],
}

CHATS = {
    "short": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."}],
    "system": [
        {"role": "system", "content": "Be brief. "},
        {"role": "user", "content": "  What is 2+2?\n"},
        {"role": "assistant", "content": " 4 \n"},
        {"role": "user", "content": "Sure? 日本語 🎉"},
        {"role": "assistant", "content": "Yes <b>&amp;</b> 'quoted' \"twice\""},
    ],
    "thinking": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nOne."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Two.", "reasoning_content": "\neasy\n"},
    ],
    "tools": [
        {"role": "user", "content": "Weather in Köln?"},
        CALL,
        {"role": "tool", "name": "weather", "content": "{\"t\": 21.5}"},
        {"role": "tool", "name": "stop", "content": "ok"},
        {"role": "assistant", "content": "21.5 degrees."},
    ],
    "blocks": [
        {"role": "user", "content": [{"type": "text", "text": " look "}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
    ],
    "open": [{"role": "user", "content": "Hello"}],
    "nothing": [],
    "odd": [{"role": "user", "content": None}, {"role": "narrator", "content": "..."}],
}

# Short templates of our own, in the styles that models are published with.
TEMPLATES = {
    "lines": """{% for m in messages %}<|{{ m['role'] }}|>
{{ m['content'] }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}""",
    "dashes": """{{- bos_token }}
{%- set ns = namespace(turns=0, last=none) %}
{%- for m in messages %}
    {%- if m.role == 'system' and not loop.first %}
        {{- raise_exception('system message at ' ~ loop.index0) }}
    {%- endif %}
    {%- set ns.turns = ns.turns + 1 %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'assistant' %}
        {{- '[A]' }}
        {%- generation %}
            {{- content | trim + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- '[' + m.role[0] | upper + ']' + content }}
    {%- endif %}
{%- endfor %}
{{- '|' ~ ns.turns ~ '|' }}
{%- if add_generation_prompt %}
    {{- '[A]' }}
{%- endif %}
""",
    "tooling": """{%- macro show(call) %}
    {%- if call.function is defined %}{% set call = call.function %}{% endif %}
    {{- '<call>' ~ call.name ~ '(' }}
    {%- if call.arguments is string %}{{ call.arguments }}{% else %}{{ call.arguments | tojson }}{% endif %}
    {{- ')</call>' }}
{%- endmacro %}
{%- if tools %}
    {{- 'TOOLS:' }}
    {%- for tool in tools %}
        {{- '\\n' ~ (tool | tojson) }}
    {%- endfor %}
    {{- '\\n' ~ (tools | tojson(indent=2)) ~ '\\n' }}
    {{- tools | map(attribute='function.name') | join(', ') }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<results>' }}{% endif %}
        {{- '[' ~ m.name ~ ': ' ~ m.content ~ ']' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}{{ '</results>\\n' }}{% endif %}
    {%- else %}
        {{- m.role ~ ': ' }}
        {%- generation %}{{ m.content }}{%- for c in m.tool_calls %}{{ show(c) }}{% endfor %}{%- endgeneration %}
        {{- '\\n' }}
    {%- endif %}
{%- endfor %}
""",
    "reasoning": """{%- set ns = namespace(last=messages | length - 1, seen=false) %}
{%- for m in messages[::-1] %}
    {%- set i = (messages | length - 1) - loop.index0 %}
    {%- if not ns.seen and m.role == 'user' and m.content is string and not m.content.startswith('<r>') %}
        {%- set ns.seen = true %}{%- set ns.last = i %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- set thought = '' %}
    {%- if m.reasoning_content is string %}
        {%- set thought = m.reasoning_content %}
    {%- elif '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<' + m.role + '>' }}
    {%- if m.role == 'assistant' and loop.index0 > ns.last %}
        {{- '<think>' + thought.strip('\\n') + '</think>' }}
    {%- endif %}
    {{- content + '</' + m.role + '>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<assistant>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}
{%- endif %}""",
    "alternating": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = messages[0]['content'] + '\n\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set first = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must alternate") }}
    {%- endif -%}
    {{ '<turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (first if loop.first else "") }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for b in m['content'] -%}
            {%- if b['type'] == 'image' -%}{{ '<img>' }}{%- elif b['type'] == 'text' -%}{{ b['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("invalid content") }}
    {%- endif -%}
    {{ '<end>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<turn>model\n' }}{%- endif -%}
""",
    "closing": """{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '<|end|>\n' }}{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}""",
}

DATA = {
    "n": 7,
    "x": 2.5,
    "s": "  Hello Wörld  ",
    "empty": "",
    "l": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "d": {"b": 1, "a": [1, 2.0, None, True], "items": "key", "ß": "ü\n\"'"},
    "people": [
        {"name": "Ann", "age": 30, "home": {"town": "Ulm"}},
        {"name": "bob", "age": 25, "home": {"town": "Aue"}},
        {"name": "Cid", "age": 30, "home": {}},
    ],
}

# One expression a line; each becomes {{ expression }} with the variables of DATA.
EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, 7.5 // 2, -7.5 % 2, 2 ** 10, 2 ** -1, -2 ** 2
1 / 3, 1e16, 1e15, 123456789012345680.0, 1e-5, 0.0001, 0.1 + 0.2, 100.0, 1.5e300 * 1.0
10 / 0
10 % 0
1.0 // 0
9223372036854775807
0x1F, 0b101, 0o17, 1_000, 1_0.5
"a" ~ 1 ~ none ~ true ~ 1.0 ~ [1, "x"] ~ nothing
"a" "b" 'c\n\t\\\'\x41\u00e9'
"a" + 1
1 + "a"
"ab" * 3, [1] * 2, 2 * "x", "x" * -1, (1, 2) + (3,), [1] + [2]
[1, 'two', 3.0, none, true, {'k': "it's"}, (1,), ()]
{'a': 1, 2: 'b', none: [1], (1, 2): 3}
"it's", ["it's", 'say "hi"', 'both \' and "', "tab\tnl\n\x00\x7f\xa0é日🎉​"]
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0, true == 1, "a" < "b", [1, 2] < [1, 3], none == none, 1 != 2
"a" < 1
none < 1
1 in [1, 2], 4 not in [1, 2], "el" in "hello", "k" in {"k": 1}, 3 in range(5), 1 in nothing
1 in "abc"
1 in 5
not true, not "", not [0], true and 0, false or "x", 0 or none, 1 and 2 and 3
"yes" if n > 3 else "no", ("only" if n > 100)
("only" if n > 100) + "x"
-n, +x, -true, -x | abs, - 5 | abs, (-5) | abs
-s
nothing, nothing is defined, nothing == other, nothing | default("d"), nothing | length, nothing | list
nothing.a
nothing["a"]
nothing + 1
"a" + nothing
nothing()
nothing < 1
d.missing, d["missing"] | default("x"), d.b, d["b"], d.get("b"), d.get("z", 0), d.get("z")
d.missing.deeper
d.items() | list, d.keys() | list, d.values() | list, d | items | list, d["items"]
d.keys(), d.values(), d.items() | length, d.items() is sequence, d.items()[0]
d.pop("b")
d.update({})
l.append(4)
l.append, d.clear is defined, d["__class__"], d.__class__
d.__class__.__name__
l[0], l[-1], l[5], l["0"], l[1.0], l.0, l[true]
l[1:], l[:-1], l[::-1], l[::2], l[5:], l[-2:], l[2:0:-1], s[2:7], s[::-1], "äöü"[1], "äöü"[-1], "äöü"[1:]
l[::0]
l["a":]
(1, 2, 3)[1:], range(10)[2:5], range(10)[3], range(3), range(1, 10, 3) | list, range(5, 0, -2) | list
range(1000000)
range(3) | list | string, range(0) | length, (range(3) | sum)
s | trim, s | upper, s | lower, s | title, s | capitalize, s | length, s | trim | length, s | wordcount
s.strip(), s.lstrip(), s.rstrip(), s.strip(" Hd"), s.upper(), s.title(), "x-y z".title(), "x-y z(a)" | title
"a,b,,c".split(","), "a,b,,c".split(",", 1), "a,b,,c".rsplit(",", 1), " a  b ".split(), " a  b c ".split(none, 1), " a b c ".rsplit(none, 1), "".split(), "".split(",")
"abc".split("")
"a\nb\r\nc\x0bd".splitlines(), "a\n".splitlines(true), "abc".partition("b"), "abc".partition("z"), "abcb".rpartition("b")
"abcabc".find("c"), "abcabc".rfind("c"), "abc".find("z"), "äbc".find("c"), "abcabc".index("b"), "abcabc".count("bc"), "abc".count(""), "abc".find("c", 0, 2), "abc".find("", 5)
"abc".index("z")
"abc".startswith("ab"), "abc".endswith("bc"), "abc".startswith(("x", "a")), "abc".startswith("b", 1), "abc".endswith("b", 0, 2)
"abc".startswith(1)
"aXbX".replace("X", "-"), "aXbX".replace("X", "-", 1), "ab".replace("", "."), "aXbX" | replace("X", 1), "aXbX" | replace("X", "-", 1)
"-".join(["a", "b"]), "-".join("abc"), "-".join([])
"-".join([1])
"abc".center(8, "*"), "abc".center(7), "ab".ljust(4, ".") ~ "|", "ab".rjust(4) ~ "|", "-5".zfill(4), "abc" | center(9) ~ "|"
"abc".removeprefix("a"), "abc".removesuffix("c"), "aBc".swapcase(), "ß".casefold(), "a\tb".expandtabs(4)
"abc".isalpha(), "123".isdigit(), "a1".isalnum(), " ".isspace(), "Abc Def".istitle(), "abc".islower(), "ABC".isupper(), "".isalpha(), "a_1".isidentifier(), "é".isascii(), "½".isnumeric()
"straße ŉ ﬁ".upper(), "ÀÉ ΣΑΣ İ".lower(), "ßa ﬁx".title(), "ßA".capitalize(), "ǆ".title()
"%s is %d, %5.2f|%-5s|%05d|%x|%r|%%" % ("a", 3.7, 2.345, "b", 42, 255, "c")
"%(a)s-%(b)s" % {"a": 1, "b": 2}, "%s" % "x", "%s" % [1], "%s %s" | format(1, "b"), "%(k)s" | format(k=3), "%e %g" % (12345.678, 0.00001)
"%d" % "x"
"%s %s" % ("a",)
"%s" % ("a", "b")
"{} {}".format(1, "a"), "{1}{0}".format("a", "b"), "{k:>5}|{k:<5}|{k:^5}".format(k="x"), "{:05.1f} {:,} {:x} {!r}".format(2.25, 1234567, 255, "q"), "{0[a]} {1.b}".format({"a": 1}, {"b": 2}), "{{}}".format()
"{} {}".format(1)
"{:d}".format("x")
l | first, l | last, l | min, l | max, l | sum, l | sort, l | sort(reverse=true), l | reverse | list, l | join("-"), l | length, [] | first, [] | max
words | sort, words | sort(case_sensitive=true), words | unique | list, words | unique(true) | list, words | map("upper") | join(","), words | select("in", ["fig"]) | list, words | max
people | map(attribute="name") | list, people | map(attribute="home.town", default="?") | list, people | map(attribute="home.town") | list | length
people | selectattr("age", "eq", 30) | map(attribute="name") | join(" "), people | rejectattr("age", "equalto", 30) | map(attribute="name") | list, people | selectattr("home.town") | list | length
people | sort(attribute="name") | map(attribute="name") | list, people | sort(attribute="age,name", case_sensitive=true) | map(attribute="name") | list, people | sum(attribute="age"), people | min(attribute="age")
people | groupby("age"), (people | groupby("age") | first).grouper, (people | groupby("age"))[1].list | length
[1, 2, 3, 4] | select("odd") | list, [1, 2, 3, 4] | reject("even") | list, [0, 1, "", "a"] | select | list, [0, 1, none] | reject | list, [1, 5] | select("gt", 2) | list, [1, 5] | select("divisibleby", 5) | list
l | select("odd") | length
l | map("upper") is sequence, (l | select("gt", 99)) and "truthy", l | map("string") | first, (l | map("abs"))[0], l | reverse is iterable
[1, "a"] | sort
[1, 2, 3, 4, 5] | batch(2) | list, [1, 2, 3, 4, 5] | batch(2, "x") | list, [1, 2, 3, 4, 5] | slice(2) | list, [1, 2, 3, 4, 5] | slice(3, "x") | list
d | dictsort | map("first") | list, {"B": 2, "a": 1} | dictsort, {"B": 2, "a": 1} | dictsort(true), {"B": 1, "a": 2} | dictsort(false, "value"), {"b": 1, "a": 2} | dictsort(reverse=true)
"3" | int, "3.7" | int, "x" | int, "x" | int(5), "0x1f" | int(0, 16), 3.9 | int, true | int, "3.5" | float, "x" | float, " 4 " | int, "1_0" | int, "1e3" | float, none | int, [] | int(9)
2.5 | round, 3.5 | round, 2.675 | round(2), 1234.5 | round(-2), 42 | round, 2.1 | round(0, "ceil"), 2.9 | round(0, "floor"), 2.55 | round(1, "ceil"), -2.5 | round
-3 | abs, 3.5 | abs, 7 | string ~ "!", none | string, l | string, "abc" | list, d | list, "abc" | reverse, "abc" | first, "abc" | last
"a\nb\n\nc" | indent, "a\nb" | indent(2, true), "a\n\nb" | indent(2, false, true), "a\nb" | indent("> ")
"a long sentence of words" | truncate(12), "a long sentence of words" | truncate(12, true), "short" | truncate(5), "a long sentence of words" | truncate(9, false, "!", 0)
"<a href='x'>&\"" | escape, "<b>" | e, ("<b>" | safe) + "<i>", "<i>" + ("<b>" | safe), ("<b>" | safe) ~ "<i>", "<b>" | safe | upper, "<b>" | forceescape, ["<b>" | safe], "<b>" | escape | escape
d | tojson, l | tojson, "é\n\"/<>&'\u2028\x01" | tojson, "é🎉" | tojson(ensure_ascii=true), 1.0 | tojson, none | tojson, true | tojson, [] | tojson, {} | tojson, (1, 2) | tojson, {1: 2, none: 3, true: 4, 1.5: 5} | tojson
d | tojson(indent=2), [[], {}, [1, {"a": []}]] | tojson(indent=4), d | tojson(separators=(",", ":")), d | tojson(sort_keys=true), [1, 2] | tojson(indent=0), [1] | tojson(indent="\t"), d | tojson(indent=1, separators=(" ,", " :"), sort_keys=true)
nothing | tojson
range(3) | tojson
1 is odd, 2 is even, 9 is divisibleby 3, 9 is divisibleby(2), none is none, 1 is not none, "a" is string, 1 is number, 1.0 is float, 1 is integer, true is integer, true is boolean, true is number, true is true, 1 is true, false is false
d is mapping, l is mapping, l is sequence, "a" is sequence, 1 is sequence, l is iterable, 1 is iterable, d is iterable, nothing is iterable, nothing is sequence, nothing is undefined, range is callable, l is callable
1 is eq 1, 1 is ne 2, 1 is lt 2, 2 is gt 1, 1 is le 1, 1 is ge 2, 1 is in [1], "a" is in "abc", 1 is sameas 1, true is sameas 1, "abc" is lower, "ABC" is upper, "Abc" is lower, "trim" is filter, "odd" is test, "zzz" is filter
not 1 is odd, 1 is odd and 2 is odd, "x" is defined and s is string, n is not odd, n + 1 is even
"a" is odd
1 | nosuchfilter
1 is nosuchtest
nosuchfunction(1)
dict(a=1, b=2), dict([["x", 1]]), dict({"a": 1}, b=2), namespace(a=1).a, namespace({"z": 1}).z, namespace(a=1)
joiner("; ")() ~ "x", cycler("a", "b").next(), cycler(1, 2).current
cycler()
raise_exception("no " ~ n)
"abc".foo is defined, l.foo is defined, none.x, 5["a"], true.x | default("u")
loop is defined, varargs is defined
[1, [2, [3, [4]]]], {"a": {"b": {"c": 1}}}, ((1, 2), [3, (4,)])
[1, 2,], {"a": 1,}, (1,), dict(a=1,)
"a" if true else "b" if false else "c", ("a" if false else "b") ~ "c"
"%s" % nothing, "{}".format(nothing), [nothing], nothing | string, nothing | upper, nothing | join(","), nothing | trim
"x" | default("y"), "" | default("y"), "" | default("y", true), none | default("y"), none | d("y", boolean=true), 0 | default(1, true)
people[0].name, people[-1]["home"].town, people[0].home.town.upper()[0], (people | first).name, people[0]["na" ~ "me"]
"abc" | attr("upper") is callable, d | attr("b") is defined, ("abc" | attr("upper"))()
[3, 1] == [3, 1], {"a": 1} == {"a": 1.0}, (1,) == [1], "1" == 1, [1] != [2], nothing != 1, range(2) == range(0, 2)
(1, 2), (), (1, (2, 3)) | length, 1, 2
"\d \q \" \101 \N"
"a" % "b"
""".strip("\n").split("\n")

# Statements, scopes, white space: whole templates over DATA.
SNIPPETS = [
    "{% set a = 1 %}{% for i in l %}{% set a = a + i %}{{ a }},{% endfor %}{{ a }}",
    "{% set ns = namespace(a=1) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ',' if not loop.last }}{% else %}none{% endfor %}",
    "{% for i in [] %}x{% else %}{% set q = 1 %}empty{{ q }}{% endfor %}{{ q is defined }}",
    "{% for i in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.changed(i > 1) }};{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(3) %}{% for j in range(3) %}{% if j > i %}{% break %}{% endif %}{{ loop.index }}{{ i }}{{ j }} {% endfor %}{{ loop.index }}|{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]], [4, [5, 6]]] %}{{ a }}{{ b }}{{ c }} {% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "{% for c in 'äb' %}[{{ c }}]{% endfor %}{% for x in 5 %}{% endfor %}",
    "{% for x in nothing %}a{% else %}b{% endfor %}",
    "{% for x in l if x > loop.index %}{{ x }}{% endfor %}",
    "{% for x in l | map('string') %}{{ x }}{{ loop.length }}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}{% if nothing %}x{% elif [] %}y{% elif 'z' %}z{% endif %}",
    "{% set a, b = 1, [2] %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t }}",
    "{% set x %}  block {{ n }} {% set inner = 1 %}{% endset %}[{{ x }}]{{ inner is defined }}{% set y | trim | upper %} up {% endset %}{{ y }}",
    "{% macro m(a, b=2, *c) %}{% endmacro %}",
    "{% macro m(a, b=a ~ '!') %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 2) }} {{ m(b=3, a=4) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, z=2) }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{{ n }}{% endcall %}",
    "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b=5) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro f(n) %}{% if n > 1 %}{{ n * (f(n - 1) | int) }}{% else %}1{% endif %}{% endmacro %}{{ f(10) }}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% set x = 5 %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}{{ x }}",
    "{% for i in l %}{% macro m() %}{{ i }}{{ loop.index }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m(x) %}{{ x | length }}{% endmacro %}{{ m.name }}{{ m is callable }}{{ m }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 2 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% filter upper %}abc {{ n }}{% endfilter %}{% filter replace('a', 'b') | trim %} aaa {% endfilter %}",
    "{% raw %}{{ not }} {% rendered %}{% endraw %}|{%- raw -%}  x  {%- endraw -%}  y",
    "a {# comment #} b {#- c -#} d\n{# line #}\nnext",
    "  {% if true %}\n    yes\n  {% endif %}\n  end\n",
    "  {%- if true -%}\n    yes\n  {%- endif -%}\n  end\n\n",
    "  {%+ if true +%}\n    yes\n  {%+ endif %}\n  {{ n }}\n  {{- n -}}\n x",
    "x\n  {% set a = 1 %}\n  y {% set b = 2 %} z\n\t{# c #}\n{{ a }}\n\n{{ b }}\n",
    "{{ '{{' }}{{ '%}' }}{% set x = {'a': {'b': 1}} %}{{ x['a']['b'] }}{{ {'a': 1}['a'] }}",
    "line\r\nnext\rlast\r\n",
    "{% generation %}a{% endgeneration %}b{% for i in l %}{% generation %}{{ i }}ü{% endgeneration %}{{ i }}{% endfor %}",
    "{% set a = 1 %}{% generation %}{% set a = 2 %}{{ a }}{% endgeneration %}{{ a }}",
    "{% for i in l %}{% generation %}{{ loop.index }}{{ i }}{% endgeneration %}{% endfor %}",
    "{% print n, 'x' %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set d.x = 1 %}",
    "{% set ns = namespace(l=[]) %}{% for i in range(3) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}{{ ns.zz is defined }}{{ ns['l'] }}",
    "{% if n is defined and n is number %}{% set kind = 'n' %}{% endif %}{{ kind }}{% if false %}{% set other = 1 %}{% endif %}{{ other }}",
    "{% for i in l %}{% if i == 1 %}{% set n = 100 %}{% endif %}{{ n }} {% endfor %}{{ n }}",
    "{% for n in l %}{{ n }}{% endfor %}{{ n }}",
    "{% set j = joiner('+') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}",
    "{% set f = '%s-%s' %}{{ f | format(*[1, 2]) }}{{ '{a}'.format(**{'a': 1}) }}{{ range(*[1, 3]) | list }}",
    "{% if %}x{% endif %}",
    "{% if n %}x",
    "{% endif %}",
    "{{ n",
    "{{ n }",
    "{{ 'open }}",
    "{{ (1, 2 }}",
    "{{ a b }}",
    "{{ 1 + }}",
    "{% for x l %}{% endfor %}",
    "{% set = 1 %}",
    "{% unknown %}",
    "{% do l.append(1) %}",
    "{# never closed",
    "{% raw %} never closed",
    "{% break %}",
    "{% set none = 1 %}",
    "{{ ? }}",
    "{{ 1 is is none }}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{{ n.0.1 }}{{ x.1 }}",
    "{{ f(a=1, 2) }}",
    "{% if n == 7: %}colon{% endif %}",
    "{% set n %}[{{ n }}]{% endset %}{{ n }}",
    "{% for i in l %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}",
    "{% for i in l %}{{ n }}{% endfor %}{% if x %}{% set n = 1 %}{% endif %}{{ n }}",
    "{% macro m() %}{{ n }}{% endmacro %}{{ m() }}{% set n = n + 1 %}{{ m() }}",
    "{{- s -}}",
    "{{-1}} {{ -1 }} {{+1}}",
]


def cases():
    for name, template in TEMPLATES.items():
        for chat, messages in CHATS.items():
            for prompt in (False, True):
                case = {"name": f"{name}/{chat}", "template": template, "messages": messages,
                        "special": SPECIAL, "agp": prompt}
                if chat == "tools":
                    case["tools"] = TOOLS
                if name == "reasoning":
                    case["kwargs"] = {"enable_thinking": False}
                yield case
        yield {"name": f"{name}/continue", "template": template, "messages": CHATS["system"],
               "special": SPECIAL, "cont": True}
    for expression in EXPRESSIONS:
        yield {"name": expression, "template": "{{ " + expression + " }}", "messages": [], "kwargs": DATA}
    for snippet in SNIPPETS:
        yield {"name": snippet, "template": snippet, "messages": [], "kwargs": DATA}


def main():
    result = [{**case, **reference(case)} for case in cases()]
    for case in result:  # the variables are written once
        if case.get("kwargs") is DATA:
            case["kwargs"] = "DATA"
        if case.get("tools") is TOOLS:
            case["tools"] = "TOOLS"
    # the templates and chats of the first part too
    for case in result:
        for table, key in ((TEMPLATES, "template"), (CHATS, "messages")):
            for name, value in table.items():
                if case[key] is value:
                    case[key] = {"use": name}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    tables = {"DATA": DATA, "TOOLS": TOOLS, "templates": TEMPLATES, "chats": CHATS, "cases": result}
    OUT.write_text(json.dumps(tables, ensure_ascii=False, indent=0) + "\n")
    errors = sum("error" in case for case in result)
    print(f"{len(result)} cases, {errors} of them errors, {OUT.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
