"""The exact cache: a memory tier in front of a store.

An entry answers only the request whose key it was stored under. The store decides: an entry that another process removed or
replaced is not answered from this process's memory, since every such change raises an epoch that is read before memory answers.
On SQLite that costs microseconds and happens for each hit; on a server it is a round trip, so it happens once per
`coherence_seconds`, and for so long memory may answer with what another process has removed.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Final

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.background.upkeep import Upkeep
from llmthrift_core.cache.counters import Tally, Troubles, alerts_of
from llmthrift_core.cache.entry import Entry, EntryView, metadata_to_json, usage_to_json
from llmthrift_core.cache.eviction import Evictor, purge
from llmthrift_core.cache.leases import CallLeases
from llmthrift_core.cache.memory import MemoryTier
from llmthrift_core.cache.policy import MIB, CachePolicy
from llmthrift_core.cache.single_flight import Flights
from llmthrift_core.cache.store import Criteria, EntryStore, NewEntry, OutdatedError, criteria_of
from llmthrift_core.cache.uses import Uses
from llmthrift_core.errors import ConfigurationError, RowRejectedError, StorageError
from llmthrift_core.usage import Usage

OUTDATED: Final = "what the answer was made of was invalidated while it was made"
_LAST_US: Final = 2**63 - 1
_BATCH: Final = 1_000
_MARGIN_SECONDS: Final = 1.0
# After waiting in vain for the database, stores are passed over for so many times as long as the wait took.
_REST_PER_WAIT: Final = 10.0
_LONGEST_REST_SECONDS: Final = 60.0


class ExactCache:
    """Answers by key, in memory and in a store. Safe to share between threads, and after fork.

    `lookup`, `store` and `discard` never raise: trouble is a miss, counted, and logged at most once a minute. After a store
    that waited in vain, stores are passed over for ten times as long, so that a locked database does not hold up every call. What is
    asked for explicitly (`clear`, `invalidate`, `entries`, `stats`, `purge_expired`) raises StorageError.

    Args:
        store: where entries live.
        clock: seconds since the epoch.
        memory_entries, memory_bytes: limits of the memory tier.
        coherence_seconds: how long memory may answer without asking the store whether entries were removed; None is what the store
            advises: 0 on SQLite, 1 on a server.
        write_seconds: how long the uses of entries may stay in memory before they are written.

    Attributes:
        flights: the calls under way, so that identical ones wait for each other.
        leases: those of other processes.
    """

    def __init__(
        self,
        store: EntryStore,
        *,
        clock: Callable[[], float] = time.time,
        memory_entries: int = 10_000,
        memory_bytes: int = 64 * MIB,
        coherence_seconds: float | None = None,
        write_seconds: float = 1.0,
    ) -> None:
        self.flights = Flights()
        self._store = store
        self._clock = clock
        self._coherence_seconds = store.coherence_seconds if coherence_seconds is None else coherence_seconds
        self._checked_at = float("-inf")
        self._memory = MemoryTier(max_entries=memory_entries, max_bytes=memory_bytes)
        self._tally = Tally()
        self._uses: Uses[bytes] = Uses()
        self._troubles = Troubles()
        try:
            self._memory_is_current()
        except StorageError as error:
            self._troubles.note("opening", error)
        uses, memory = self._uses, self._memory
        self._evictor = Evictor(store, self._tally, flush=lambda: uses.write(store), forget=memory.forget)
        self._upkeep = Upkeep(self._keep_up, interval_seconds=write_seconds)
        self._limits: dict[str, CachePolicy] = {}
        self._rests_until = float("-inf")
        self.leases = CallLeases(store, clock=clock, note=self._lease_failed, may_write=lambda: time.monotonic() >= self._rests_until)
        # At exit, or when the cache is dropped: uses that were not written yet. Holds no reference to the cache itself.
        self._last_write = weakref.finalize(self, _write_last, store, self._uses, os.getpid())
        renew_after_fork(self)

    # --- hot path ---

    def holds(self, key: bytes) -> bool:
        """Whether memory has the entry, live or not."""
        return key in self._memory

    def answers_at_once(self, key: bytes, policy: CachePolicy) -> bool:
        """Whether `lookup` will answer from memory without asking the store, as an event loop must. Never on SQLite."""
        # A margin, so that it still holds when `lookup` is called.
        if time.monotonic() - self._checked_at >= self._coherence_seconds / 2:
            return False
        entry, now_us = self._memory.get(key), int((self._clock() + _MARGIN_SECONDS) * 1_000_000)
        return entry is not None and entry.is_live(now_us) and entry.answers(policy, now_us)

    def lookup(self, key: bytes, policy: CachePolicy, *, again: bool = False) -> Entry | None:
        """The live entry with this key that the policy accepts, or None.

        Args:
            again: the request was counted as a miss, and has waited for the answer since.
        """
        expired = False
        try:
            now_us = int(self._clock() * 1_000_000)
            # What is required may have been stored beside an answer that lacks it.
            for each in (key, policy.variant(key)) if policy.require else (key,):
                entry, from_memory, was_expired = self._find(each, now_us)
                expired = expired or was_expired
                if entry is not None and not was_expired and entry.answers(policy, now_us):
                    self._tally.hit(policy.namespace, from_memory=from_memory, was_missed=again)
                    self._uses.add(each, now_us)
                    self._upkeep.wake()
                    return entry
        except Exception as error:
            self._troubles.note("lookup", error)
        if not again:
            self._tally.miss(policy.namespace, expired=expired)
        return None

    def store(
        self,
        key: bytes,
        policy: CachePolicy,
        payload: bytes,
        *,
        model: str,
        usage: Usage,
        provider: str | None = None,
        user: str | None = None,
        feature: str | None = None,
        since: int | None = None,
    ) -> bool:
        """Store or replace an answer. It is visible to other processes when this returns True.

        Args:
            key: from `policy.key`.
            payload: the answer, as the adapter encodes it.
            model, provider: who answered. usage: what the answer consumed.
            user, feature: for whom it was made; `invalidate(scope=...)` finds it by these.
            since: the epoch at which it was asked for: it is not stored if what it was made of has been invalidated since.
        """
        namespace = policy.namespace
        self._limits[namespace] = policy
        started = time.monotonic()
        if started < self._rests_until:
            self._tally.add(namespace, refused=1)
            return False
        try:
            now_us = int(self._clock() * 1_000_000)
            expires_us = None if policy.ttl_seconds is None else min(now_us + int(policy.ttl_seconds * 1e6), _LAST_US)
            metadata, usage_json = metadata_to_json(policy.metadata), usage_to_json(usage)
            size_bytes = len(payload) + len(usage_json) + len(metadata or "")
            if policy.max_bytes is not None and size_bytes > policy.max_bytes:
                self._tally.add(namespace, refused=1)
                return False
            key = self._place(key, policy, now_us)
            entry = NewEntry(
                key, namespace, model, provider, user, feature, policy.prompt_version, metadata,
                payload, usage_json, size_bytes, now_us, expires_us, self._uses.moment(now_us),
            )  # fmt: skip
            seen = self._memory.epoch
            epoch = self._store.put(entry, policy, since)
            if epoch is not None:
                self._memory.forget((key,), epoch)
                seen = epoch
            kept = Entry(key, namespace, model, provider, policy.metadata, payload, usage_json, now_us, expires_us)
            self._memory.put(kept, seen)
        except OutdatedError:
            self._troubles.note_not_kept(OUTDATED)
            return False
        except Exception as error:
            self._rest_after(error, started)
            self._troubles.note("store", error)
            return False
        self._tally.add(namespace, stores=1)
        try:
            self._evictor.stored(policy, key, now_us)
        except Exception as error:
            self._rest_after(error, started)
            self._troubles.note("eviction", error)
        self._upkeep.wake()
        return True

    def discard(self, key: bytes) -> None:
        """Remove one entry, such as one that cannot be decoded."""
        self._memory.discard(key)
        try:
            self._remove([key])
        except StorageError as error:
            self._troubles.note("discard", error)

    # --- removal ---

    def clear(self, namespace: str | None = None) -> int:
        """Remove every entry, or those of one namespace. Returns how many.

        Raises:
            StorageError: the database cannot be written.
        """
        criteria = criteria_of(namespace=namespace)
        self._announce(criteria)
        return self._remove(self._store.find(criteria))

    def invalidate(
        self,
        *,
        tag: str | None = None,
        source: str | None = None,
        scope: Mapping[str, str] | None = None,
        where: Callable[[EntryView], bool] | None = None,
        namespace: str | None = None,
    ) -> int:
        """Remove the entries that fit all given criteria. Returns how many.

        An answer that a model is making meanwhile is not stored, if it fits; with `where`, if it fits the rest.

        Args:
            tag, source: labels that the entries were stored with.
            scope: exact values of namespace, model, provider, user, feature or prompt_version.
            where: a predicate on the `EntryView` of each entry that fits the rest.
            namespace: only in this namespace.

        Raises:
            ConfigurationError: no criterion, or an unknown scope.
            StorageError: the database cannot be written.
        """
        criteria = criteria_of(tag=tag, source=source, scope=scope, namespace=namespace)
        if not criteria and where is None:
            raise ConfigurationError("invalidate() needs tag=, source=, scope=, where= or namespace=; to remove everything use clear()")
        self._announce(criteria)
        if where is None:
            return self._remove(self._store.find(criteria))
        return self._remove([bytes.fromhex(view.key) for view in self._store.views(criteria, limit=None) if where(view)])

    def purge_expired(self) -> int:
        """Remove the entries that no longer answer. Returns how many. Also happens by itself while the cache is used.

        Raises:
            StorageError: the database cannot be written.
        """
        self.flush()
        return purge(self._store, self._tally, int(self._clock() * 1_000_000))

    # --- looking ---

    def entries(self, namespace: str | None = None, *, limit: int | None = 100) -> list[EntryView]:
        """The entries, the most used first, without their answers.

        Raises:
            StorageError: the database cannot be read.
        """
        self.flush()
        return self._store.views(criteria_of(namespace=namespace), limit=limit)

    def stats(self, namespace: str | None = None) -> dict[str, int | float | None]:
        """Counts of this process, described in `tally.Counts`, and what is stored now.

        `stored_hits` counts the hits of the entries that are stored, in all processes. `uncacheable`, `errors` and the memory
        tier are those of all namespaces. Limits are those of the policy that stored last; None is no limit, or not known.

        Raises:
            StorageError: the database cannot be read.
        """
        self.flush()
        counts, now_us = self._tally.total(namespace), int(self._clock() * 1_000_000)
        stored = self._store.totals(namespace, now_us)
        lookups = counts.hits + counts.misses
        limits = self._limits.get(namespace) if namespace is not None else None
        return {
            "hits": counts.hits,
            "misses": counts.misses,
            "hit_rate": counts.hits / lookups if lookups else None,
            "memory_hits": counts.memory_hits,
            "stores": counts.stores,
            "refused": counts.refused,
            "evictions": counts.evictions,
            "evicted_unused": counts.evicted_unused,
            "expirations": counts.expirations,
            "expired_unused": counts.expired_unused,
            "uncacheable": sum(self._troubles.uncacheable.values()),
            "not_kept": sum(self._troubles.not_kept.values()),
            "errors": self._troubles.errors,
            "entries": stored.entries,
            "bytes": stored.size_bytes,
            "stored_hits": stored.hits,
            "max_entries": limits.max_entries if limits is not None else None,
            "max_bytes": limits.max_bytes if limits is not None else None,
            "average_remaining_ttl_seconds": None if stored.expires_us is None else (stored.expires_us - now_us) / 1e6,
            "memory_entries": len(self._memory),
            "memory_bytes": self._memory.size_bytes,
        }

    def alerts(self) -> list[str]:
        """What is wrong with the cache, one line for each, by namespaces that this process uses. Raises StorageError."""
        found: list[str] = []
        now_us = int(self._clock() * 1_000_000)
        for namespace, limits in list(self._limits.items()):
            counts, stored = self._tally.total(namespace), self._store.totals(namespace, now_us)
            found += alerts_of(
                name=f"cache, namespace {namespace!r}",
                hits=counts.hits,
                lookups=counts.hits + counts.misses,
                entries=stored.entries,
                max_entries=limits.max_entries,
                size_bytes=stored.size_bytes,
                max_bytes=limits.max_bytes,
                removed=counts.evictions + counts.expired_unused,
                removed_unused=counts.evicted_unused + counts.expired_unused,
            )
        return found

    def health(self) -> dict[str, Any]:
        """Counts for `Thrift.health`, without reading the store."""
        counts = self._tally.total()
        return {
            "hits": counts.hits,
            "misses": counts.misses,
            "stores": counts.stores,
            "uncacheable": dict(self._troubles.uncacheable),
            "not_kept": dict(self._troubles.not_kept),
            "errors": self._troubles.errors,
            "last_error": self._troubles.last_error,
        }

    def epoch(self) -> int | None:
        """Rises with every removal; None where it cannot be read. To be asked before a model is, and given to `store`."""
        try:
            return self._store.epoch()
        except StorageError as error:
            self._troubles.note("epoch", error)
            return None

    def note_not_kept(self, reason: str) -> None:
        """Count an answer that is not stored, because it is not whole and good."""
        self._troubles.note_not_kept(reason)

    def retract_hit(self, namespace: str) -> None:
        """What the last lookup found cannot be read: it counts as a miss."""
        self._tally.retract(namespace)

    def note_uncacheable(self, reason: str) -> None:
        """Count a request for which no key is possible, and say so once per reason."""
        self._troubles.note_uncacheable(reason)

    # --- life ---

    def flush(self) -> bool:
        """Write the uses that were counted since the last time. False if that was not possible; they are kept."""
        try:
            if not self._store.read_only:
                self._uses.write(self._store)
        except StorageError as error:
            self._troubles.note("flush", error)
            return False
        return True

    def close(self) -> None:
        """Write the counted uses and end the thread that does so. Closing twice does nothing."""
        self.leases.close()
        self._upkeep.stop()
        if self._last_write.detach() is not None:
            self.flush()

    def after_fork(self) -> None:
        """In a forked child: what the parent has counted, the parent writes."""
        self.flights.after_fork()
        self.leases.after_fork()
        self._memory.after_fork()
        self._tally.after_fork()
        self._uses.after_fork()
        self._troubles.after_fork()
        self._upkeep.after_fork()
        self._last_write.detach()
        self._last_write = weakref.finalize(self, _write_last, self._store, self._uses, os.getpid())

    # --- steps ---

    def _find(self, key: bytes, now_us: int) -> tuple[Entry | None, bool, bool]:
        """The entry of a key, whether it comes from memory, and whether it has expired."""
        entry = self._memory.get(key)
        from_memory = entry is not None and self._memory_is_current()
        expired = False
        if entry is not None and from_memory and not entry.is_live(now_us):
            # Another process may have stored a new answer, which needs no epoch.
            from_memory, expired = False, True
        if not from_memory:
            entry = self._read(key)
        return entry, from_memory, not entry.is_live(now_us) if entry is not None else expired

    def _place(self, key: bytes, policy: CachePolicy, now_us: int) -> bytes:
        """Where an answer is stored: beside a live one of another version, which goes on answering those who require it."""
        if not policy.require:
            return key
        variant, found = policy.variant(key), self._read(key)
        if found is not None and found.is_live(now_us) and found.metadata != policy.metadata:
            return variant
        if self._read(variant) is not None:  # from the time when there was another
            self._remove([variant])
        return key

    def _announce(self, criteria: Criteria) -> None:
        self._memory.forget((), self._store.announce(criteria, int(self._clock() * 1e6)))

    def _lease_failed(self, error: Exception, started: float) -> None:
        self._rest_after(error, started)
        self._troubles.note("lease", error)

    def _rest_after(self, error: Exception, started: float) -> None:
        if isinstance(error, StorageError) and not isinstance(error, RowRejectedError):
            now = time.monotonic()
            self._rests_until = now + min((now - started) * _REST_PER_WAIT, _LONGEST_REST_SECONDS)

    def _memory_is_current(self) -> bool:
        if self._coherence_seconds:
            now = time.monotonic()
            if now - self._checked_at < self._coherence_seconds:
                return True
            self._checked_at = now
        return self._memory.is_current(self._store.epoch())

    def _read(self, key: bytes) -> Entry | None:
        try:
            found = self._store.get(key)
        except ValueError:  # a hostile, truncated or foreign row
            self.discard(key)
            return None
        if found is None:
            return None
        self._memory.put(*found)
        return found[0]

    def _remove(self, keys: list[bytes]) -> int:
        removed = 0
        # In batches, so that other writers get their turn.
        for start in range(0, len(keys) or 1, _BATCH):
            batch = keys[start : start + _BATCH]
            # Even for no keys: nothing that fits may stay in the memory of another process.
            number, epoch = self._store.remove(batch)
            removed += number
            self._memory.forget(batch, epoch)
        return removed

    def _keep_up(self, is_purge_due: bool) -> None:
        try:
            if self.flush() and is_purge_due and not self._store.read_only:
                self.purge_expired()
        except StorageError as error:
            self._troubles.note("purge", error)


def _write_last(store: EntryStore, uses: Uses[bytes], process: int) -> None:
    if os.getpid() != process:
        return
    try:
        uses.write(store)
    except StorageError:
        return  # nobody is left who could be told
