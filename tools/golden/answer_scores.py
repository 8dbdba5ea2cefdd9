#!/usr/bin/env python3
"""ROUGE-L of pairs of texts as Google's rouge_score computes it, for tests/text/answer_scores_test.cpp.

usage: tools/golden/answer_scores.py > tests/text/golden/answer_scores.json      needs: rouge-score
"""
import json
import random

from rouge_score import rouge_scorer

PAIRS = [
    ["the miller grinds wheat", "the miller grinds wheat"],
    ["The Miller grinds, wheat!", "wheat is ground by the miller"],
    ["", "something"],
    ["something", ""],
    ["...", "?!"],
    ["Zürich's lake-side café", "the cafe at the lake side of Zurich"],
    ["300 \u212Aelvin and \u0130stanbul", "300 kelvin and i stanbul"],
    ["a b c d e f g", "g f e d c b a"],
    ["one two two three", "two one two three three"],
    ["snake_case and CamelCase, 3.14", "snake case and camelcase 3 14"],
    ["日本語 answer", "日本語 answer"],
]


def main():
    rng = random.Random(7)
    words = "a an the of cat dog Cat runs RUNS 12 x9 it's don't end. (so) naïve".split()
    for _ in range(60):
        PAIRS.append([" ".join(rng.choices(words, k=rng.randint(0, 14))), " ".join(rng.choices(words, k=rng.randint(0, 14)))])
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    out = [{"answer": a, "wanted": w, "rougeL": scorer.score(w, a)["rougeL"].fmeasure} for a, w in PAIRS]
    print("[\n" + ",\n".join(json.dumps(one) for one in out) + "\n]")


main()
