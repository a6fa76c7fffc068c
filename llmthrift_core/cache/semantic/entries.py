"""Questions, answers and evidence of the semantic cache in the SQL database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import func, select

from llmthrift_core.cache.entry import Entry, metadata_from_json
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.storage import semantic_statements as sql
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import semantic_entries


class StoredAnswer(NamedTuple):
    """An answer as it is served.

    Attributes:
        entry: the same for the doors that serve payloads; its payload is b"" where the answer is all there is.
    """

    number: int
    question: str
    answer: str
    entry: Entry


class Known(NamedTuple):
    """What a process keeps in memory of an entry."""

    number: int
    question: str
    answer_class: int
    was_right: bool | None


class SemanticEntries:
    """Rows of the semantic cache. Every method raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, values: Mapping[str, Any], labels: Sequence[tuple[str, str]], evidence: Mapping[str, Any] | None) -> int | None:
        """Add an entry, or replace the one of its key, with what was learned from it. Returns its number.

        None where another process stores the same question at this moment: its answer stays.
        """
        key = values["key"]
        with self._database.transaction() as transaction:
            transaction.execute(sql.REMOVE_BY_KEY, (key,))
            row = transaction.fetch_one(sql.ADD_ENTRY, [values[name] for name in sql.ADD_ENTRY.names])
            if labels:
                from llmthrift_core.storage.cache_statements import ADD_LABEL, REMOVE_LABELS

                transaction.execute(REMOVE_LABELS, (key,))
                given = [{"kind": kind, "value": value, "key": key} for kind, value in labels]
                transaction.executemany(ADD_LABEL, [[label[name] for name in ADD_LABEL.names] for label in given])
            if evidence is not None:
                transaction.execute(sql.ADD_EVIDENCE, [evidence[name] for name in sql.ADD_EVIDENCE.names])
        return None if row is None else int(row[0])

    def by_key(self, key: bytes) -> StoredAnswer | None:
        """The answer to an equal question."""
        row = self._database.fetch_one(sql.GET_BY_KEY, (key,))
        return None if row is None else _answer_of(row)

    def by_number(self, number: int) -> StoredAnswer | None:
        """The answer with a number; None if it was removed."""
        row = self._database.fetch_one(sql.GET_BY_ID, (number,))
        return None if row is None else _answer_of(row)

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int]:
        """Entries of a scope that came after a number, their vectors, and the last number. Rows that are not ours are passed over."""
        rows = self._database.fetch_all(sql.NEW_IN_SCOPE, (scope, after, most))
        known: list[Known] = []
        vectors: list[Any] = []
        for number, question, answer_class, was_right, vector in rows:
            if type(vector) is not bytes or len(vector) != 4 * dimensions or type(question) is not str or type(answer_class) is not int:
                continue
            found = np.frombuffer(vector, dtype="<f4")
            if np.isfinite(found).all():
                known.append(Known(number, question, answer_class, None if was_right is None else bool(was_right)))
                vectors.append(found)
        stacked = np.array(vectors, dtype=np.float32) if vectors else np.empty((0, dimensions), dtype=np.float32)
        return known, stacked, rows[-1][0] if rows else after

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]:
        """Entries of a scope from one number to another without their vectors, and the last number that was read."""
        rows = self._database.fetch_all(sql.KNOWN_IN_SCOPE, (scope, after, until, most))
        known = [
            Known(number, question, answer_class, None if was_right is None else bool(was_right))
            for number, question, answer_class, was_right in rows
            if type(question) is str and type(answer_class) is int
        ]
        return known, rows[-1][0] if rows else until

    def count_in(self, scope: bytes, until: int) -> int:
        """The number of entries of a scope up to a number."""
        row = self._database.fetch_one(sql.COUNT_IN_SCOPE, (scope, until))
        return 0 if row is None else int(row[0])

    def evidence(self, namespace: str, space: str, after: int, most: int) -> list[tuple[int, bytes, int, int, int]]:
        """(number, features, right, weight in thousandths, checked) of the last evidence after a number, oldest first."""
        found = self._database.fetch_all(sql.NEW_EVIDENCE, (namespace, space, after, most))
        return [row for row in found[::-1] if type(row[1]) is bytes]

    def add_evidence(self, evidence: Mapping[str, Any]) -> None:
        """Keep what was learned."""
        with self._database.transaction() as transaction:
            transaction.execute(sql.ADD_EVIDENCE, [evidence[name] for name in sql.ADD_EVIDENCE.names])

    def count_uses(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Add (number, hits, time of the last) to entries."""
        rows = [dict(zip(("of_id", "uses", "used_us"), use, strict=True)) for use in uses]
        with self._database.transaction() as transaction:
            transaction.executemany(sql.COUNT_USE, [[row[name] for name in sql.COUNT_USE.names] for row in rows])

    def remove(self, number: int) -> bool:
        """Remove an entry. False if there was none."""
        with self._database.transaction() as transaction:
            return transaction.execute(sql.REMOVE_ENTRY, (number,)) > 0

    def remove_expired(self, now_us: int) -> int:
        """Remove entries past their time. Returns how many."""
        with self._database.transaction() as transaction:
            return transaction.execute(sql.REMOVE_EXPIRED, (now_us,))

    def keep_within(self, namespace: str, most: int) -> int:
        """Remove the longest unused entries beyond a number. Returns how many."""
        removed = 0
        excess = self.count(namespace) - most
        while excess > 0:
            rows = self._database.fetch_all(sql.OLDEST, (namespace, min(excess, 500)))
            with self._database.transaction() as transaction:
                removed += transaction.executemany(sql.REMOVE_ENTRY, [(row[0],) for row in rows])
            excess -= len(rows)
            if not rows:
                break
        return removed

    def count(self, namespace: str) -> int:
        """The number of entries."""
        query = select(func.count()).where(semantic_entries.c.namespace == namespace)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())


def _answer_of(row: Sequence[Any]) -> StoredAnswer | None:
    number, question, answer, payload, namespace, model, provider, metadata, usage, created_us, expires_us = row
    texts = (question, answer, namespace, model, usage)
    if not all(type(text) is str for text in texts) or type(created_us) is not int:
        return None
    try:
        required = {} if metadata is None else metadata_from_json(metadata)
    except ValueError:
        return None
    kept = payload if type(payload) is bytes else b""
    entry = Entry(b"", namespace, model, provider, required, kept, usage, created_us, expires_us)
    return StoredAnswer(number, question, answer, entry)
