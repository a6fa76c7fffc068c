"""The cache under fifty threads and four processes at once: no error, no wrong answer, no lost count, limits kept."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.store import EntryStore
from llmthrift_core.cache.valkey_store import ValkeyEntries
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.valkey import ValkeyServer
from llmthrift_core.usage import Usage
from tests.processes import FORK_SERVER

THREADS, PROCESSES = 50, 4


@contextmanager
def _opened(where: str, request: pytest.FixtureRequest) -> Iterator[EntryStore]:
    if where == "valkey":
        with ValkeyServer(request.getfixturevalue("valkey_url")) as server:
            yield ValkeyEntries(server)
    else:
        with Database.open(":memory:" if where == "memory" else request.getfixturevalue("tmp_path") / "c.db") as database:
            yield SqlEntries(database)


@pytest.mark.parametrize("where", ["file", "memory", "valkey"])
def test_fifty_threads(where: str, request: pytest.FixtureRequest) -> None:
    policy = CachePolicy(max_entries=40, max_bytes=None)
    with _opened(where, request) as store:
        cache = ExactCache(store, memory_entries=20, write_seconds=0.01)
        together = threading.Barrier(THREADS)
        counted = [[0, 0, 0] for _ in range(THREADS)]  # hits, misses, stores

        def work(number: int) -> None:
            chance, mine = random.Random(number), counted[number]
            together.wait()
            for _ in range(60):
                name = b"%d" % chance.randrange(60)
                key = policy.key(name)
                entry = cache.lookup(key, policy)
                if entry is None:
                    mine[1] += 1
                    mine[2] += cache.store(key, policy, b"answer to " + name, model="m", usage=Usage(input_tokens=1))
                else:
                    mine[0] += 1
                    assert entry.payload == b"answer to " + name
                if chance.random() < 0.02:
                    cache.discard(policy.key(b"%d" % chance.randrange(60)))

        with ThreadPoolExecutor(THREADS) as pool:
            for future in [pool.submit(work, number) for number in range(THREADS)]:
                future.result(timeout=300)
        stats = cache.stats()
        assert stats["errors"] == 0
        assert [stats["hits"], stats["misses"], stats["stores"]] == [sum(column) for column in zip(*counted, strict=True)]
        assert stats["hits"] + stats["misses"] == THREADS * 60
        assert stats["entries"] <= 40
        cache.close()


def _work(path: str, seed: int, told: Any) -> None:
    policy, chance = CachePolicy(max_entries=50), random.Random(seed)
    wrong = hits = stores = 0
    with Database.open(path, busy_timeout_seconds=30) as database:
        cache = ExactCache(SqlEntries(database))
        for step in range(600):
            name = b"%d" % chance.randrange(80)
            key = policy.key(name)
            entry = cache.lookup(key, policy)
            if entry is None:
                stores += cache.store(key, policy, b"answer to " + name, model="m", usage=Usage(input_tokens=1))
            else:
                hits += 1
                wrong += entry.payload != b"answer to " + name
            if step % 100 == 99:
                cache.invalidate(where=lambda view: chance.random() < 0.1)
        cache.close()
        told.put({"wrong": wrong, "hits": hits, "stores": stores, "errors": cache.health()["errors"]})


def test_four_processes(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    told = FORK_SERVER.Queue()
    workers = [FORK_SERVER.Process(target=_work, args=(str(path), seed, told)) for seed in range(PROCESSES)]
    for worker in workers:
        worker.start()
    found = [told.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    assert all(each["wrong"] == 0 and each["errors"] == 0 and each["hits"] > 0 and each["stores"] > 0 for each in found)
    with Database.open(path) as database:
        assert database.check().ok
        cache = ExactCache(SqlEntries(database))
        policy = CachePolicy(max_entries=50)
        assert cache.store(policy.key(b"last"), policy, b"x", model="m", usage=Usage())
        assert cache.stats()["entries"] <= 50
        cache.close()


def _read(path: str, asked: Any) -> None:
    policy = CachePolicy()
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database))
        while (name := asked.recv()) is not None:
            entry = cache.lookup(policy.key(name.encode()), policy)
            asked.send(["-" if entry is None else entry.payload.decode(), cache.stats()["memory_hits"]])
        cache.close()


def test_what_another_process_removes_or_replaces_is_not_answered_from_memory(tmp_path: Path) -> None:
    path, policy = tmp_path / "c.db", CachePolicy(tags=("t",))
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database))
        mine, theirs = FORK_SERVER.Pipe()
        reader = FORK_SERVER.Process(target=_read, args=(str(path), theirs), daemon=True)
        reader.start()

        def ask(name: str) -> list[str]:
            mine.send(name)
            return [str(each) for each in mine.recv()]

        def store(name: str, answer: bytes) -> None:
            assert cache.store(policy.key(name.encode()), policy, answer, model="m", usage=Usage())

        assert ask("a") == ["-", "0"]
        store("a", b"old")
        assert ask("a") == ["old", "0"]  # visible at once
        assert ask("a") == ["old", "1"]  # now from its memory
        store("a", b"new")
        assert ask("a") == ["new", "1"]
        assert ask("a") == ["new", "2"]
        cache.invalidate(tag="t")
        assert ask("a") == ["-", "2"]
        store("a", b"again")
        assert ask("a") == ["again", "2"]
        cache.clear()
        assert ask("a") == ["-", "2"]
        mine.send(None)
        reader.join(120)
        assert reader.exitcode == 0
        cache.close()


def test_a_child_of_fork_and_its_parent_count_every_hit_once(tmp_path: Path) -> None:
    policy = CachePolicy()
    with Database.open(tmp_path / "c.db") as database:
        cache = ExactCache(SqlEntries(database), write_seconds=0.01)
        key = policy.key(b"q")
        cache.store(key, policy, b"x", model="m", usage=Usage())
        for _ in range(10):
            cache.lookup(key, policy)
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                hits = sum(cache.lookup(key, policy) is not None for _ in range(20))
                cache.close()
                os._exit(0 if hits == 20 else 1)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (view,) = cache.entries()
        assert view.hits == 10 + 3 * 20
        cache.close()
