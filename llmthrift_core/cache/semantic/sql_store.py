"""Questions and answers of the semantic cache in the SQL database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from llmthrift_core.cache.entry import EntryView
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.removals import removals_since, removed_since
from llmthrift_core.cache.semantic import statements as sql
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.index_files import IndexFiles
from llmthrift_core.cache.semantic.memory_scope import MemoryScope
from llmthrift_core.cache.semantic.pgvector import PgvectorScope, packed_bytes
from llmthrift_core.cache.semantic.store import (
    MOST_RECENT,
    Known,
    NewAnswer,
    RecentScope,
    Scope,
    StoredAnswer,
    answer_of_row,
    newest_of,
    unit_vector_of,
)
from llmthrift_core.cache.semantic.stored import KIND, remove_where, totals
from llmthrift_core.cache.semantic.vector_statements import VectorTable
from llmthrift_core.cache.semantic.vector_tables import VectorTables
from llmthrift_core.cache.sql_room import RoomStatements, SqlRoom
from llmthrift_core.cache.statements import ADD_LABEL, GET_EPOCH, REMOVE_LABELS
from llmthrift_core.cache.store import Criteria, Freed, OutdatedError, Removed, Totals, fits
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.size_statements import lock_size
from llmthrift_core.storage.tables import semantic_entries

_entry = semantic_entries.c
_ROOM: Final = RoomStatements(KIND, sql.EXPIRED_VICTIMS, sql.VICTIMS, sql.NAMESPACES_WITH_EXPIRED)


class SqlAnswers:
    """An `AnswerStore` in SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = SqlRoom(database, _ROOM, remove=_remove)
        self._files = IndexFiles(database.path)
        self._tables = VectorTables(database)

    @property
    def read_only(self) -> bool:
        """True where every write raises StorageError."""
        return self._database.read_only

    # --- answers ---

    def scope(self, digest: bytes, dimensions: int) -> Scope:
        """The entries of a scope: in PostgreSQL where it has pgvector, else in this process's memory."""
        table = self._tables.table(dimensions)
        if table is not None:
            return PgvectorScope(self._database, self._tables, table, digest)
        return MemoryScope(self, self._files, digest, dimensions)

    def newest_scopes(self, namespace: str, space: str, most: int) -> list[RecentScope]:
        """The scopes of the last two thousand entries, the newest first."""
        rows = self._database.fetch_all(sql.NEWEST_ENTRIES, (namespace, space, MOST_RECENT))
        return newest_of(((bytes(row[0]), *row[1:]) for row in rows), most)

    def by_key(self, key: bytes) -> StoredAnswer | None:
        """The answer to an equal question."""
        row = self._database.fetch_one(sql.GET_BY_KEY, (key,))
        return None if row is None else answer_of_row(row)

    def by_number(self, number: int) -> StoredAnswer | None:
        """The answer with a number; None if it was removed."""
        row = self._database.fetch_one(sql.GET_BY_ID, (number,))
        return None if row is None else answer_of_row(row)

    def epoch(self) -> int | None:
        """Rises with every removal."""
        row = self._database.fetch_one(GET_EPOCH)
        return 0 if row is None else int(row[0])

    def put(self, new: NewAnswer, labels: Sequence[tuple[str, str]], since: int | None = None) -> int | None:
        """Add an entry, or replace the one of its key. Returns its number; None where another process is storing it.

        Raises:
            OutdatedError: it was removed, as it were, since that epoch.
        """
        table = self._tables.table(len(new.vector) // 4) if new.vector else None
        if table is not None and (number := self._add(table, new, labels)) is not None:
            # Looked for afterwards, which takes no lock: what is announced later finds the entry itself.
            if since is not None and _is_outdated(new, labels, removals_since(self._database, since)):
                self.remove(number)
                raise OutdatedError("it was removed while it was made")
            return number
        with self._database.transaction() as transaction:
            if since is not None and _is_outdated(new, labels, removed_since(transaction, self._database, since)):
                raise OutdatedError("it was removed while it was made")
            lock_size(transaction, KIND, new.namespace)
            if transaction.execute(sql.REMOVE_BY_KEY, (new.key,)):
                transaction.execute(REMOVE_LABELS, (new.key,))
            row = transaction.fetch_one(sql.ADD_ENTRY, new)
            if row is not None and table is not None:
                transaction.execute(table.add_recent, (packed_bytes(new.vector), row[0]))
            if labels:
                given = [{"kind": kind, "value": value, "key": new.key} for kind, value in labels]
                transaction.executemany(ADD_LABEL, [[label[name] for name in ADD_LABEL.names] for label in given])
        return None if row is None else int(row[0])

    def _add(self, table: VectorTable, new: NewAnswer, labels: Sequence[tuple[str, str]]) -> int | None:
        """Add an entry of a key that is not there yet, in one round trip. None where it is there."""
        kinds, values = [kind for kind, _ in labels], [value for _, value in labels]
        given = {**new._asdict(), "embedding": packed_bytes(new.vector), "kinds": kinds, "labels": values}
        row = self._database.write_one(table.add_entry, table.add_entry.in_order(**given))
        return None if row is None else int(row[0])

    # --- what a scope reads ---

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int, int]:
        """Entries of a scope that came after a number, their vectors, the last number, and how many rows were read.

        Rows that are not ours are passed over.
        """
        rows = self._database.fetch_all(sql.NEW_IN_SCOPE, (scope, after, most))
        known: list[Known] = []
        vectors: list[Any] = []
        for row in rows:
            vector, each = unit_vector_of(row[-1], dimensions), _known_of(row[:-1])
            if vector is not None and each is not None:
                known.append(each)
                vectors.append(vector)
        stacked = np.array(vectors, dtype=np.float32) if vectors else np.empty((0, dimensions), dtype=np.float32)
        return known, stacked, rows[-1][0] if rows else after, len(rows)

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]:
        """Entries of a scope from one number to another without their vectors, and the last number that was read."""
        rows = self._database.fetch_all(sql.KNOWN_IN_SCOPE, (scope, after, until, most))
        known = [each for each in map(_known_of, rows) if each is not None]
        return known, rows[-1][0] if rows else until

    def count_in(self, scope: bytes, until: int) -> int:
        """The number of entries of a scope up to a number."""
        row = self._database.fetch_one(sql.COUNT_IN_SCOPE, (scope, until))
        return 0 if row is None else int(row[0])

    # --- keeping within limits ---

    def count_uses(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Add (number, hits, time of the last) to entries."""
        rows = [sql.COUNT_USE.in_order(of_id=number, uses=hits, used_us=used_us) for number, hits, used_us in uses]
        with self._database.transaction() as transaction:
            transaction.executemany(sql.COUNT_USE, rows)

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        return self._room.exceeds(policy)

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits, entries past their time first. `kept` stays."""
        return self._room.free(policy, kept=kept, now_us=now_us)

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        return self._room.expire(now_us, most)

    def remove(self, number: int) -> bool:
        """Remove an entry. False if there was none."""
        found = self._database.fetch_one(sql.NAMESPACE_OF, (number,))
        if found is None:
            return False
        with self._database.transaction() as transaction:
            lock_size(transaction, KIND, found[0])
            row = transaction.fetch_one(sql.REMOVE_ENTRY, (number,))
            if row is not None:
                transaction.execute(REMOVE_LABELS, (row[0],))
        return row is not None

    def remove_where(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
        """Remove the entries that fulfil all criteria, and the predicate. Returns how many."""
        return remove_where(self._database, criteria, where)

    def totals(self, criteria: Criteria, now_us: int) -> Totals:
        """What is stored of the entries that fulfil all criteria."""
        return totals(self._database, criteria, now_us)


def _is_outdated(new: NewAnswer, labels: Sequence[tuple[str, str]], removed: Sequence[str]) -> bool:
    tags, sources = ([value for kind, value in labels if kind == wanted] for wanted in ("tag", "source"))
    return any(fits(each, new._asdict(), tags, sources) for each in removed)


def _remove(transaction: Transaction, keys: Sequence[bytes]) -> None:
    rows = [(key,) for key in sorted(keys)]
    transaction.executemany(REMOVE_LABELS, rows)
    transaction.executemany(sql.REMOVE_BY_KEY, rows)


def _known_of(row: Sequence[Any]) -> Known | None:
    number, question, answer_class, was_right = row
    if type(question) is not str or type(answer_class) is not int:
        return None
    return Known(number, question, answer_class, None if was_right is None else bool(was_right))
