"""Keeping the entries of a table in the SQL database within limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.store import Freed, Removed, chosen, excess
from llmthrift_core.storage.backend import Transaction
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.size_statements import lock_size, size_of
from llmthrift_core.storage.statements import Statement

_BATCH: Final = 500  # entries per transaction, so that other writers get their turn


class RoomStatements(NamedTuple):
    """The statements of a table. Those that find entries give key, namespace, size in bytes and hits.

    Attributes:
        kind: the table's name in `cache_sizes`.
        expired: finds entries of a namespace past their time.
        victims: finds live ones, in the order of each eviction policy.
        namespaces: finds the namespaces that have entries past their time.
    """

    kind: str
    expired: Statement
    victims: Mapping[str, Statement]
    namespaces: Statement


class SqlRoom:
    """Makes room in one table. Every method raises StorageError.

    Args:
        remove: removes the entries of some keys, with all that belongs to them. Returns the new epoch, where there is one.
    """

    def __init__(
        self, database: Database, statements: RoomStatements, *, remove: Callable[[Transaction, Sequence[bytes]], int | None]
    ) -> None:
        self._database = database
        self._statements = statements
        self._remove = remove

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        return any(excess(policy, *size_of(self._database, self._statements.kind, policy.namespace)))

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits, entries past their time first. `kept` stays."""
        statements = self._statements
        expired, evicted = "expired", policy.eviction
        by_order: dict[str, list[Removed]] = {expired: [], evicted: []}
        is_all = True
        with self._database.transaction() as transaction:
            entries, size_bytes = excess(policy, *lock_size(transaction, statements.kind, policy.namespace))
            for order in by_order:
                if not is_all or not (entries or size_bytes):
                    break
                most = _BATCH if size_bytes else min(_BATCH, entries)
                statement = statements.expired if order == expired else statements.victims[order]
                found = self._find(transaction, statement, policy.namespace, kept, now_us, most)
                by_order[order] = freed = chosen(found, entries=entries, size_bytes=size_bytes)
                entries, size_bytes = max(entries - len(freed), 0), max(size_bytes - sum(row.size_bytes for row in freed), 0)
                is_all = not (entries or size_bytes) or len(found) < most
            keys = [row.key for freed in by_order.values() for row in freed]
            epoch = self._remove(transaction, keys) if keys else None
        return Freed(by_order[expired], by_order[evicted], epoch, is_all)

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        removed: list[Removed] = []
        for (namespace,) in self._database.fetch_all(self._statements.namespaces, (now_us,)):
            with self._database.transaction() as transaction:
                lock_size(transaction, self._statements.kind, namespace)
                found = self._find(transaction, self._statements.expired, namespace, b"", now_us, most - len(removed))
                if found:
                    self._remove(transaction, [row.key for row in found])
            removed += found
            if len(removed) >= most:
                break
        return removed

    def _find(self, transaction: Transaction, statement: Statement, namespace: str, kept: bytes, now_us: int, most: int) -> list[Removed]:
        given: dict[str, Any] = {"namespace": namespace, "kept_key": kept, "now_us": now_us, "most": most}
        rows = transaction.fetch_all(statement, [given[name] for name in statement.names])
        return [Removed(key, namespace, size if type(size) is int else 0, hits != 0) for key, _, size, hits in rows]
