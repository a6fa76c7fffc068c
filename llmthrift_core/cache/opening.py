"""The caches of a database, or of the server that keeps cached answers instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmthrift_core.cache.exact import ExactCache

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.store import AnswerStore
    from llmthrift_core.cache.store import EntryStore
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer


def open_cache(
    database: Callable[[], Database], valkey: ValkeyServer | None, *, clock: Callable[[], float], memory_entries: int
) -> ExactCache:
    """The cache on the server if there is one, else in the database.

    Args:
        database: opens it; not called where the server keeps the answers.
        memory_entries: answers that are kept in memory, in front of either.
    """
    return ExactCache(_entries(database, valkey), clock=clock, memory_entries=memory_entries)


def open_answers(database: Database, valkey: ValkeyServer | None) -> AnswerStore:
    """The answers by meaning, on the server if there is one, else in the database."""
    if valkey is not None:
        from llmthrift_core.cache.semantic.valkey_answers import ValkeyAnswers

        return ValkeyAnswers(valkey)
    from llmthrift_core.cache.semantic.sql_store import SqlAnswers

    return SqlAnswers(database)


def _entries(database: Callable[[], Database], valkey: ValkeyServer | None) -> EntryStore:
    if valkey is not None:
        from llmthrift_core.cache.valkey_store import ValkeyEntries

        return ValkeyEntries(valkey)
    from llmthrift_core.cache.sql_store import SqlEntries

    return SqlEntries(database())
