"""Removing entries of the semantic cache by what they are labelled with or made for. Loads no numpy."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, select

from llmthrift_core.cache.store import Criteria
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import cache_labels, semantic_entries


def remove_where(database: Database, criteria: Criteria) -> int:
    """Remove the entries that fulfil all criteria. Returns how many. Raises StorageError."""
    entry = semantic_entries.c
    conditions: list[ColumnElement[bool]] = [entry[name] == value for name, value in criteria.wanted]
    for kind, label in (("tag", criteria.tag), ("source", criteria.source)):
        if label is not None:
            labelled = select(cache_labels.c.key).where(cache_labels.c.kind == kind, cache_labels.c.value == label)
            conditions.append(entry.key.in_(labelled))
    with database.write() as connection:
        return int(connection.execute(delete(semantic_entries).where(*conditions)).rowcount)
