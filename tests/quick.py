"""What each test would do again, done once for all: an empty database, the statements for it, and the vectors of texts. And small forests.

Tests of these things themselves do without: see `not_for`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

import llmthrift_core.routing.cascades.confidence as confidence
import llmthrift_core.storage.sqlite as sqlite_files
from llmthrift_core.embedding.builtin import DefaultEmbedder
from llmthrift_core.storage import schema
from llmthrift_core.storage.sqlite_connection import SQLiteOpener
from llmthrift_core.storage.tables import schema_version

_MAKE_THEIR_OWN = (
    "tests/core/storage/",
    "tests/stress/",
    "tests/core/embedding/",
    "tests/core/cache/test_pgvector.py",
    "tests/core/routing/test_confidence.py::test_a_forest_tells",
)


def not_for(test: str) -> bool:
    """Whether a test, by its id, is about what is done once here."""
    return test.startswith(_MAKE_THEIR_OWN)


class Quick:
    """Attributes: is_on: False while a test runs that makes everything itself."""

    is_on = True


@contextmanager
def done_once() -> Iterator[Quick]:
    """While it is open, new SQLite files are copies of one, statements are compiled once, and a text is embedded once."""
    quick = Quick()
    with pytest.MonkeyPatch.context() as patch:
        _copy_new_databases(patch, quick)
        _compile_once(patch)
        _embed_once(patch, quick)
        _grow_less(patch, quick)
        yield quick


def _copy_new_databases(patch: pytest.MonkeyPatch, quick: Quick) -> None:
    made = sqlite3.connect(":memory:", check_same_thread=False)
    for statement in schema._creation("sqlite"):
        made.execute(statement)
    version = insert(schema_version).values(version_num=schema.REVISIONS[-1])
    made.execute(str(version.compile(dialect=SQLiteDialect_pysqlite(), compile_kwargs={"literal_binds": True})))  # type: ignore[no-untyped-call]
    made.commit()
    lock = threading.Lock()
    prepare = SQLiteOpener._prepare

    def prepared(opener: SQLiteOpener, connection: sqlite3.Connection) -> None:
        prepare(opener, connection)
        if quick.is_on and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
            with lock:
                made.backup(connection)

    patch.setattr(SQLiteOpener, "_prepare", prepared)


def _compile_once(patch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy compiles a statement once for each engine, of which every database has two."""
    first: list[Engine] = []

    def create(*args: Any, **options: Any) -> Engine:
        engine = create_engine(*args, **options)
        if not first:
            with engine.connect():  # so that its dialect knows the version
                first.append(engine)
        else:
            engine.dialect, engine._compiled_cache = first[0].dialect, first[0]._compiled_cache
        return engine

    patch.setattr(sqlite_files, "create_engine", create)


def _embed_once(patch: pytest.MonkeyPatch, quick: Quick) -> None:
    """The model is loaded once as well, which takes as long as forty texts."""
    embed, shared = DefaultEmbedder.__call__, DefaultEmbedder()
    known: dict[str, Any] = {}

    def embedded(model: DefaultEmbedder, texts: Sequence[str]) -> Any:
        if not quick.is_on:
            return embed(model, texts)
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known.update(zip(missing, embed(shared, missing), strict=True))
        return np.array([known[text] for text in texts], dtype=np.float32)

    patch.setattr(DefaultEmbedder, "__call__", embedded)


def _grow_less(patch: pytest.MonkeyPatch, quick: Quick) -> None:
    """A cascade is fitted by two dozen forests, whose trees take most of the time of most tests that have one. A fifth of them will do."""
    fitted, all_trees = confidence.Forest.fitted, confidence._TREES

    def fit(*given: Any, **options: Any) -> confidence.Forest:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(confidence, "_TREES", all_trees // 5 if quick.is_on else all_trees)
            return fitted(*given, **options)

    patch.setattr(confidence.Forest, "fitted", fit)
