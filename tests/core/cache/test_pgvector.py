"""Answers by meaning on PostgreSQL with pgvector: what is found, by whom, and what happens where pgvector cannot be used."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, text

from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from llmthrift_core.cache.semantic.memory_scope import MemoryScope
from llmthrift_core.cache.semantic.pgvector import PgvectorScope, packed
from llmthrift_core.cache.semantic.vector_statements import MAY_MAKE_GRAPH, vector_table
from llmthrift_core.errors import StorageError
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import semantic_entries
from llmthrift_core.storage.vectors import HalfVector

DIMENSIONS = 32


def embed(texts: Sequence[str]) -> Any:
    """Texts with the same first word lie near to each other."""
    rows = []
    for each in texts:
        first = np.random.default_rng(list(each.casefold().split()[0].encode())).normal(size=DIMENSIONS)
        rows.append(first + 0.3 * np.random.default_rng(list(each.casefold().encode())).normal(size=DIMENSIONS))
    return np.array(rows)


def cache_of(thrift: Thrift, **options: Any) -> SemanticCache:
    return SemanticCache(thrift, **{"embedder": embed, "policy": FixedThreshold(0.8), "limits": CachePolicy(), **options})


@pytest.fixture
def thrift(postgresql_url: str) -> Iterator[Thrift]:
    with Thrift(postgresql_url) as opened:
        yield opened


def scope_of(cache: SemanticCache) -> Any:
    (scope,) = cache._search._scopes.values()
    return scope


VECTORS = f"llmthrift_semantic_vectors_{DIMENSIONS}"


def count(thrift: Thrift, *tables: str) -> int:
    with thrift.database.read() as connection:
        counts = [
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables or (VECTORS, f"{VECTORS}_recent")
        ]
        return sum(map(int, counts))


def graphs(thrift: Thrift) -> list[str]:
    with thrift.database.read() as connection:
        return list(connection.execute(text("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'llmthrift_graph_%'")).scalars())


def fill(thrift: Thrift, vectors: Any, *, scopes: Sequence[bytes] = ()) -> None:
    """Copies of the only entry, with other vectors, as a release that knew no pgvector stored them."""
    with thrift.database.write() as connection:
        made = dict(connection.execute(semantic_entries.select()).mappings().one())
        made.pop("id")
        rows = [
            made | {"key": place.to_bytes(4), "question": f"other {place}", "vector": vector.astype("<f4").tobytes()}
            | ({"scope": scopes[place % len(scopes)]} if scopes else {})
            for place, vector in enumerate(vectors)
        ]  # fmt: skip
        connection.execute(insert(semantic_entries), rows)


def unit(number: int, seed: int = 3) -> Any:
    found = np.random.default_rng(seed).normal(size=(number, DIMENSIONS)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall(scope: Any, vectors: Any, asked: Any) -> float:
    found = wanted = 0
    for vector in asked:
        worst = np.sort(vectors @ vector)[-16]
        near = scope.neighbours(vector)
        assert [each.similarity for each in near] == sorted((each.similarity for each in near), reverse=True)
        found += sum(each.similarity >= worst - 1e-3 for each in near)
        wanted += 16
    return found / wanted


def plan(thrift: Thrift, statement: Statement, parameters: Sequence[Any]) -> str:
    class Explained(Statement):
        postgresql = "EXPLAIN " + statement.postgresql

    return "\n".join(row[0] for row in thrift.database.fetch_all(Explained(text("SELECT 1")), parameters))


def test_a_packed_vector_is_what_the_server_reads(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.lookup("hours please")  # makes the extension
    with thrift.database.read() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        vector = np.array([0.5, -0.25, 1 / 3], dtype=np.float32)
        assert driver.execute("SELECT CAST(%s AS halfvec(3))::text", (packed(vector),)).fetchone() == ("[0.5,-0.25,0.33325195]",)
    assert HalfVector(3).get_col_spec() == "halfvec(3)"


def test_a_small_scope_among_large_ones_loses_nothing(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    others = unit(4_000)
    fill(thrift, others, scopes=[b"a" * 20, b"b" * 20])
    for digest in (b"a" * 20, b"b" * 20):
        other = cache._store.scope(digest, DIMENSIONS)
        other.catch_up()
        for _ in range(11):
            other.keep_up()
        assert len(other) == 2_000
        assert recall(other, others[digest == b"b" * 20 :: 2], unit(20, seed=4)) == 1
    assert count(thrift) == 4_001
    assert cache.lookup("hours now").answer == "Nine."
    assert [each.question for each in scope_of(cache).neighbours(others[0])] == ["hours please"]


def test_what_was_stored_without_pgvector_is_copied_and_a_large_scope_gets_a_graph(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    vectors = unit(3_300)
    fill(thrift, vectors)
    with thrift.database.write() as connection:  # rows that are not ours
        for number, vector in ((7, b"\0"), (8, b"\xff" * 4 * DIMENSIONS), (9, bytes(4 * DIMENSIONS))):
            statement = text("UPDATE llmthrift_semantic_entries SET vector = :vector WHERE question = :question")
            connection.execute(statement, {"vector": vector, "question": f"other {number}"})
    fresh = cache_of(thrift)
    assert fresh.lookup("hours now").answer == "Nine."
    scope = scope_of(fresh)
    assert len(scope) == 1
    for _ in range(18):
        scope.keep_up()
    assert scope._copied_until is None
    assert len(scope) == count(thrift) == 3_298
    assert scope.has_graph
    assert len(graphs(thrift)) == 1
    table = vector_table(DIMENSIONS)
    ours = np.delete(vectors, [7, 8, 9], axis=0)
    given = {"embedding": packed(vectors[0]), "of_scope": scope._digest}
    assert graphs(thrift)[0] in plan(thrift, scope._graph, scope._graph.in_order(**given))
    assert graphs(thrift)[0] not in plan(thrift, table.nearest, table.nearest.in_order(**given))
    assert recall(scope, ours, unit(50, seed=4)) > 0.97
    assert scope.weight("other") < scope.weight("3299") < scope.weight("unheard")
    with thrift.database.write() as connection:  # of the graph's first finds none is left
        connection.execute(text("DELETE FROM llmthrift_semantic_entries WHERE id % 20 <> 0"))
    near = scope.neighbours(vectors[0])
    assert len(near) == 16
    assert len(scope) > 3_000
    for _ in range(400):
        scope.neighbours(vectors[0])
    scope.keep_up()
    assert len(scope) == count(thrift) < 200
    assert not scope.has_graph
    fresh.clear()
    assert count(thrift) == 0
    assert cache._store._tables.make_graph(table, b"x" * 20)
    assert graphs(thrift) == [table.graph_name(b"x" * 20)]


def test_another_process_finds_at_once_what_was_stored(thrift: Thrift, postgresql_url: str) -> None:
    cache = cache_of(thrift)
    assert cache.lookup("hours please") is None
    program = (
        "import sys\n"
        "from llmthrift_core import Thrift\n"
        "from tests.core.cache.test_pgvector import cache_of\n"
        "with Thrift(sys.argv[1]) as thrift:\n"
        "    cache = cache_of(thrift)\n"
        "    cache.store('hours please', 'Nine.')\n"
        "    cache.close()\n"
    )
    subprocess.run([sys.executable, "-c", program, postgresql_url], check=True, timeout=600)
    assert cache.lookup("hours now").answer == "Nine."
    assert isinstance(scope_of(cache), PgvectorScope)
    cache.clear()
    assert cache.lookup("hours now") is None


def test_many_may_make_the_table_at_once(postgresql_url: str) -> None:
    with Thrift(postgresql_url):
        pass
    barrier = threading.Barrier(8)

    def work(number: int) -> int:
        with Thrift(postgresql_url) as thrift:
            cache = cache_of(thrift)
            barrier.wait(30)
            cache.store(f"w{number} please", str(number))
            assert cache.lookup(f"w{number} now").answer == str(number)
            assert isinstance(scope_of(cache), PgvectorScope)
            return int(cache.stats()["errors"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8


def test_what_is_stored_is_found_before_and_after_it_is_moved_to_the_graph(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    fill(thrift, unit(3_100))
    cache = cache_of(thrift, policy=FixedThreshold(0.7))
    cache.lookup("hours now")
    scope = scope_of(cache)
    for _ in range(17):
        scope.keep_up()
    assert scope.has_graph
    other = cache_of(thrift, policy=FixedThreshold(0.7))
    asked = [f"topic{number} now" for number in range(100)]
    for number in range(100):
        cache.store(f"topic{number} please", str(number))
        assert other.lookup(asked[number]).answer == str(number)
    assert count(thrift, f"{VECTORS}_recent") >= 64
    moved = count(thrift, VECTORS)
    scope._recent = 1_000
    scope.keep_up()
    assert count(thrift, f"{VECTORS}_recent") == 0
    assert count(thrift, VECTORS) >= moved + 64
    assert [other.lookup(text).answer for text in asked] == [str(number) for number in range(100)]


def test_who_stores_faster_than_vectors_are_moved_helps(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmthrift_core.cache.semantic.pgvector._MOST_RECENT", 20)
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    scope = scope_of(cache)
    monkeypatch.setattr(scope, "keep_up", lambda: None)
    for number in range(100):
        cache.store(f"w{number} please", str(number))
    assert count(thrift, f"{VECTORS}_recent") <= 20
    assert count(thrift) == 101
    assert cache.lookup("w3 now").answer == "3"


def test_vectors_are_moved_by_many_while_their_entries_are_removed(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    for number in range(60):
        cache.store(f"w{number} please", str(number))
    scope = scope_of(cache)
    barrier = threading.Barrier(4)

    def move() -> None:
        barrier.wait(30)
        while scope._move():
            pass

    def remove() -> None:
        barrier.wait(30)
        for number in range(0, 60, 2):
            cache.store(f"w{number} please", "another")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(move), pool.submit(move), pool.submit(move), pool.submit(remove)]:
            done.result(60)
    assert count(thrift) == 60
    assert cache.stats()["errors"] == 0
    assert cache.lookup("w3 now").answer == "3"
    assert cache.lookup("w4 now").answer == "another"


def test_while_a_graph_is_made_nobody_waits_for_it(thrift: Thrift, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    monkeypatch.setattr("llmthrift_core.cache.semantic.pgvector._MOST_RECENT", 20)
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    fill(thrift, unit(3_100))
    cache = cache_of(thrift)
    cache.lookup("hours now")
    scope = scope_of(cache)
    with psycopg.connect(postgresql_url) as maker:
        assert maker.execute(MAY_MAKE_GRAPH.postgresql).fetchone() == (True,)
        maker.execute(f"LOCK TABLE {VECTORS} IN SHARE MODE")  # as CREATE INDEX does
        scope._copied_until = None
        scope._count = 5_000
        scope.keep_up()
        assert not scope.has_graph
        for number in range(50):
            cache.store(f"w{number} please", str(number))
        assert cache.lookup("w3 now").answer == "3"
        assert count(thrift, f"{VECTORS}_recent") > 50
    assert cache.stats()["errors"] == 0
    scope._copied_until = 0
    for _ in range(17):
        scope.keep_up()
    assert scope.has_graph
    assert scope.is_whole
    assert cache.lookup("w3 now").answer == "3"


@pytest.mark.parametrize("removed", ["clear", "erase", "feedback", "replace", "expiry", "eviction"])
def test_vectors_go_with_their_entries(postgresql_url: str, removed: str) -> None:
    now = [1_800_000_000.0]
    with Thrift(postgresql_url, clock=lambda: now[0]) as thrift:
        limits = CachePolicy(ttl_seconds=60, max_entries=2 if removed == "eviction" else None)
        cache = cache_of(thrift, limits=limits)
        with attribute(user="ada"):
            cache.store("hours please", "Nine.")
        assert count(thrift) == 1
        if removed == "clear":
            cache.clear()
        elif removed == "erase":
            thrift.erase(user="ada")
        elif removed == "feedback":
            cache.feedback(cache.lookup("hours now").id, correct=False)
        elif removed == "expiry":
            now[0] += 61
            assert len(cache._store.expire(thrift.now_us(), 10)) == 1
        elif removed == "replace":
            cache.store("hours please", "Ten.")
        else:
            for number in range(9):
                cache.store(f"w{number}", "answer")
        assert count(thrift) == count(thrift, "llmthrift_semantic_entries") == {"replace": 1, "eviction": 2}.get(removed, 0)


def test_a_row_that_is_not_ours_is_passed_over(thrift: Thrift) -> None:
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    with thrift.database.write() as connection:
        connection.execute(text("UPDATE llmthrift_semantic_entries SET metadata = 'x'"))
    assert cache.lookup("hours now") is None
    assert cache.stats()["errors"] == 0


def test_the_check_counts_the_vectors(thrift: Thrift) -> None:
    before = thrift.database.check().size_bytes
    cache = cache_of(thrift)
    cache.store("hours please", "Nine.")
    fill(thrift, unit(400))
    scope = scope_of(cache)
    scope.keep_up()
    scope.keep_up()
    with thrift.database.read() as connection:
        vectors = int(connection.execute(text(f"SELECT pg_total_relation_size('{VECTORS}')")).scalar_one())
        entries = int(connection.execute(text("SELECT pg_total_relation_size('llmthrift_semantic_entries')")).scalar_one())
    assert vectors > 40_000
    assert thrift.database.check().size_bytes >= before + vectors + entries // 2


@pytest.fixture
def as_role(postgresql_url: str) -> Iterator[Callable[[str], str]]:
    """The URL of the database for a new role, who may do what is granted: "CREATE" on the schema, or nothing."""
    import psycopg

    role = "role_" + postgresql_url.split("?")[0].rpartition("_")[2]

    def made(grants: str) -> str:
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN")
            if grants:
                connection.execute(f"GRANT {grants} ON SCHEMA public TO {role}")
            connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}")
            connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
            connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        return postgresql_url.replace("postgres:@", f"{role}:@")

    yield made
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role} CASCADE")
        connection.execute(f"DROP ROLE {role}")


def test_a_user_who_may_not_create_the_extension_searches_in_memory(as_role, postgresql_url: str, caplog) -> None:
    import psycopg

    url = as_role("CREATE")
    with caplog.at_level(logging.WARNING), Thrift(url) as thrift:
        cache = cache_of(thrift)
        cache.store("hours please", "Nine.")
        cache.store("hours there", "Ten.", "another scope")
        assert cache.lookup("hours now").answer == "Nine."
        assert all(isinstance(scope, MemoryScope) for scope in cache._search._scopes.values())
        (warning,) = [each.getMessage() for each in caplog.records if "pgvector" in each.getMessage()]
        assert "an administrator may: CREATE EXTENSION vector" in warning
        with psycopg.connect(postgresql_url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        again = cache_of(thrift)
        assert again.lookup("hours now") is None  # not copied yet
        scope = scope_of(again)
        assert isinstance(scope, PgvectorScope)
        scope.keep_up()
        assert again.lookup("hours now").answer == "Nine."


def test_a_user_who_may_not_create_tables_uses_those_that_are_there(as_role, postgresql_url: str, caplog) -> None:
    with Thrift(postgresql_url) as owner, caplog.at_level(logging.WARNING):
        url = as_role("")
        with Thrift(url) as thrift:
            with owner.database.write() as connection:
                connection.execute(text("CREATE EXTENSION vector"))
            first = cache_of(thrift)
            first.store("hours please", "Nine.")
            assert isinstance(scope_of(first), MemoryScope)
            (warning,) = [each.getMessage() for each in caplog.records if "pgvector" in each.getMessage()]
            assert "grant CREATE on the schema" in warning
            cache_of(owner).lookup("price please")
            second = cache_of(thrift)
            second.store("price please", "One.")
            assert second.lookup("price now").answer == "One."
            scope = scope_of(second)
            assert isinstance(scope, PgvectorScope)
            assert not second._store._tables.make_graph(scope._table, scope._digest)


def test_more_dimensions_than_an_index_takes_are_searched_in_memory(thrift: Thrift, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        cache = cache_of(thrift, embedder=lambda texts: np.ones((len(texts), 4_001)))
        cache.store("hours please", "Nine.")
        assert cache.lookup("hours now").answer == "Nine."
    assert isinstance(scope_of(cache), MemoryScope)
    assert "4,001" in caplog.text


def test_as_many_dimensions_as_an_index_takes_fit_into_a_row(thrift: Thrift) -> None:
    cache = cache_of(thrift, embedder=lambda texts: np.ones((len(texts), 4_000)))
    cache.store("hours please", "Nine.")
    assert cache.lookup("hours now").answer == "Nine."
    scope = scope_of(cache)
    assert isinstance(scope, PgvectorScope)
    assert cache._store._tables.make_graph(scope._table, scope._digest)
    assert cache._store._tables.has_graph(scope._table, scope._digest)


def test_a_closed_database_is_a_storage_error(postgresql_url: str) -> None:
    with Thrift(postgresql_url) as thrift:
        cache = cache_of(thrift)
        cache.store("hours please", "Nine.")
        scope = scope_of(cache)
    with pytest.raises(StorageError):
        scope.neighbours(unit(1)[0])
    assert cache.lookup("hours now") is None
