"""Cache entries on a Valkey or Redis server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llmthrift_core.cache import scripts as lua
from llmthrift_core.cache.entry import Entry, EntryView, entry_of_row, view_of_row
from llmthrift_core.cache.leases import LEASE_SECONDS
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.store import Criteria, NewEntry, OutdatedError, fits
from llmthrift_core.cache.valkey_rows import ValkeyRows, announce, hash_of, lifetime_ms, removals_since
from llmthrift_core.storage.valkey import ValkeyServer

_REMOVED_MEANWHILE: Final = -2


class ValkeyEntries(ValkeyRows):
    """An `EntryStore` on Valkey. Listing and removing by anything but the key reads every entry of the namespace."""

    coherence_seconds = 1.0  # asking for the epoch is a round trip

    def __init__(self, server: ValkeyServer) -> None:
        super().__init__(server, lua.SCRIPTS)

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

    def put(self, entry: NewEntry, policy: CachePolicy, since: int | None = None) -> int | None:
        """Add or replace. Returns the new epoch if a live entry was replaced.

        Raises:
            OutdatedError: it was removed, as it were, since that epoch.
        """
        values: dict[str, Any] = entry._asdict()
        key, used_us = values.pop("key"), values.pop("used_us")
        arguments = hash_of(values, tags=policy.tags, sources=policy.sources)
        expires_us, ttl_ms = entry.expires_us, lifetime_ms(entry.created_us, entry.expires_us)
        given = key, entry.namespace, entry.created_us, "" if expires_us is None else expires_us, used_us, entry.size_bytes, ttl_ms
        while True:
            since = self._seen(entry, policy, since)
            epoch = int(self._server.run(lua.PUT, *given, "" if since is None else since, *arguments))
            if epoch != _REMOVED_MEANWHILE:
                return None if epoch < 0 else epoch

    def announce(self, criteria: Criteria, now_us: int) -> int:
        """What fulfils the criteria is about to be removed, and is not stored any more. Returns the new epoch."""
        return announce(self._server, criteria)

    def _seen(self, entry: NewEntry, policy: CachePolicy, since: int | None) -> int | None:
        """The last epoch whose removals leave the entry alone. Raises OutdatedError: one of them does not."""
        if since is None:
            return None
        for epoch, criteria in removals_since(self._server, since):
            if fits(criteria, entry._asdict(), policy.tags, policy.sources):
                raise OutdatedError("it was removed while it was made")
            since = max(since, epoch)
        return since

    # --- leases: the server's clock ends them ---

    has_others = True

    def take_lease(self, key: bytes, holder: str, now_us: int, until_us: int) -> bool:
        """Take the lease of a key. False if somebody has it whose time is not over."""
        return bool(self._server.run(lua.TAKE_LEASE, key, holder, max((until_us - now_us) // 1000, 1)))

    def leased_until(self, key: bytes, now_us: int) -> int | None:
        """When the lease of a key expires, or has, by the caller's clock; None if it was given back."""
        left_ms = self._server.run(lua.LEASE_LEFT, key)
        return None if left_ms is None else now_us + int(left_ms) * 1000

    def renew_leases(self, keys: Sequence[bytes], holder: str, until_us: int) -> None:
        """Let those leases of a holder last longer which he still has."""
        self._server.run(lua.RENEW_LEASES, holder, int(LEASE_SECONDS * 1000), *keys)

    def end_lease(self, key: bytes, holder: str, now_us: int, *, passes_on: bool) -> None:
        """Give a lease back, or let it expire now for the next one to take, if the holder still has it."""
        if passes_on:
            self._server.run(lua.RENEW_LEASES, holder, 0, key)
        else:
            self._server.run(lua.END_LEASE, key, holder)

    def remove(self, keys: Sequence[bytes]) -> tuple[int, int]:
        """Remove entries. Returns how many there were, and the new epoch."""
        removed, epoch = self._server.run(lua.REMOVE, *keys)
        return removed, epoch

    # --- looking ---

    def find(self, criteria: Criteria) -> list[bytes]:
        """The keys of the entries that fulfil all criteria."""
        return [key for key, _ in self.rows(criteria)]

    def views(self, criteria: Criteria, *, limit: int | None) -> list[EntryView]:
        """The entries that fulfil all criteria, the most used first."""
        found = [view_of_row((key, *row)) for key, row in self.rows(criteria)]
        readable = sorted((view for view in found if view is not None), key=lambda view: (view.hits, view.used_us), reverse=True)
        return readable[:limit]
