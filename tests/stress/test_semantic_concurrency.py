"""The semantic cache in four processes at once, on SQLite and PostgreSQL: no error, no wrong answer, and all see what one stores."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from tests.long import LONG
from tests.processes import FORK_SERVER

PROCESSES = 4
ROUNDS = 400 if LONG else 120


def by_topic(texts: Sequence[str]) -> Any:
    """A direction for each topic, and a little of its own for each way to ask."""
    rows = []
    for text in texts:
        topic, how = int(text.split()[-2]), len(text)
        rows.append(np.random.default_rng(topic).normal(size=32) + 0.02 * np.random.default_rng(10_000 + how).normal(size=32))
    return np.array(rows)


def _work(url: str, seed: int, results: Any) -> None:
    chance = random.Random(seed)
    with Thrift(url, busy_timeout_seconds=30) as thrift:
        cache = SemanticCache(thrift, by_topic, FixedThreshold(0.95), limits=CachePolicy(max_entries=500))
        hits = wrong = 0
        for _ in range(ROUNDS):
            topic = chance.choice((11, 22, 33, 44, 55))
            question = f"{'please ' * chance.randrange(4)}say what topic {topic} is"
            hit = cache.lookup(question)
            if hit is None:
                cache.store(question, f"answer {topic}")
            else:
                hits += 1
                wrong += hit.answer != f"answer {topic}"
            if chance.random() < 0.02:
                cache.clear()
        cache.close()
        results.put((hits, wrong, cache.stats()["last_error"]))


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_processes_share_one_cache(kind: str, request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue("tmp_path") / "s.db") if kind == "file" else request.getfixturevalue("postgresql_url")
    Thrift(url).close()
    results = FORK_SERVER.Queue()
    processes = [FORK_SERVER.Process(target=_work, args=(url, seed, results)) for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert sum(wrong for _, wrong, _ in found) == 0
    assert [error for _, _, error in found if error is not None] == []
    assert sum(hits for hits, _, _ in found) > PROCESSES * ROUNDS // 2
    with Thrift(url) as thrift:
        cache = SemanticCache(thrift, by_topic, FixedThreshold(0.95))
        cache.clear()
        cache.store("say what topic 11 is", "answer 11")
        again = SemanticCache(thrift, by_topic, FixedThreshold(0.95)).lookup("do say what topic 11 is")
        assert again is not None
        assert again.answer == "answer 11"
