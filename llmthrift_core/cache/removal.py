"""Removing entries: by key, and by what they are labelled with or made for. Memory tiers of all processes are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, select

from llmthrift_core.cache.entry import VIEW_COLUMNS, EntryView, view_of_row
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.storage import cache_statements as sql
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import cache_entries, cache_labels

SCOPES: Final = ("namespace", "model", "provider", "user", "feature", "prompt_version")
_VIEW: Final = tuple(cache_entries.c[name] for name in VIEW_COLUMNS)


def remove(transaction: Transaction, keys: Iterable[bytes]) -> int:
    """Delete entries and their labels. Returns how many there were. Raises StorageError."""
    rows = [(key,) for key in keys]
    transaction.executemany(sql.REMOVE_LABELS, rows)
    return transaction.executemany(sql.REMOVE_ENTRY, rows)


def raise_epoch(transaction: Transaction) -> int:
    """Tell the memory tiers of all processes that entries were removed or replaced. Returns the new epoch. Raises StorageError."""
    transaction.execute(sql.RAISE_EPOCH)
    row = transaction.fetch_one(sql.GET_EPOCH)
    return int(row[0]) if row is not None else 0


def conditions_of(
    *, tag: str | None, source: str | None, scope: Mapping[str, str] | None, namespace: str | None
) -> list[ColumnElement[bool]]:
    """What an entry must fulfil to be invalidated.

    Raises:
        ConfigurationError: an unknown scope, or a value that is not a text.
    """
    wanted = list((scope or {}).items())
    for name, _ in wanted:
        if name not in SCOPES:
            raise ConfigurationError(f"unknown scope {name!r}; scopes are {', '.join(SCOPES)}")
    if namespace is not None:
        wanted.append(("namespace", namespace))
    conditions: list[ColumnElement[bool]] = [cache_entries.c[name] == _text(name, value) for name, value in wanted]
    for kind, label in (("tag", tag), ("source", source)):
        if label is not None:
            labelled = select(cache_labels.c.key).where(cache_labels.c.kind == kind, cache_labels.c.value == _text(kind, label))
            conditions.append(cache_entries.c.key.in_(labelled))
    return conditions


def matching_keys(database: Database, conditions: Sequence[ColumnElement[bool]], where: Callable[[EntryView], bool] | None) -> list[bytes]:
    """The keys of the entries that fulfil all conditions and the predicate.

    Raises:
        StorageError: the database cannot be read.
    """
    if where is None:
        with database.read() as connection:
            return [bytes(key) for key in connection.execute(select(cache_entries.c.key).where(*conditions)).scalars()]
    return [bytes.fromhex(view.key) for view in views(database, conditions, limit=None) if where(view)]


def views(database: Database, conditions: Sequence[ColumnElement[bool]], *, limit: int | None) -> list[EntryView]:
    """The entries that fulfil all conditions, the most used first; unreadable rows are left out. Raises StorageError."""
    query = select(*_VIEW).where(*conditions).order_by(cache_entries.c.hits.desc(), cache_entries.c.used_us.desc())
    if limit is not None:
        query = query.limit(limit)
    with database.read() as connection:
        found = [view_of_row(row) for row in connection.execute(query)]
    return [view for view in found if view is not None]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a text, not {value!r}")
    return value
