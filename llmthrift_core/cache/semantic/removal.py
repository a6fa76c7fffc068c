"""Counting and removing entries of the semantic cache by what they are labelled with or made for. Loads no numpy."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, func, select

from llmthrift_core.cache.store import Criteria
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import cache_labels, semantic_entries


def remove_where(database: Database, criteria: Criteria) -> int:
    """Remove the entries that fulfil all criteria. Returns how many. Raises StorageError."""
    with database.write() as connection:
        return int(connection.execute(delete(semantic_entries).where(*_conditions(criteria))).rowcount)


def totals(database: Database, criteria: Criteria) -> tuple[int, int, int]:
    """Entries, bytes and hits of what fulfils all criteria. Raises StorageError."""
    entry = semantic_entries.c
    query = select(func.count(), func.coalesce(func.sum(entry.size_bytes), 0), func.coalesce(func.sum(entry.hits), 0))
    with database.read() as connection:
        entries, size_bytes, hits = connection.execute(query.where(*_conditions(criteria))).one()
    return int(entries), int(size_bytes), int(hits)


def _conditions(criteria: Criteria) -> list[ColumnElement[bool]]:
    entry = semantic_entries.c
    conditions: list[ColumnElement[bool]] = [entry[name] == value for name, value in criteria.wanted]
    for kind, label in (("tag", criteria.tag), ("source", criteria.source)):
        if label is not None:
            labelled = select(cache_labels.c.key).where(cache_labels.c.kind == kind, cache_labels.c.value == label)
            conditions.append(entry.key.in_(labelled))
    return conditions
