"""Cache entries on a Valkey or Redis server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from llmthrift_core.cache.entry import Entry, EntryView, entry_of_row, view_of_row
from llmthrift_core.cache.leases import LEASE_SECONDS
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.store import Criteria, Freed, NewEntry, Order, Removed, Totals
from llmthrift_core.errors import RowRejectedError
from llmthrift_core.storage import cache_scripts as lua
from llmthrift_core.storage.valkey import ValkeyServer

_BATCH: Final = 500
_KEPT_MS: Final = 86_400_000  # after an entry's time, for the process that removes it with all that refers to it
_LONGEST_MS: Final = 2**50
_LISTED: Final = (
    "namespace", "model", "provider", "user", "feature", "prompt_version", "metadata", "size_bytes", "created_us", "expires_us",
    "tags", "sources",
)  # fmt: skip
_NUMBERS: Final = frozenset({"size_bytes", "created_us", "expires_us"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ValkeyEntries:
    """An `EntryStore` on Valkey. Listing and removing by anything but the key reads every entry of the namespace."""

    coherence_seconds = 1.0  # asking for the epoch is a round trip
    read_only = False

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server

    # --- hot path ---

    def epoch(self) -> int:
        """Rises with every live entry that is removed or replaced."""
        return int(self._server.ask("GET", f"{lua.PREFIX}epoch") or 0)

    def get(self, key: bytes) -> tuple[Entry, int] | None:
        """An entry and its epoch. Raises ValueError for a hash that this library did not write."""
        epoch, namespace, model, provider, metadata, payload, usage, created_us, expires_us = self._server.run(lua.GET, key)
        if namespace is None:
            return None
        texts = [None if value is None else value.decode() for value in (namespace, model, provider, metadata)]
        numbers = [None if value is None else int(value) for value in (created_us, expires_us)]
        return entry_of_row(key, (*texts, payload, None if usage is None else usage.decode(), *numbers, None)), int(epoch)

    def put(self, entry: NewEntry, policy: CachePolicy) -> int | None:
        """Add or replace. Returns the new epoch if a live entry was replaced."""
        values: dict[str, Any] = entry._asdict()
        key, used_us = values.pop("key"), values.pop("used_us")
        if policy.tags:
            values["tags"] = _encode(policy.tags)
        if policy.sources:
            values["sources"] = _encode(policy.sources)
        fields = [each for name, value in values.items() if value is not None for each in (name, value)]
        expires_us = entry.expires_us
        ttl_ms = "" if expires_us is None else min((expires_us - entry.created_us) // 1000 + _KEPT_MS, _LONGEST_MS)
        try:
            arguments = [text.encode() if isinstance(text, str) else text for text in fields]
        except UnicodeEncodeError:
            raise RowRejectedError("cannot write: a value cannot be stored (UnicodeEncodeError)") from None
        epoch = self._server.run(
            lua.PUT,
            *(key, entry.namespace, entry.created_us, "" if expires_us is None else expires_us, used_us, entry.size_bytes, ttl_ms),
            *arguments,
        )
        return None if epoch < 0 else int(epoch)

    # --- leases: the server's clock ends them ---

    has_others = True

    def take_lease(self, key: bytes, holder: str, now_us: int, until_us: int) -> bool:
        """Take the lease of a key. False if somebody has it."""
        ttl_ms = max((until_us - now_us) // 1000, 1)
        return self._server.ask("SET", _lease(key), holder, "NX", "PX", ttl_ms) is not None

    def leased_until(self, key: bytes) -> int | None:
        """Far in the future while somebody has the lease of a key; None if nobody has it."""
        return _LONGEST_MS * 1000 if self._server.ask("EXISTS", _lease(key)) else None

    def renew_leases(self, keys: Sequence[bytes], holder: str, until_us: int) -> None:
        """Let those leases of a holder last longer which he still has."""
        self._server.run(lua.RENEW_LEASES, holder, int(LEASE_SECONDS * 1000), *keys)

    def end_lease(self, key: bytes, holder: str) -> None:
        """Give a lease back, if the holder still has it."""
        self._server.run(lua.END_LEASE, key, holder)

    # --- upkeep ---

    def count_uses(self, uses: Sequence[tuple[bytes, int, int]]) -> None:
        """Add (key, number of hits, time of the last) to entries."""
        self._server.run(lua.COUNT_USES, *(value for use in uses for value in use))

    def remove(self, keys: Sequence[bytes]) -> tuple[int, int]:
        """Remove entries. Returns how many there were, and the new epoch."""
        removed, epoch = self._server.run(lua.REMOVE, *keys)
        return removed, epoch

    def count(self, namespace: str) -> int:
        """The number of entries."""
        return int(self._server.ask("ZCARD", f"{lua.PREFIX}used:{namespace}"))

    def size_bytes(self, namespace: str) -> int:
        """What the entries count in bytes."""
        return int(self._server.ask("HGET", f"{lua.PREFIX}bytes", namespace) or 0)

    def free(self, namespace: str, order: Order, *, kept: bytes, now_us: int, entries: int, size_bytes: int) -> Freed:
        """Remove entries but `kept`, the first in `order` first."""
        most = _BATCH if size_bytes else min(_BATCH, entries + 1)
        epoch, is_all, *rows = self._server.run(lua.FREE, namespace, order, kept, now_us, entries, size_bytes, most)
        freed = [Removed(key, namespace, size, bool(used)) for key, size, used in zip(rows[::3], rows[1::3], rows[2::3], strict=True)]
        return Freed(freed, None if epoch < 0 else epoch, is_all=bool(is_all))

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        removed: list[Removed] = []
        for namespace in self._namespaces():
            rows = self._server.run(lua.EXPIRE, namespace, now_us, most - len(removed))
            removed += [Removed(key, namespace, 0, bool(used)) for key, used in zip(rows[::2], rows[1::2], strict=True)]
            if len(removed) >= most:
                break
        return removed

    # --- looking ---

    def find(self, criteria: Criteria) -> list[bytes]:
        """The keys of the entries that fulfil all criteria."""
        return [key for key, _ in self._rows(criteria)]

    def views(self, criteria: Criteria, *, limit: int | None) -> list[EntryView]:
        """The entries that fulfil all criteria, the most used first."""
        found = [view_of_row((key, *row)) for key, row in self._rows(criteria)]
        readable = sorted((view for view in found if view is not None), key=lambda view: (view.hits, view.used_us), reverse=True)
        return readable[:limit]

    def totals(self, namespace: str | None, now_us: int) -> Totals:
        """What is stored in a namespace, or in all."""
        entries = size_bytes = hits = 0
        live: list[float] = []
        for name in self._namespaces() if namespace is None else [namespace]:
            entries += self.count(name)
            size_bytes += self.size_bytes(name)
            hits += sum(int(score) for _, score in self._server.scored(f"{lua.PREFIX}rank:{name}"))
            live += [score for _, score in self._server.scored(f"{lua.PREFIX}expires:{name}") if score > now_us]
        return Totals(entries, size_bytes, hits, sum(live) / len(live) if live else None)

    def _namespaces(self) -> list[str]:
        return sorted(name.decode() for name in self._server.members(f"{lua.PREFIX}namespaces"))

    def _rows(self, criteria: Criteria) -> Iterator[tuple[bytes, list[Any]]]:
        """Keys, and the values of a view, of the entries that fulfil all criteria."""
        wanted = dict(criteria.wanted)
        if len(wanted) < len(set(criteria.wanted)):
            return  # one name, two values
        for namespace in [wanted["namespace"]] if "namespace" in wanted else self._namespaces():
            ranks = list(self._server.scored(f"{lua.PREFIX}rank:{namespace}"))
            for start in range(0, len(ranks), _BATCH):
                batch = [(rank[20:], int(rank[:20]), int(hits)) for rank, hits in ranks[start : start + _BATCH]]
                found = self._server.ask_many(("HMGET", f"{lua.PREFIX}entry:".encode() + key, *_LISTED) for key, _, _ in batch)
                for (key, used_us, hits), values in zip(batch, found, strict=True):
                    row = _row(values)
                    if row is not None and _fulfils(row, wanted, criteria):
                        yield key, [*(row[name] for name in _LISTED[:10]), used_us, hits]


def _row(values: Sequence[bytes | None]) -> dict[str, Any] | None:
    """The values of _LISTED; None for an entry that is gone, or that this library did not write."""
    try:
        texts = {name: None if value is None else value.decode() for name, value in zip(_LISTED, values, strict=True)}
        numbers = {name: int(text) for name in _NUMBERS if (text := texts[name]) is not None}
        return None if texts["namespace"] is None else {**texts, **numbers}
    except ValueError:
        return None


def _fulfils(row: dict[str, Any], wanted: dict[str, str], criteria: Criteria) -> bool:
    if any(row[name] != value for name, value in wanted.items()):
        return False
    labels = (("tags", criteria.tag), ("sources", criteria.source))
    return all(label is None or (row[name] is not None and label in json.loads(row[name])) for name, label in labels)


def _lease(key: bytes) -> bytes:
    return f"{lua.PREFIX}lease:".encode() + key
