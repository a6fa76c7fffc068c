"""Whether `ErrorBound` keeps its promise where questions do not come in random order, and off its topics.

    python -m benchmarks.orders [--shuffles 3]

Orders of the Banking77 questions of `benchmarks.semantic`:

- random, and then the pairs of `question_pairs.csv.gz`: the first of a pair is stored, the second is asked;
- shift: one half of the intents, then the other;
- hard last: by how many of a question's eight nearest questions are of another intent that they agree on, so that what looks safest and is
  wrong comes at the very end;
- traps: 9,000 of the easier questions, then the 1,500 of which most neighbours share one wrong intent, in random order;
- easy, then hard: the easier half in random order, then the other;
- by intent: one intent after the other; bursts: in random order, but some thirty questions of one intent at a time.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import semantic
from benchmarks.measure import table
from benchmarks.semantic_entries import BANKING77
from llmthrift_core import Thrift
from llmthrift_core.cache import ErrorBound, SemanticCache
from llmthrift_core.embedding import DefaultEmbedder

PAIRS = BANKING77.with_name("question_pairs.csv.gz")
_BURSTS = 400
_SETTLED = 1_000  # requests, after which the share of wrong answers so far is looked at


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--shuffles", type=int, default=3)
    given = options.parse_args()
    if not BANKING77.exists() or not PAIRS.exists():
        print(f"Orders are not measured: {BANKING77} or {PAIRS} is absent")
        return
    semantic._read()
    with gzip.open(PAIRS, "rt", encoding="utf-8") as file:
        pairs = [(row["a"], row["b"], row["same_answer"] == "1") for row in csv.DictReader(file)]
    embedder = DefaultEmbedder()
    for text in {semantic._normalised(text) for pair in pairs for text in pair[:2]} - semantic._vectors.keys():
        semantic._vectors[text] = embedder([text])[0]
    rows = []
    for seed in range(given.shuffles):
        for name, order in _orders(seed):
            rows.append(_row(name, seed, order, pairs if name == "random" else ()))
            print(rows[-1], flush=True)
    header = ("order", "seed", "requests", "hits", "wrong", "highest so far", "near misses off topic", "equal questions off topic")
    print(table("ErrorBound(0.01)", header, rows))


def _orders(seed: int) -> Iterator[tuple[str, Any]]:
    chance = np.random.default_rng(seed)
    intents = np.unique(semantic._intents, return_inverse=True)[1]
    order = chance.permutation(len(intents))[: semantic.LENGTH]
    yield "random", order
    half = np.isin(intents[order], chance.permutation(intents.max() + 1)[: (intents.max() + 1) // 2])
    yield "shift", np.concatenate([order[half], order[~half]])
    vectors = np.array([semantic._vectors[semantic._normalised(question)] for question in semantic._questions])
    ease = np.empty(len(order))
    for place, number in enumerate(order):
        near = intents[np.argsort(-(vectors @ vectors[number]))[1:9]]
        ease[place] = 2 * (near == intents[number]).sum() - np.bincount(near).max()
    ranked = order[np.argsort(-ease, kind="stable")]
    yield "hard last", ranked
    yield "traps", np.concatenate([chance.permutation(ranked[:-1_500])[:9_000], chance.permutation(ranked[-1_500:])])
    middle = len(ranked) // 2
    yield "easy, then hard", np.concatenate([chance.permutation(ranked[:middle]), chance.permutation(ranked[middle:])])
    grouped = order[np.argsort(intents[order], kind="stable")]
    yield "by intent", grouped
    bursts = np.array_split(grouped, _BURSTS)
    yield "bursts", np.concatenate([bursts[place] for place in chance.permutation(_BURSTS)])


def _row(name: str, seed: int, order: Any, pairs: Sequence[tuple[str, str, bool]]) -> tuple[str, ...]:
    hits = wrong = 0
    highest = 0.0
    with Thrift(":memory:") as thrift:
        cache = SemanticCache(thrift, semantic._known, ErrorBound(0.01, seed=seed))
        for done, place in enumerate(order, 1):
            question, intent = semantic._questions[place], semantic._intents[place]
            hit = cache.lookup(question)
            if hit is None:
                cache.store(question, intent)
            else:
                hits += 1
                wrong += hit.answer != intent
            if done >= _SETTLED:
                highest = max(highest, wrong / done)
        served = {True: 0, False: 0}
        for number, (first, second, is_same) in enumerate(pairs):
            cache.store(first, f"answer {number}")
            served[is_same] += cache.lookup(second) is not None
        cache.close()
    off = [f"{served[kind]} of {sum(is_same is kind for *_, is_same in pairs)}" if pairs else "" for kind in (False, True)]
    return (name, str(seed), f"{len(order):,}", f"{hits / len(order):.1%}", f"{wrong / len(order):.2%}", f"{highest:.2%}", *off)


if __name__ == "__main__":
    main()
