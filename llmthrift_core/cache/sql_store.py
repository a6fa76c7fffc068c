"""Cache entries in the SQL database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from sqlalchemy import ColumnElement, func, select

from llmthrift_core.cache import statements as sql
from llmthrift_core.cache.entry import VIEW_COLUMNS, Entry, EntryView, entry_of_row, view_of_row
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.removals import FORGET_REMOVALS, announce, removed_since
from llmthrift_core.cache.sql_room import RoomStatements, SqlRoom
from llmthrift_core.cache.store import Criteria, Freed, NewEntry, OutdatedError, Removed, Totals, fits, totals_of_row
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.leases import (
    END_LEASE,
    END_OLD_LEASES,
    GET_LEASE,
    RENEW_LEASE,
    TAKE_LEASE,
)
from llmthrift_core.storage.size_statements import lock_size
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import cache_entries, cache_labels

_KIND: Final = "exact"
_ROOM: Final = RoomStatements(_KIND, sql.EXPIRED_VICTIMS, sql.VICTIMS, sql.NAMESPACES_WITH_EXPIRED)
_LEASES_KEPT_US: Final = 60_000_000  # after their time, for those who wait, and look now and then
_REMOVALS_KEPT_US: Final = 86_400_000_000  # no model takes longer for an answer
_VIEW: Final = tuple(cache_entries.c[name] for name in VIEW_COLUMNS)


class SqlEntries:
    """An `EntryStore` in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = SqlRoom(database, _ROOM, remove=_remove_and_tell)
        # On SQLite asking for the epoch costs microseconds, on PostgreSQL a round trip.
        self.coherence_seconds = 0.0 if database.dialect == "sqlite" else 1.0

    @property
    def read_only(self) -> bool:
        """True where every write raises StorageError."""
        return self._database.read_only

    # --- hot path ---

    def epoch(self) -> int:
        """Rises with every live entry that is removed or replaced."""
        row = self._database.fetch_one(sql.GET_EPOCH)
        return 0 if row is None else row[0]

    def get(self, key: bytes) -> tuple[Entry, int] | None:
        """An entry and its epoch. Raises ValueError for a row that this library did not write."""
        row = self._database.fetch_one(sql.GET_ENTRY, (key,))
        return None if row is None else (entry_of_row(key, row), row[-1] or 0)

    def put(self, entry: NewEntry, policy: CachePolicy, since: int | None = None) -> int | None:
        """Add or replace. Returns the new epoch if a live entry was replaced.

        Raises:
            OutdatedError: it was removed, as it were, since that epoch.
        """
        epoch = None
        with self._database.transaction() as transaction:
            if since is not None and (removed := removed_since(transaction, self._database, since)):
                values = entry._asdict()
                if any(fits(each, values, policy.tags, policy.sources) for each in removed):
                    raise OutdatedError("it was removed while it was made")
            if not transaction.execute(sql.ADD_ENTRY, entry):
                lock_size(transaction, _KIND, entry.namespace)
                replaced = transaction.fetch_one(sql.GET_EXPIRY, (entry.key,))
                transaction.execute(sql.REPLACE_ENTRY, (*entry[1:], entry.key))
                transaction.execute(sql.REMOVE_LABELS, (entry.key,))
                # An expired entry answers in no process, so that none needs to be told.
                if replaced is None or replaced[0] is None or replaced[0] > entry.created_us:
                    epoch = _raise_epoch(transaction)
            for kind, labels in (("tag", policy.tags), ("source", policy.sources)):
                if labels:
                    rows = [_in_order(sql.ADD_LABEL, kind=kind, value=label, key=entry.key) for label in labels]
                    transaction.executemany(sql.ADD_LABEL, rows)
        return epoch

    def announce(self, criteria: Criteria, now_us: int) -> int:
        """What fulfils the criteria is about to be removed, and is not stored any more. Returns the new epoch."""
        return announce(self._database, criteria.to_json(), now_us)

    # --- leases ---

    @property
    def has_others(self) -> bool:
        """Whether other processes can see it: not where it is in memory."""
        return self._database.place is not None and not self._database.read_only

    def take_lease(self, key: bytes, holder: str, now_us: int, until_us: int) -> bool:
        """Take the lease of a key. False if somebody has it whose time is not over."""
        name = _lease(key)
        row = self._database.fetch_one(GET_LEASE, (name,))  # without waiting for a writer
        if row is not None and row[0] > now_us:
            return False
        with self._database.transaction() as transaction:
            return bool(transaction.execute(TAKE_LEASE, (name, holder, until_us, now_us)))

    def leased_until(self, key: bytes, now_us: int) -> int | None:
        """When the lease of a key expires, or has; None if it was given back."""
        row = self._database.fetch_one(GET_LEASE, (_lease(key),))
        return None if row is None else int(row[0])

    def renew_leases(self, keys: Sequence[bytes], holder: str, until_us: int) -> None:
        """Let those leases of a holder last longer which he still has."""
        rows = [_in_order(RENEW_LEASE, of_name=_lease(key), of_holder=holder, expires_us=until_us) for key in keys]
        with self._database.transaction() as transaction:
            transaction.executemany(RENEW_LEASE, rows)

    def end_lease(self, key: bytes, holder: str, now_us: int, *, passes_on: bool) -> None:
        """Give a lease back, or let it expire now for the next one to take, if the holder still has it."""
        if passes_on:
            self.renew_leases([key], holder, now_us)
            return
        with self._database.transaction() as transaction:
            transaction.execute(END_LEASE, (_lease(key), holder))

    # --- upkeep ---

    def count_uses(self, uses: Sequence[tuple[bytes, int, int]]) -> None:
        """Add (key, number of hits, time of the last) to entries."""
        rows = [_in_order(sql.COUNT_USES, of_key=key, uses=number, used_us=used_us) for key, number, used_us in uses]
        with self._database.transaction() as transaction:
            transaction.executemany(sql.COUNT_USES, rows)

    def remove(self, keys: Sequence[bytes]) -> tuple[int, int]:
        """Remove entries. Returns how many there were, and the new epoch."""
        removed, epoch = 0, None
        query = select(cache_entries.c.namespace, cache_entries.c.key).where(cache_entries.c.key.in_(keys))
        with self._database.read() as connection:
            found = connection.execute(query.order_by(*query.selected_columns)).all()
        for namespace, rows in groupby(found, key=itemgetter(0)):
            with self._database.transaction() as transaction:
                lock_size(transaction, _KIND, namespace)
                removed += _remove(transaction, [row[1] for row in rows])
                epoch = _raise_epoch(transaction)
        if epoch is None:
            with self._database.transaction() as transaction:
                epoch = _raise_epoch(transaction)
        return removed, epoch

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        return self._room.exceeds(policy)

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits, entries past their time first. `kept` stays."""
        return self._room.free(policy, kept=kept, now_us=now_us)

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        with self._database.transaction() as transaction:
            transaction.execute(END_OLD_LEASES, (now_us - _LEASES_KEPT_US,))
            transaction.execute(FORGET_REMOVALS, (now_us - _REMOVALS_KEPT_US,))
        return self._room.expire(now_us, most)

    # --- looking ---

    def find(self, criteria: Criteria) -> list[bytes]:
        """The keys of the entries that fulfil all criteria."""
        with self._database.read() as connection:
            return [bytes(key) for key in connection.execute(select(cache_entries.c.key).where(*_conditions(criteria))).scalars()]

    def views(self, criteria: Criteria, *, limit: int | None) -> list[EntryView]:
        """The entries that fulfil all criteria, the most used first."""
        order = cache_entries.c.hits.desc(), cache_entries.c.used_us.desc()
        query = select(*_VIEW).where(*_conditions(criteria)).order_by(*order)
        if limit is not None:
            query = query.limit(limit)
        with self._database.read() as connection:
            found = [view_of_row(row) for row in connection.execute(query)]
        return [view for view in found if view is not None]

    def totals(self, namespace: str | None, now_us: int) -> Totals:
        """What is stored in a namespace, or in all."""
        entry = cache_entries.c
        query = select(
            func.count(),
            func.coalesce(func.sum(entry.size_bytes), 0),
            func.coalesce(func.sum(entry.hits), 0),
            func.avg(entry.expires_us).filter(entry.expires_us > now_us),
        )
        if namespace is not None:
            query = query.where(entry.namespace == namespace)
        with self._database.read() as connection:
            entries, size_bytes, hits, expires_us = connection.execute(query).one()
        return totals_of_row(entries, size_bytes, hits, expires_us)


def _lease(key: bytes) -> str:
    return f"call:{key.hex()}"


def _remove(transaction: Transaction, keys: Iterable[bytes]) -> int:
    rows = [(key,) for key in sorted(keys)]
    transaction.executemany(sql.REMOVE_LABELS, rows)
    return transaction.executemany(sql.REMOVE_ENTRY, rows)


def _remove_and_tell(transaction: Transaction, keys: Sequence[bytes]) -> int:
    _remove(transaction, keys)
    return _raise_epoch(transaction)


def _raise_epoch(transaction: Transaction) -> int:
    transaction.execute(sql.RAISE_EPOCH)
    row = transaction.fetch_one(sql.GET_EPOCH)
    return int(row[0]) if row is not None else 0


def _conditions(criteria: Criteria) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [cache_entries.c[name] == value for name, value in criteria.wanted]
    for kind, label in (("tag", criteria.tag), ("source", criteria.source)):
        if label is not None:
            labelled = select(cache_labels.c.key).where(cache_labels.c.kind == kind, cache_labels.c.value == label)
            conditions.append(cache_entries.c.key.in_(labelled))
    return conditions


def _in_order(statement: Statement, **values: object) -> tuple[object, ...]:
    return tuple(values[name] for name in statement.names)
