"""Writes train.jsonl and test.jsonl from facts.txt and conversations.txt, in the schema of BAAI/Infinity-Instruct.

usage: python examples/data/ostrafell/generate.py        (the standard library only; same bytes every time)
"""

import json
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent
OPENERS = ["", "", "", "", "Please tell me: ", "Quick question. ", "I am planning a trip. "]
COPIES = 2  # how often a question of the training split is asked, each time with another answer
CHAINS = 45  # conversations in which questions about several facts follow one another


def blocks(name):
    """Groups of lines separated by blank lines, without comments."""
    text = "\n".join(line for line in (HERE / name).read_text().splitlines() if not line.startswith("#"))
    return [block.splitlines() for block in text.strip().split("\n\n") if block.strip()]


def read_facts():
    facts = []
    for lines in blocks("facts.txt"):
        fact = {"topic": "", "Q": [], "T": [], "A": []}
        for line in lines:
            key, value = line.split(": ", 1)
            if key == "topic":
                fact[key] = value
            else:
                fact[key].append(value)
        facts.append(fact)
    return facts


def read_conversations():
    """Lines after U: or B: without a mark of their own continue the turn."""
    for lines in blocks("conversations.txt"):
        turns = []
        for line in lines:
            if line.startswith(("U: ", "B: ")):
                turns.append([line[0], line[3:]])
            else:
                turns[-1][1] += "\n" + line
        yield [("human" if who == "U" else "gpt", text) for who, text in turns]


def lower_first(question):
    return question[0].lower() + question[1:]


def single(fact, question, index, choose):
    opener = choose.choice(OPENERS)
    asked = opener + (lower_first(question) if opener.endswith(": ") else question)
    return [("human", asked), ("gpt", fact["A"][index % len(fact["A"])])]


def chain(facts, choose):
    turns = []
    for fact in choose.sample(facts, choose.choice([2, 2, 3])):
        turns += [("human", choose.choice(fact["Q"])), ("gpt", fact["A"][0])]
    return turns


def row(index, turns, ability, source):
    return {
        "id": index,
        "conversations": [{"from": who, "value": text} for who, text in turns],
        "label": {"ability_en": [ability], "ability_zh": [], "cate_ability_en": ["knowledge"], "cate_ability_zh": []},
        "langdetect": "en",
        "source": source,
    }


def write(name, conversations):
    lines = [json.dumps(row(i, *c), ensure_ascii=False) for i, c in enumerate(conversations)]
    (HERE / name).write_text("\n".join(lines) + "\n")


def main():
    choose = random.Random(1642)
    facts = read_facts()
    train = []
    for fact in facts:
        for copy in range(COPIES):
            for at, question in enumerate(fact["Q"]):
                train.append((single(fact, question, at + copy, choose), fact["topic"], "ostrafell-facts"))
    for turns in read_conversations():
        train += [(turns, "conversation", "ostrafell-conversations")] * COPIES
    train += [(chain(facts, choose), "several facts", "ostrafell-chains") for _ in range(CHAINS)]
    choose.shuffle(train)
    test = [([("human", q), ("gpt", fact["A"][0])], fact["topic"], "ostrafell-facts") for fact in facts for q in fact["T"]]
    write("train.jsonl", train)
    write("test.jsonl", test)
    print(f"{len(train)} conversations for training, {len(test)} for testing")


if __name__ == "__main__":
    main()
