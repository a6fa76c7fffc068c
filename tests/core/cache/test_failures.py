"""Trouble with the database or with its rows is a miss, never an exception; what is asked for explicitly says so."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache.exact import ExactCache
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.errors import StorageError
from llmthrift_core.storage.database import Database
from tests.core.cache.test_exact import USAGE, get, key_of, put
from tests.core.clock import Clock

HOSTILE = [
    ("payload", None), ("payload", "text"), ("payload", 7),
    ("model", b"\xff"), ("namespace", b"default"), ("provider", b"openai"), ("usage", b"{}"),
    ("metadata", "{"), ("metadata", "[]"), ("metadata", '{"a":1}'), ("metadata", 9),
    ("created_us", "yesterday"), ("created_us", 1.5), ("expires_us", "never"), ("expires_us", 1e300),
]  # fmt: skip
HOSTILE_USAGE = [
    "", "{", "[]", "null", 5, '{"input_tokens":-1}', '{"input_tokens":"many"}', '{"input_tokens":1.5}', '{"input_tokens":NaN}',
    '{"surprise":1}', '{"cache_read_tokens":true}', '{"input_tokens":99999999999999999999}', '{"estimated":"yes"}',
    '{"service_tier":1}', '{"other":[["x","NaN"]]}', '{"other":3}', '{"other":[["x",1e300]]}', '{"other":[["x","y","z"]]}',
    "[" * 100_000, '{"input_tokens":' + "9" * 5000 + "}",
]  # fmt: skip


def change(path: Path, column: str, value: Any) -> None:
    with sqlite3.connect(path) as connection:
        # The schema forbids NULL, not other types; a hostile file need not have our schema.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'payload BLOB NOT NULL', 'payload BLOB') WHERE name = 'llmthrift_cache_entries'"
        )
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute(f"UPDATE llmthrift_cache_entries SET {column} = ?", (value,))
    connection.close()


@pytest.mark.parametrize(("column", "value"), HOSTILE, ids=[f"{column}-{str(value)[:24]!r}" for column, value in HOSTILE])
def test_a_hostile_row_is_a_miss_and_goes(tmp_path: Path, clock: Clock, column: str, value: Any) -> None:
    path = tmp_path / "c.db"
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "q", CachePolicy(metadata={"a": "b"}))
        cache.close()
    change(path, column, value)
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        cache.entries()
        cache.invalidate(where=lambda view: False)
        assert get(cache, "q") is None
        assert database.fetch_all(_count()) == [(0,)]
        assert put(cache, "q")
        assert get(cache, "q") is not None
        assert cache.health()["errors"] == 0
        cache.close()


@pytest.mark.parametrize("value", HOSTILE_USAGE, ids=[str(value)[:24] for value in HOSTILE_USAGE])
def test_a_hostile_usage_leaves_the_answer_and_its_amounts_unknown(tmp_path: Path, clock: Clock, value: Any) -> None:
    path = tmp_path / "c.db"
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "q")
        cache.close()
    change(path, "usage", value)
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        entry = get(cache, "q")
        assert entry is not None
        with pytest.raises(ValueError):
            _ = entry.usage
        cache.close()


def _count() -> Any:
    from sqlalchemy import func, select

    from llmthrift_core.storage.statements import Statement
    from llmthrift_core.storage.tables import cache_entries

    return Statement(select(func.count()).select_from(cache_entries))


def test_a_hostile_epoch_is_a_miss(file_database: Database, clock: Clock) -> None:
    cache = ExactCache(SqlEntries(file_database), clock=clock)
    put(cache, "q")
    with sqlite3.connect(str(file_database.path)) as connection:
        connection.execute("INSERT OR REPLACE INTO llmthrift_cache_epoch VALUES (1, 'soon')")
    connection.close()
    assert get(cache, "q") is None
    assert cache.health()["errors"] == 1
    cache.close()


def test_a_locked_database_lets_the_call_go_on(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with Database.open(tmp_path / "c.db", busy_timeout_seconds=0.05) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "before")
        blocker = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        assert put(cache, "during") is False
        cache.discard(key_of("before"))
        assert get(cache, "during") is None
        assert cache.flush()  # nothing to write
        with pytest.raises(StorageError):
            cache.clear()
        blocker.execute("ROLLBACK")
        blocker.close()
        assert get(cache, "before") is not None
        assert stored_soon(cache, "during")
        assert cache.health()["errors"] == 2
        assert "locked" in (cache.health()["last_error"] or "")
        assert "cache store failed" in caplog.text
        cache.close()


def stored_soon(cache: ExactCache, question: str) -> bool:
    deadline = time.monotonic() + 120
    while not put(cache, question):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_hits_that_could_not_be_written_are_written_later(tmp_path: Path, clock: Clock) -> None:
    with Database.open(tmp_path / "c.db", busy_timeout_seconds=0.05) as database:
        cache = ExactCache(SqlEntries(database), clock=clock, write_seconds=3600)
        put(cache, "q")
        get(cache, "q")
        blocker = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        assert cache.flush() is False
        blocker.execute("ROLLBACK")
        blocker.close()
        get(cache, "q")
        assert cache.flush() is True
        assert cache.entries()[0].hits == 2
        cache.close()


def test_failures_are_logged_once_a_minute_and_without_content(tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with Database.open(tmp_path / "c.db") as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        for _ in range(5):
            assert cache.store(b"k", CachePolicy(), b"secret answer", model=object(), usage=USAGE) is False  # type: ignore[arg-type]
        assert len(caplog.records) == 1
        assert "secret answer" not in caplog.text
        assert cache.health()["errors"] == 5
        cache.close()


def test_a_locked_database_holds_up_one_store_and_not_every_one(tmp_path: Path, clock: Clock) -> None:
    with Database.open(tmp_path / "c.db", busy_timeout_seconds=0.05) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        blocker = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        assert put(cache, "q") is False
        blocker.execute("ROLLBACK")
        blocker.close()
        assert put(cache, "q") is False  # it rests, although the lock is gone
        assert cache.stats()["refused"] == 1
        assert stored_soon(cache, "q")
        cache.close()


def test_an_error_of_the_clock_is_a_miss(file_database: Database) -> None:
    def broken() -> float:
        return float("nan")

    cache = ExactCache(SqlEntries(file_database), clock=broken)
    assert get(cache, "q") is None
    assert put(cache, "q") is False
    assert "ValueError" in (cache.health()["last_error"] or "")
    cache.close()


def test_a_read_only_database_answers_and_stores_nothing(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "c.db"
    with Database.open(path) as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        put(cache, "q")
        cache.close()
    with Database.open(f"sqlite:///file:{path}?mode=ro&uri=true") as database:
        cache = ExactCache(SqlEntries(database), clock=clock)
        assert database.read_only
        assert get(cache, "q") is not None
        assert get(cache, "q") is not None
        assert put(cache, "other") is False
        assert cache.stats()["hits"] == 2
        assert cache.health()["errors"] == 1
        with pytest.raises(StorageError):
            cache.invalidate(tag="t")
        cache.close()
        assert cache.health()["errors"] == 1


def test_a_closed_database_is_a_miss(tmp_path: Path, clock: Clock) -> None:
    database = Database.open(tmp_path / "c.db")
    cache = ExactCache(SqlEntries(database), clock=clock)
    put(cache, "q")
    database.close()
    assert get(cache, "q") is None
    assert put(cache, "q") is False
    assert cache.health()["errors"] == 2
    cache.close()


def test_text_that_no_database_stores_costs_only_the_entry(cache: ExactCache) -> None:
    assert put(cache, "q", user="\ud800") is False
    assert get(cache, "q") is None
    assert put(cache, "q", user="ada")
