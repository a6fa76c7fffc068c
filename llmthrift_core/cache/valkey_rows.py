"""Entries on a Valkey or Redis server, of whatever cache: counted, kept within limits, and looked through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.scripts import ANNOUNCE, PREFIX, UpkeepScripts
from llmthrift_core.cache.store import Criteria, Freed, Removed, Totals, excess
from llmthrift_core.errors import RowRejectedError
from llmthrift_core.storage.valkey import ValkeyServer

_BATCH: Final = 500
_MOST_REMOVALS: Final = 10_000
_KEPT_MS: Final = 86_400_000  # after an entry's time, for the process that removes it with all that refers to it
_LONGEST_MS: Final = 2**50
_LISTED: Final = (
    "namespace", "model", "provider", "user", "feature", "prompt_version", "metadata", "size_bytes", "created_us", "expires_us",
    "tags", "sources",
)  # fmt: skip
_NUMBERS: Final = frozenset({"size_bytes", "created_us", "expires_us"})
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ValkeyRows:
    """The entries of one cache. Looking for anything but a key reads every entry of the namespace.

    Args:
        scripts: that cache's.
    """

    read_only = False

    def __init__(self, server: ValkeyServer, scripts: UpkeepScripts) -> None:
        self._server = server
        self._scripts = scripts
        self._prefix = scripts.prefix

    def count_uses(self, uses: Sequence[tuple[bytes | int, int, int]]) -> None:
        """Add (key, number of hits, time of the last) to entries."""
        self._server.run(self._scripts.count_uses, *(value for use in uses for value in use))

    def size(self, namespace: str) -> tuple[int, int]:
        """The number of entries, and what they count in bytes."""
        entries, size_bytes = self._server.ask_many([
            ("ZCARD", f"{self._prefix}used:{namespace}"),
            ("HGET", f"{self._prefix}bytes", namespace),
        ])  # fmt: skip
        return int(entries), int(size_bytes or 0)

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        return any(excess(policy, *self.size(policy.namespace)))

    def free(self, policy: CachePolicy, *, kept: bytes | int, now_us: int) -> Freed:
        """Remove what exceeds the limits, entries past their time first. `kept` stays."""
        namespace, *limits = policy.namespace, *("" if limit is None else limit for limit in (policy.max_entries, policy.max_bytes))
        answer = self._server.run(self._scripts.free, namespace, policy.eviction, kept, now_us, *limits, _BATCH)
        epoch, is_all, expired, *rows = answer
        freed = [Removed(key, namespace, size, bool(used)) for key, size, used in zip(rows[::3], rows[1::3], rows[2::3], strict=True)]
        return Freed(freed[:expired], freed[expired:], None if epoch < 0 else epoch, is_all=bool(is_all))

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        removed: list[Removed] = []
        for namespace in self._namespaces():
            rows = self._server.run(self._scripts.expire, namespace, now_us, most - len(removed))
            removed += [Removed(key, namespace, 0, bool(used)) for key, used in zip(rows[::2], rows[1::2], strict=True)]
            if len(removed) >= most:
                break
        return removed

    def totals(self, namespace: str | None, now_us: int) -> Totals:
        """What is stored in a namespace, or in all."""
        entries = size_bytes = hits = 0
        live: list[float] = []
        for name in self._namespaces() if namespace is None else [namespace]:
            counted = self.size(name)
            entries, size_bytes = entries + counted[0], size_bytes + counted[1]
            hits += sum(int(score) for _, score in self._server.scored(f"{self._prefix}rank:{name}"))
            live += [score for _, score in self._server.scored(f"{self._prefix}expires:{name}") if score > now_us]
        return Totals(entries, size_bytes, hits, sum(live) / len(live) if live else None)

    def _namespaces(self) -> list[str]:
        return sorted(name.decode() for name in self._server.members(f"{self._prefix}namespaces"))

    def rows(self, criteria: Criteria) -> Iterator[tuple[bytes, list[Any]]]:
        """Keys, and the values of a view, of the entries that fulfil all criteria."""
        wanted = dict(criteria.wanted)
        if len(wanted) < len(set(criteria.wanted)):
            return  # one name, two values
        for namespace in [wanted["namespace"]] if "namespace" in wanted else self._namespaces():
            ranks = list(self._server.scored(f"{self._prefix}rank:{namespace}"))
            for start in range(0, len(ranks), _BATCH):
                batch = [(rank[20:], int(rank[:20]), int(hits)) for rank, hits in ranks[start : start + _BATCH]]
                found = self._server.ask_many(("HMGET", f"{self._prefix}entry:".encode() + key, *_LISTED) for key, _, _ in batch)
                for (key, used_us, hits), values in zip(batch, found, strict=True):
                    row = _row(values)
                    if row is not None and _fulfils(row, wanted, criteria):
                        yield key, [*(row[name] for name in _LISTED[:10]), used_us, hits]


def hash_of(values: Mapping[str, Any], *, tags: Sequence[str], sources: Sequence[str]) -> list[Any]:
    """Fields and values of an entry's hash, one after the other; those that are None are left out.

    Raises:
        RowRejectedError: a text that cannot be stored.
    """
    given = {**values, "tags": _encode(tags) if tags else None, "sources": _encode(sources) if sources else None}
    fields = [each for name, value in given.items() if value is not None for each in (name, value)]
    try:
        return [text.encode() if isinstance(text, str) else text for text in fields]
    except UnicodeEncodeError:
        raise RowRejectedError("cannot write: a value cannot be stored (UnicodeEncodeError)") from None


def announce(server: ValkeyServer, criteria: Criteria) -> int:
    """Note that what fulfils the criteria is about to be removed. Returns the new epoch. Raises StorageError."""
    return int(server.run(ANNOUNCE, criteria.to_json(), _MOST_REMOVALS))


def removals_since(server: ValkeyServer, since: int) -> Iterator[tuple[int, str]]:
    """The epochs after one, and the criteria of what was removed at each. Raises StorageError."""
    for each in server.ask("ZRANGEBYSCORE", f"{PREFIX}removals", f"({since}", "+inf"):
        epoch, _, criteria = each.decode().partition(":")
        yield int(epoch), criteria


def lifetime_ms(created_us: int, expires_us: int | None) -> int | str:
    """How long the server keeps an entry's hash; "" is for ever."""
    return "" if expires_us is None else min((expires_us - created_us) // 1000 + _KEPT_MS, _LONGEST_MS)


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
