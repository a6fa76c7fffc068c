"""Everything that is stored by meaning, of all scopes and processes: counted and removed without an embedder. Loads no numpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, select

from llmthrift_core.cache.entry import VIEW_COLUMNS, EntryView, view_of_row
from llmthrift_core.cache.removals import announce
from llmthrift_core.cache.semantic.index_files import IndexFiles
from llmthrift_core.cache.semantic.statements import COUNT_NAMES
from llmthrift_core.cache.semantic.valkey_answers import ValkeyAnswers
from llmthrift_core.cache.store import Criteria, Totals, totals_of_row
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.size_statements import lock_of
from llmthrift_core.storage.tables import cache_labels, semantic_counts, semantic_entries
from llmthrift_core.storage.valkey import ValkeyServer

KIND: Final = "semantic"
_entry = semantic_entries.c
_VIEW: Final = tuple(_entry[name] for name in VIEW_COLUMNS)
_BATCH: Final = 500  # entries per transaction, so that other writers get their turn


def remove_where(database: Database, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
    """Remove the entries that fulfil all criteria, and the predicate. Returns how many. Raises StorageError.

    An answer that was asked for before is not stored any more, if it fulfils the criteria.
    """
    announce(database, criteria.to_json(), time.time_ns() // 1000)
    columns = (_entry.namespace, _entry.key) if where is None else _VIEW
    with database.read() as connection:
        found = connection.execute(select(*columns).where(*_conditions(criteria)).order_by(_entry.namespace, _entry.key)).all()
    if where is not None:
        views = [view for row in found if (view := view_of_row(row)) is not None and where(view)]
        keys = [(view.namespace, bytes.fromhex(view.key)) for view in views]
    else:
        keys = [(namespace, key) for namespace, key in found]
    removed = 0
    scopes: set[bytes] = set()
    for namespace, rows in groupby(keys, key=itemgetter(0)):
        of_namespace = [key for _, key in rows]
        for start in range(0, len(of_namespace), _BATCH):
            with database.write() as connection:
                connection.execute(lock_of(KIND, namespace))
                removed += _remove_keys(connection, of_namespace[start : start + _BATCH], scopes)
    # The graph of a scope still holds the vectors of what was removed. It is a copy, which is made again.
    IndexFiles(database.path).drop(scopes)
    return removed


def remove_everywhere(
    database: Database, valkey: ValkeyServer | None, criteria: Criteria, where: Callable[[EntryView], bool] | None = None
) -> int:
    """As `remove_where`, also from the server that keeps answers instead of the database: what was stored before is still there."""
    return remove_where(database, criteria, where) + (0 if valkey is None else ValkeyAnswers(valkey).remove_where(criteria, where))


def totals(database: Database, criteria: Criteria, now_us: int) -> Totals:
    """What is stored of the entries that fulfil all criteria. Raises StorageError."""
    query = select(
        func.count(),
        func.coalesce(func.sum(_entry.size_bytes), 0),
        func.coalesce(func.sum(_entry.hits), 0),
        func.avg(_entry.expires_us).filter(_entry.expires_us > now_us),
    )
    with database.read() as connection:
        entries, size_bytes, hits, expires_us = connection.execute(query.where(*_conditions(criteria))).one()
    return totals_of_row(entries, size_bytes, hits, expires_us)


def totals_of(database: Database, valkey: ValkeyServer | None, criteria: Criteria, now_us: int) -> Totals:
    """As `totals`, of the server if that keeps answers instead of the database. Raises StorageError."""
    return totals(database, criteria, now_us) if valkey is None else ValkeyAnswers(valkey).totals(criteria, now_us)


def activity(database: Database, namespace: str | None) -> dict[str, float]:
    """What the caches of a namespace, or of all, did in all processes and runs, as far as it is written. Raises StorageError."""
    columns = [semantic_counts.c[name] for name in COUNT_NAMES]
    query = select(*(func.coalesce(func.sum(column), 0) for column in columns))
    if namespace is not None:
        query = query.where(semantic_counts.c.namespace == namespace)
    with database.read() as connection:
        return {name: float(number) for name, number in zip(COUNT_NAMES, connection.execute(query).one(), strict=True)}


def _remove_keys(connection: Connection, keys: Sequence[Any], scopes: set[bytes]) -> int:
    connection.execute(delete(cache_labels).where(cache_labels.c.key.in_(keys)))
    gone = connection.execute(delete(semantic_entries).where(_entry.key.in_(keys)).returning(_entry.scope)).scalars().all()
    scopes.update(bytes(scope) for scope in gone)
    return len(gone)


def _conditions(criteria: Criteria) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_entry[name] == value for name, value in criteria.wanted]
    for kind, label in (("tag", criteria.tag), ("source", criteria.source)):
        if label is not None:
            labelled = select(cache_labels.c.key).where(cache_labels.c.kind == kind, cache_labels.c.value == label)
            conditions.append(_entry.key.in_(labelled))
    return conditions
