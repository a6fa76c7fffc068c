"""The semantic cache on pairs of questions: of equal ones and near misses, how many it serves, by threshold and with a verifier.

    python -m benchmarks.pairs

Several kinds of sets. `data/adversarial.txt` was written by hand for this benchmark before the guard's rules and the verifier's weights
were made. `data/questions_first.txt` and `questions_second.txt` were written later, over more kinds, without a look at the rules. What
these three showed was mended afterwards, by kind: the second only after it was measured as it stands in its first lines.
`questions_third.txt` and `questions_languages.txt` (German, Spanish, French) came later still, and tell in their first lines what was
measured when. The pairs that others wrote (`../shared/data/question_pairs.csv.gz`, skipped where absent) are measured only. Each question
of a pair is asked of a cache that holds the other. The verifier is a stand-in for a model: it takes 2% of the equal questions for
different ones, and 1% of the near misses for equal.
"""

from __future__ import annotations

import csv
import gzip
import random
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.measure import table
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.cache.near_misses import Facts, near_miss
from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.embedding import DefaultEmbedder

OUTSIDE: Final = Path(__file__).parents[2] / "shared" / "data" / "question_pairs.csv.gz"
THRESHOLDS: Final = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_ERRS_ON_EQUAL, _ERRS_ON_NEAR_MISSES = 0.02, 0.01
_RUNS: Final = 5
_ADVERSARIAL: Final = Path(__file__).parent / "data" / "adversarial.txt"
_CHOICE: Final = re.compile(r"\{((?:[^|}\\]|\\.)*)\|((?:[^|}\\]|\\.)*)\}")
_PUT_DIFFERENTLY: Final = re.compile(r" \|\|? ")


class Pair(NamedTuple):
    """Two questions, and whether one answer does for both."""

    kind: str
    one: str
    other: str
    is_equal: bool


def adversarial() -> list[Pair]:
    """The near misses and equal questions of `data/adversarial.txt`."""
    return list(read_pairs(_ADVERSARIAL))


def questions(which: str) -> list[Pair]:
    """The near misses and equal questions of the "first", "second", "third" or "languages" set of `data/questions_*.txt`."""
    return list(read_pairs(_ADVERSARIAL.with_name(f"questions_{which}.txt")))


def outside() -> list[Pair]:
    """The pairs that others wrote; none where their file is absent."""
    if not OUTSIDE.exists():
        return []
    with gzip.open(OUTSIDE, "rt", encoding="utf-8") as file:
        return [Pair(row["category"], row["a"], row["b"], row["same_answer"] == "1") for row in csv.DictReader(file)]


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file of "= kind" lines, "{x|y}" choices, and " | " or " || " between two questions. Those of the kind "equal" are."""
    kind = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            kind = line[2:]
        elif line and not line.startswith("#"):
            match = _CHOICE.search(line)
            if match is not None:
                one, other = (f"{line[: match.start()]}{_plain(part)}{line[match.end() :]}" for part in match.groups())
            else:
                one, other = _PUT_DIFFERENTLY.split(line)
            yield Pair(kind, one, other, kind == "equal")


def _plain(part: str) -> str:
    return part.replace("\\|", "|")


def similarities(pairs: Sequence[Pair], embedder: object = None) -> list[tuple[float, float]]:
    """For each pair, `hit.similarity` of either question in a cache that holds the other; 0 where the guard refuses."""
    with Thrift(":memory:") as thrift:
        cache = SemanticCache(thrift, embedder, FixedThreshold(1e-9))
        return [
            (_similarity(cache, number, pair.other, pair.one), _similarity(cache, number, pair.one, pair.other))
            for number, pair in enumerate(pairs)
        ]


def verified(pairs: Sequence[Pair], seed: int, embedder: object = None) -> list[bool]:
    """For each pair, whether the second question gets the first one's answer where a stand-in for a model has the last word."""
    chance = random.Random(seed)
    says = {}
    for pair in pairs:
        errs = chance.random() < (_ERRS_ON_EQUAL if pair.is_equal else _ERRS_ON_NEAR_MISSES)
        says[frozenset((pair.one, pair.other))] = pair.is_equal != errs
    with Thrift(":memory:") as thrift:
        cache = SemanticCache(thrift, embedder, verifier=lambda one, other: says[frozenset((one, other))])
        return [_similarity(cache, number, pair.one, pair.other) > 0 for number, pair in enumerate(pairs)]


def _similarity(cache: SemanticCache, number: int, kept: str, asked: str) -> float:
    scope = f"{number} {kept}"
    cache.store(kept, "an answer", scope)
    hit = cache.lookup(asked, scope)
    return 0.0 if hit is None else hit.similarity


class Remembering:
    """The built-in embedder, which embeds each text once."""

    def __init__(self) -> None:
        self._embedder = DefaultEmbedder()
        self._known: dict[str, Any] = {}

    def __call__(self, texts: Sequence[str]) -> Any:
        for text in texts:
            if text not in self._known:
                self._known[text] = self._embedder([text])[0]
        return np.array([self._known[text] for text in texts])


def main() -> None:
    """Measure and print."""
    sets = (
        ("written by an adversary", adversarial()),
        ("of the first set of questions", questions("first")),
        ("of the second set of questions", questions("second")),
        ("of the third set of questions", questions("third")),
        ("in German, Spanish and French", questions("languages")),
        ("written by others", outside()),
    )
    for name, pairs in sets:
        if not pairs:
            print(f"The pairs {name} are not measured: {OUTSIDE} is absent")
            continue
        _print(name, pairs)
    _time([text for pair in adversarial() for text in (pair.one, pair.other)])


def _print(name: str, pairs: Sequence[Pair]) -> None:
    embedder = Remembering()
    found = similarities(pairs, embedder)
    equal = [similarity for pair, both in zip(pairs, found, strict=True) for similarity in both if pair.is_equal]
    near = [similarity for pair, both in zip(pairs, found, strict=True) for similarity in both if not pair.is_equal]
    passed = [near_miss(pair.one, pair.other) is None for pair in pairs]
    guard = [_share(passes for passes, pair in zip(passed, pairs, strict=True) if pair.is_equal == wanted) for wanted in (True, False)]
    rows = [("the guard alone", *guard)]
    rows += [(f"{each:g}", _share(one >= each for one in equal), _share(one >= each for one in near)) for each in THRESHOLDS]
    runs = [verified(pairs, seed, embedder) for seed in range(_RUNS)]
    for_equal = [statistics.mean(hit for pair, hit in zip(pairs, run, strict=True) if pair.is_equal) for run in runs]
    for_near = [statistics.mean(hit for pair, hit in zip(pairs, run, strict=True) if not pair.is_equal) for run in runs]
    rows.append((f"verifier, mean of {len(runs)}", f"{statistics.mean(for_equal):.1%}", f"{statistics.mean(for_near):.1%}"))
    rows.append(("  at worst", f"{min(for_equal):.1%}", f"{max(for_near):.1%}"))
    print(
        table(
            f"Pairs {name}: {len(equal) // 2} equal, {len(near) // 2} near misses, both ways", ("threshold", "equal", "near misses"), rows
        )
    )
    kinds: dict[str, list[bool]] = {}
    for pair, both in zip(pairs, found, strict=True):
        kinds.setdefault(pair.kind, []).extend(each > 0 for each in both)
    print(
        table(
            "Passed by the guard", ("kind", "directions", "passed"), [(kind, str(len(all_)), _share(all_)) for kind, all_ in kinds.items()]
        )
    )


def _share(found: Iterable[bool]) -> str:
    return f"{statistics.mean(found):.1%}"


def _time(texts: Sequence[str]) -> None:
    """Print how long the guard takes to read a question and to compare it with one that was read, in time of its thread."""
    rows = []
    for name, repeated in (("questions", 1), ("texts 16 times as long", 16), ("texts 64 times as long", 64)):
        long = [" ".join([text] * repeated) for text in texts[:: 1 if repeated == 1 else 8]]
        for one, other in pairwise(long):  # once before, since what was found out about words is remembered
            difference(Facts.of(one), Facts.of(other))
        reading, comparing = [], []
        for one, other in pairwise(long):
            started = time.thread_time_ns()
            left = Facts.of(one)
            read = time.thread_time_ns()
            right = Facts.of(other)
            between = time.thread_time_ns()
            difference(left, right)
            comparing.append((time.thread_time_ns() - between) / 1_000)
            reading.append((read - started) / 1_000)
        length = statistics.mean(map(len, long))
        rows.append((name, f"{length:.0f}", *(f"{np.percentile(each, share):.0f}" for each in (reading, comparing) for share in (50, 99))))
    columns = ("the guard, in microseconds", "letters", "read p50", "p99", "compare p50", "p99")
    print(table("The guard reads each text once and keeps what it read", columns, rows))


if __name__ == "__main__":
    main()
