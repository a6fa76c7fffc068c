"""How long lookups and inserts of the semantic cache take without the embedding, how well they find, and what opening a large cache costs.

Called by `python -m benchmarks.semantic latency`.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, insert, literal_column, select, text, update

from benchmarks.measure import table
from benchmarks.semantic_entries import DIMENSIONS, Entries
from benchmarks.servers import postgresql, valkey
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.cache.near_misses import Facts
from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.cache.semantic.pgvector import packed_bytes
from llmthrift_core.cache.semantic.scripts import PREFIX
from llmthrift_core.cache.semantic.vector_statements import vector_table
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import cache_sizes, semantic_entries
from llmthrift_core.storage.valkey import ValkeyServer

PLACES: Final = ("SQLite", "PostgreSQL", "Valkey")
_ONE: Final = Statement(select(literal_column("1")))
_LOOKUPS, _INSERTS, _CHECKED = 2_000, 200, 200
_SPEED: Final = ("", "entries", "round trip", "lookup p50", "p99", "least", "hits", "recall of 16", "insert p50", "p99", "least")
_OPENING: Final = ("", "entries", "first lookup", "slowest until whole", "whole after", "again", "slowest", "whole", "memory per entry")


def report(places: Sequence[str], sizes: Sequence[int]) -> str:
    """Tables of both."""
    found = [measured for size in sizes for entries in [Entries(size, 1 + _LOOKUPS + _INSERTS)] for measured in _of_size(places, entries)]
    load = f"Programs that wanted to run, on average: {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores."
    speed = table("Lookup and insert without embedding, half of the lookups hits", _SPEED, [row for row, _ in found])
    return "\n".join((speed, table("Opening a cache, and opening it again", _OPENING, [row for _, row in found]), "", load, _guard()))


def _of_size(places: Sequence[str], entries: Entries) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [found for place in places if (found := _in_place(place, entries))]


def _in_place(name: str, entries: Entries) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    with tempfile.TemporaryDirectory() as folder:
        if name == "SQLite":
            with Thrift(f"{folder}/semantic.db") as thrift:
                return _measured(name, thrift, entries)
        with (postgresql if name == "PostgreSQL" else valkey)() as url:
            if url is None:
                return None
            with Thrift(url) if name == "PostgreSQL" else Thrift(f"{folder}/semantic.db", valkey_url=url) as thrift:
                return _measured(name, thrift, entries)


def _measured(name: str, thrift: Thrift, entries: Entries) -> tuple[tuple[str, ...], tuple[str, ...]]:
    first, *asked = entries.asked
    looked, stored = asked[:_LOOKUPS], asked[_LOOKUPS:]
    memory = _resident_bytes()
    cache = _cache(thrift, entries)
    _fill(thrift, cache, entries)
    cache.close()
    cache = _cache(thrift, entries)
    opened = _opened(cache, [first, *stored])
    memory = _resident_bytes() - memory
    trips = [] if name == "SQLite" else _time(lambda _: _round_trip(thrift), looked[:500])
    before = cache.stats()["semantic_hits"]
    taken = _time(cache.lookup, looked)
    hits = (cache.stats()["semantic_hits"] - before) / len(taken)
    near = [question for question in entries.near if question in set(looked)][:_CHECKED]
    recall = entries.recall(lambda vector: [each.similarity for each in _scope(cache).neighbours(vector)], near)
    for question in stored:
        cache.lookup(question)
    inserted = _time(lambda question: cache.store(question, "answer"), stored)
    cache.close()
    reopened = _cache(thrift, entries)
    again = _opened(reopened, looked)
    reopened.close()
    size = f"{len(entries.texts):,}"
    return (
        (
            name,
            size,
            _ms(statistics.median(trips)) if trips else "none",
            *_spread(taken),
            f"{hits:.0%}",
            f"{recall:.4f}",
            *_spread(inserted),
        ),
        (name, size, *opened, *again, f"{memory / len(entries.texts):,.0f} B"),
    )


def _cache(thrift: Thrift, entries: Entries) -> SemanticCache:
    return SemanticCache(thrift, entries.embed, FixedThreshold(0.85))


def _scope(cache: SemanticCache) -> Any:
    (scope,) = cache._search._scopes.values()
    return scope


def _opened(cache: SemanticCache, asked: Sequence[str]) -> tuple[str, str, str]:
    """The first lookup; the slowest that followed until all entries were read and had their graph; when that was."""
    started = time.perf_counter()
    first = _time(cache.lookup, asked[:1])[0]
    scope = _scope(cache)

    def make_ready() -> None:
        scope.keep_up()  # else it would wait for the second to end after which upkeep begins
        while not scope.is_whole:
            time.sleep(0.01)
            scope.keep_up()

    ready = threading.Thread(target=make_ready)
    ready.start()
    taken = [first]
    while ready.is_alive():
        taken += _time(cache.lookup, [asked[len(taken) % len(asked)]])
        time.sleep(0.005)  # else lookups alone would keep the interpreter busy
    return _ms(first), _ms(max(taken)), f"{time.perf_counter() - started:.1f} s"


def _round_trip(thrift: Thrift) -> None:
    """The least that an answer of the server takes."""
    if thrift.valkey is not None:
        thrift.valkey.ask("PING")
    else:
        thrift.database.fetch_one(_ONE)


def _guard() -> str:
    """What the guard takes to read a question and to compare two."""
    texts = [f"Can I get a refund of ${number}.50 for order {number} from 3 May 2026?" for number in range(1_000)]
    facts: list[Facts] = []
    read = _time(lambda each: facts.append(Facts.of(each)), texts)
    other = Facts.of("Can I get a refund for the order of last May?")
    compared = _time(lambda each: difference(facts[texts.index(each)], other), texts[:50])
    return f"The guard reads a question in {_us(read)} and compares two in {_us(compared)} (p50)."


def _spread(taken: Sequence[float]) -> tuple[str, str, str]:
    return _ms(statistics.median(taken)), _ms(sorted(taken)[int(len(taken) * 0.99)]), _ms(min(taken))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _us(taken: Sequence[float]) -> str:
    return f"{statistics.median(taken) * 1e6:.0f} us"


def _time(call: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    taken = []
    for each in texts:
        started = time.perf_counter()
        call(each)
        taken.append(time.perf_counter() - started)
    return taken


def _fill(thrift: Thrift, cache: SemanticCache, entries: Entries) -> None:
    """Rows as `store` writes them, in bulk; on PostgreSQL without their graph."""
    cache.store(entries.texts[0], "answer")
    if thrift.valkey is not None:
        _fill_valkey(thrift.valkey, entries)
        return
    with thrift.database.read() as connection:
        made = dict(connection.execute(semantic_entries.select()).mappings().one())
    made.pop("id")
    is_server = thrift.database.dialect == "postgresql"
    with thrift.database.write() as connection:
        if is_server:  # else a trigger would count up one row so often in one transaction, each time past all its earlier versions
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        for start in range(1, len(entries.texts), 5_000):
            rows = [
                made | {"key": each.encode(), "question": each, "answer_class": place % 997, "vector": _bytes(entries.vectors[place])}
                for place, each in enumerate(entries.texts[start : start + 5_000], start=start)
            ]
            connection.execute(insert(semantic_entries), rows)
        if is_server:
            totals = select(func.count(), func.sum(semantic_entries.c.size_bytes)).select_from(semantic_entries)
            entries_stored, size_bytes = connection.execute(totals).one()
            connection.execute(update(cache_sizes).values(entries=entries_stored, size_bytes=int(size_bytes)))
    if is_server:
        with thrift.database.read() as connection:
            stored = connection.execute(select(semantic_entries.c.id, semantic_entries.c.vector)).all()
        with thrift.database.transaction(upkeep=True) as transaction:
            transaction.executemany(vector_table(DIMENSIONS).add, [(packed_bytes(vector), number) for number, vector in stored])
        with thrift.database.write() as connection:
            connection.execute(text("ANALYZE"))  # as autovacuum does in a server that had a minute


def _fill_valkey(server: ValkeyServer, entries: Entries) -> None:
    entry = server.ask("HGETALL", f"{PREFIX}entry:1")
    scope = server.ask("HGET", f"{PREFIX}scopes", 1)
    for start in range(1, len(entries.texts), 1_000):
        steps: list[tuple[Any, ...]] = []
        for place, each in enumerate(entries.texts[start : start + 1_000], start=start):
            values = entry | {b"question": each, b"answer_class": place % 997, b"vector": _bytes(entries.vectors[place])}
            steps.append(("HSET", f"{PREFIX}entry:{place + 1}", *(part for pair in values.items() for part in pair)))
            steps.append(("ZADD", f"{PREFIX}scope:".encode() + scope, place + 1, place + 1))
        server.ask_many(steps)
    server.ask("SET", f"{PREFIX}next", len(entries.texts))


def _bytes(vector: Any) -> bytes:
    stored: bytes = vector.astype("<f4").tobytes()
    return stored


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096
