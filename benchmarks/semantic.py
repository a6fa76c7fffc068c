"""The semantic cache: hits and errors on a stream of questions, and how long a lookup takes.

    python -m benchmarks.semantic stream [--shuffles 20]
    python -m benchmarks.semantic latency [--entries 2000 100000 1000000] [--places SQLite PostgreSQL Valkey GPTCache]

The stream is 12,000 distinct Banking77 questions in random order (`../shared/data/banking77.csv.gz`, skipped where absent). A hit is
right when the reused answer belongs to the same intent; error = wrong hits / all requests; shadow checks and cold-start calls count as
misses. The best static threshold is chosen in hindsight, for the most hits at an error of at most 1%.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import multiprocessing
import statistics
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import gptcache_peer, semantic_lookups
from benchmarks.measure import table
from benchmarks.semantic_entries import BANKING77
from llmthrift_core import Thrift
from llmthrift_core.cache import ErrorBound, FixedThreshold, SemanticCache
from llmthrift_core.embedding import DefaultEmbedder

LENGTH = 12_000
_PEER_SHUFFLES = 2  # GPTCache takes minutes for each
_PLACES = (*semantic_lookups.PLACES, "GPTCache")
STATIC = (0.80, 0.84, 0.86, 0.88, 0.90, 0.92, 0.95)
_questions: list[str] = []
_intents: list[str] = []
_vectors: dict[str, Any] = {}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("what", nargs="?", choices=("stream", "latency", "all"), default="all")
    options.add_argument("--shuffles", type=int, default=20)
    options.add_argument("--entries", type=int, nargs="+", default=[2_000, 100_000])
    options.add_argument("--places", nargs="+", choices=_PLACES, default=_PLACES)
    given = options.parse_args()
    if given.what != "latency":
        _stream(given.shuffles)
    if given.what != "stream":
        print(_embedding())
        print(semantic_lookups.report([place for place in semantic_lookups.PLACES if place in given.places], given.entries))
        if gptcache_peer.IS_INSTALLED and "GPTCache" in given.places:
            print(gptcache_peer.latency())
    if not gptcache_peer.IS_INSTALLED:
        print("GPTCache is not measured: pip install 'llmthrift[gptcache]'")


def _stream(shuffles: int) -> None:
    if not BANKING77.exists():
        print(f"The stream is not measured: {BANKING77} is absent")
        return
    _read()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        bound = pool.map(_bound, range(shuffles), chunksize=1)
        static = {threshold: pool.map(_static, [(seed, threshold) for seed in range(3)], chunksize=1) for threshold in STATIC}
    rows = [_row("ErrorBound(0.01)", bound)]
    rows += [_row(f"fixed {threshold:g}", static[threshold]) for threshold in (0.8, 0.9, 0.95)]
    within = [threshold for threshold in STATIC if statistics.mean(error for _, error, _ in static[threshold]) <= 0.01]
    best = max(within, key=lambda threshold: statistics.mean(hits for hits, _, _ in static[threshold]))
    rows.append(_row(f"best static in hindsight ({best:g})", static[best]))
    if gptcache_peer.IS_INSTALLED:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            rows.append(_row("GPTCache at its 0.8, no guard", pool.map(_gptcache, range(min(shuffles, _PEER_SHUFFLES)), chunksize=1)))
    header = ("policy", "shuffles", "hits", "least", "error", "highest", "within 1%", "checked")
    print(table(f"Banking77, {LENGTH:,} questions, guard on", header, rows))


def _read() -> None:
    seen: set[str] = set()
    with gzip.open(BANKING77, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if (key := row["text"].strip().casefold()) not in seen:
                seen.add(key)
                _questions.append(row["text"])
                _intents.append(row["intent"])
    embedder = DefaultEmbedder()
    for question in _questions:
        text = _normalised(question)
        _vectors[text] = embedder([text])[0]


def _normalised(question: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", question).split())


def _known(texts: Sequence[str]) -> Any:
    return np.array([_vectors[text] for text in texts])


def _bound(seed: int) -> tuple[float, float, float]:
    return _run(seed, ErrorBound(0.01, seed=seed))


def _static(given: tuple[int, float]) -> tuple[float, float, float]:
    return _run(given[0], FixedThreshold(given[1]))


def _run(seed: int, policy: Any) -> tuple[float, float, float]:
    order = np.random.default_rng(seed).permutation(len(_questions))[:LENGTH]
    hits = wrong = 0
    with Thrift(":memory:") as thrift:
        cache = SemanticCache(thrift, _known, policy)
        for place in order:
            hit = cache.lookup(_questions[place])
            if hit is None:
                cache.store(_questions[place], _intents[place])
            else:
                hits += 1
                wrong += hit.answer != _intents[place]
        checked = cache.belief().shadow_checks
        cache.close()
    return hits / LENGTH, wrong / LENGTH, checked / LENGTH


def _gptcache(seed: int) -> tuple[float, float, float]:
    order = np.random.default_rng(seed).permutation(len(_questions))[:LENGTH]
    asked, intents = [_questions[place] for place in order], [_intents[place] for place in order]
    return gptcache_peer.stream(asked, intents, lambda text: _vectors[_normalised(text)], 384)


def _row(name: str, runs: Sequence[tuple[float, float, float]]) -> tuple[str, ...]:
    hits, errors, checked = zip(*runs, strict=True)
    return (
        name,
        str(len(runs)),
        f"{statistics.mean(hits):.1%}",
        f"{min(hits):.1%}",
        f"{statistics.mean(errors):.2%}",
        f"{max(errors):.2%}",
        f"{sum(error <= 0.01 for error in errors)} of {len(errors)}",
        f"{statistics.mean(checked):.1%}",
    )


def _embedding() -> str:
    embedder = DefaultEmbedder()
    taken = []
    for number in range(100):
        started = time.perf_counter()
        embedder([f"How do I reset the password of account {number}?"])
        taken.append(time.perf_counter() - started)
    return f"The built-in model embeds a question in {statistics.median(taken) * 1e3:.1f} ms (p50)."


if __name__ == "__main__":
    main()
