"""Limits hold for all processes together: no more than a store under way too much, and no entry removed without need."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.cache import CachePolicy, SemanticCache
from llmthrift_core.cache.semantic.stored import totals_of
from llmthrift_core.cache.store import criteria_of
from tests.processes import FORK_SERVER

WORKERS, STORES, LIMIT, SIZE = 3, 40, 20, 200


def _embed(texts: Sequence[str]) -> Any:
    return np.array([np.random.default_rng(zlib.crc32(text.encode())).normal(size=32) for text in texts])


def _store(kind: str, database: str, valkey: str, worker: int, limits: dict[str, int | None], together: Any, told: Any) -> None:
    policy = CachePolicy(**limits)  # type: ignore[arg-type]
    with Thrift(database, valkey_url=valkey or None) as thrift:
        semantic = SemanticCache(thrift, embedder=_embed, limits=policy) if kind == "semantic" else None
        together.wait(120)
        for number in range(STORES):
            name = f"worker {worker} question {number}"
            if semantic is None:
                assert thrift.cache.store(policy.key(name.encode()), policy, b"x" * 100, model="m", usage=Usage())
            else:
                semantic.store(name, "x" * 100)
        counts = thrift.cache.stats() if semantic is None else semantic.stats()
        told.put({name: counts[name] for name in ("stores", "evictions", "errors")})


@pytest.mark.parametrize("limits", [{"max_entries": LIMIT}, {"max_entries": None, "max_bytes": LIMIT * SIZE}], ids=["entries", "bytes"])
@pytest.mark.parametrize("kind", ["exact", "semantic"])
@pytest.mark.parametrize("where", ["sqlite", "postgresql", "valkey"])
def test_processes_keep_to_one_limit(
    tmp_path: Path, request: pytest.FixtureRequest, where: str, kind: str, limits: dict[str, int | None]
) -> None:
    database = request.getfixturevalue("postgresql_url") if where == "postgresql" else str(tmp_path / "shared.db")
    valkey = request.getfixturevalue("valkey_url") if where == "valkey" else ""
    with Thrift(database, valkey_url=valkey or None) as thrift:

        def held() -> tuple[int, int]:
            if kind == "semantic":
                found = totals_of(thrift.database, thrift.valkey, criteria_of(namespace="default"), 0)
                return found.entries, found.size_bytes
            counts = thrift.cache.stats("default")
            return int(counts["entries"] or 0), int(counts["bytes"] or 0)

        together, answers = FORK_SERVER.Barrier(WORKERS), FORK_SERVER.Queue()
        workers = [
            FORK_SERVER.Process(target=_store, args=(kind, database, valkey, number, limits, together, answers))
            for number in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        seen = []
        while any(worker.is_alive() for worker in workers):
            seen.append(held())
        assert [worker.exitcode for worker in workers] == [0] * WORKERS
        told = [answers.get(timeout=60) for _ in workers]
        entries, size_bytes = held()
        largest = size_bytes // entries + 10
        policy = CachePolicy(**limits)  # type: ignore[arg-type]
        if policy.max_entries is not None:
            assert max(each[0] for each in seen) <= policy.max_entries + WORKERS
            assert entries == policy.max_entries
        else:
            assert policy.max_bytes is not None
            assert max(each[1] for each in seen) <= policy.max_bytes + WORKERS * largest
            assert policy.max_bytes - largest < size_bytes <= policy.max_bytes
        assert sum(each["errors"] for each in told) == 0
        assert sum(each["evictions"] for each in told) == WORKERS * STORES - entries
