"""Limits hold for all processes together: no more than a store under way too much, and no entry removed without need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmthrift_core import Thrift
from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.semantic.stored import totals_of
from llmthrift_core.cache.store import criteria_of

ROOT = Path(__file__).parents[2]
WORKERS, STORES, LIMIT, SIZE = 3, 40, 20, 200

WORKER = """
import json, sys, zlib
import numpy as np
from llmthrift_core import Thrift, Usage
from llmthrift_core.cache import CachePolicy, SemanticCache
kind, database, valkey, worker, stores, limits = sys.argv[1:7]
policy = CachePolicy(**eval(limits))

def embed(texts):
    return np.array([np.random.default_rng(zlib.crc32(text.encode())).normal(size=32) for text in texts])

with Thrift(database, valkey_url=valkey or None) as thrift:
    semantic = SemanticCache(thrift, embedder=embed, limits=policy) if kind == "semantic" else None

    def put(name):
        if semantic is None:
            assert thrift.cache.store(policy.key(name.encode()), policy, b"x" * 100, model="m", usage=Usage())
        else:
            semantic.store(name, "x" * 100)

    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(stores)):
        put(f"worker {worker} question {number}")
    print("done", flush=True)
    counts = (thrift.cache if semantic is None else semantic).stats()
    print(json.dumps({name: counts[name] for name in ("stores", "evictions", "errors")}), flush=True)
"""


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

        given = [sys.executable, "-c", WORKER, kind, database, valkey]
        pipe = subprocess.PIPE
        workers = [
            subprocess.Popen([*given, str(number), str(STORES), repr(limits)], stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
            for number in range(WORKERS)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        seen = []
        while any(worker.poll() is None for worker in workers):
            seen.append(held())
        told = []
        for worker in workers:
            lines = worker.communicate(timeout=60)[0].splitlines()
            assert worker.returncode == 0
            assert lines[0] == "done"
            told.append(json.loads(lines[1]))
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
