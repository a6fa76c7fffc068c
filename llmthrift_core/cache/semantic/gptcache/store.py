"""`GPTCacheStore`: questions, answers and vectors in an existing GPTCache, under llmthrift's scope, guard and error bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import numpy as np

from llmthrift_core.cache.entry import Entry, EntryView
from llmthrift_core.cache.keys import digest
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.gptcache.backend import Backend, Row
from llmthrift_core.cache.semantic.gptcache.directory import Directory, GPTCacheScope, Listed
from llmthrift_core.cache.semantic.gptcache.record import Record, header_of, header_text, is_ours, mark, parts_of, record_of
from llmthrift_core.cache.semantic.gptcache.removals import Removals
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.question import hash_of_answer
from llmthrift_core.cache.semantic.store import MOST_RECENT, Neighbour, NewAnswer, RecentScope, Scope, StoredAnswer, newest_of, vector_of
from llmthrift_core.cache.store import Criteria, Freed, OutdatedError, Removed, Totals, chosen, criteria_of, excess
from llmthrift_core.errors import ConfigurationError

_REMEMBERED: Final = 50_000  # vectors of rows that were read
_FIRST_SEARCH: Final = 64  # how many GPTCache is asked for; eight times as many where too few are of the scope
_MOST_SEARCHED: Final = 4_096


class _Seen(NamedTuple):
    """What is compared of a row that was read."""

    question: str
    answer_class: int
    was_right: bool | None
    vector: Vector


class GPTCacheStore:
    """The entries of a GPTCache `Cache`, for `SemanticCache(thrift, store=GPTCacheStore(cache))`. Safe to share between threads.

    Questions, answers and vectors stay in GPTCache; evidence and counts are in llmthrift's database. Nothing is moved: what GPTCache
    stored itself answers in one scope, since nobody knows what those answers depended on. What llmthrift stores there carries its scope,
    which GPTCache's own adapters know nothing of: do not ask through them what only one scope may hear.

    A hit is read from GPTCache again before it is served. Uses are counted in memory and told to GPTCache's eviction. What another process
    stores is seen where the vector store is shared, else after a restart. A question without a vector (a very long one) is not kept.

    Args:
        cache: an initialised `gptcache.Cache` with a scalar and a vector store.
        adopt_scope: the scope in which GPTCache's own entries answer, in the namespace of the `SemanticCache`; None: they never do.

    Attributes:
        embedder: GPTCache's embedding function, used where `SemanticCache` is given no other.

    Raises:
        MissingExtraError: the extra `gptcache` is not installed.
        ConfigurationError: not an initialised `Cache` with vectors.
    """

    read_only = False

    def __init__(self, cache: Any, *, adopt_scope: str | bytes | None = "") -> None:
        self._backend = Backend(cache)
        self.embedder = self._backend.embedder
        self._adopt_scope = adopt_scope
        self._namespace: str | None = None
        self._directory = Directory()
        self._removals = Removals()
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._is_listed = False

    def adopt(self, namespace: str, place: Callable[[str | bytes], bytes]) -> None:
        """GPTCache's own entries belong to a namespace, in the scope whose digest `place` gives.

        Raises:
            ConfigurationError: they belong to another namespace already.
        """
        if self._adopt_scope is None:
            return
        if self._namespace not in (None, namespace):
            raise ConfigurationError(
                f"the entries of this GPTCacheStore belong to namespace {self._namespace!r}, not {namespace!r}; "
                "for a second namespace make another with adopt_scope=None"
            )
        self._namespace = namespace
        self._directory.adopt(place(self._adopt_scope))

    # --- answers ---

    def scope(self, digest: bytes, dimensions: int) -> Scope:
        """The entries of a scope."""
        return GPTCacheScope(self, digest)

    def newest_scopes(self, namespace: str, space: str, most: int) -> list[RecentScope]:
        """The scopes of the last two thousand entries that llmthrift stored, the newest first."""
        with self._listing() as directory:
            listed = sorted(directory, key=lambda each: -each.number)[:MOST_RECENT]
        return newest_of(((each.header.scope, each.question, "", None) for each in listed), most)

    def by_key(self, key: bytes) -> StoredAnswer | None:
        """The answer to an equal question that llmthrift stored. GPTCache's own are found by their vectors, equal ones too."""
        with self._listing():
            number = self._directory.number_of(key)
            return None if number is None else self.by_number(number)

    def by_number(self, number: int) -> StoredAnswer | None:
        """The answer with a number; None if it was removed, or is not the one that was compared."""
        with self._listing() as directory:
            listed = directory.get(number)
            if listed is None and not directory.is_foreign(number):
                return None
            row = self._backend.row(number)
            if row is None:
                self.forget(number)
                return None
            if listed is None:
                return self._foreign(number, row)
            record = record_of(row.parts)
            if record is None or record.header != listed.header or row.question != listed.question:
                self.forget(number)
                return None
            return StoredAnswer(number, row.question, row.answer, record.entry())

    def epoch(self) -> int | None:
        """Rises with every removal by this process."""
        return self._removals.epoch

    def put(self, new: NewAnswer, labels: Sequence[tuple[str, str]], since: int | None = None) -> int | None:
        """Add an entry, or replace the one of its key. Returns its number; None where nothing was kept.

        Raises:
            OutdatedError: it was removed by this process, as it were, since that epoch.
        """
        vector = vector_of(new.vector, len(new.vector) // 4)
        if vector is None or not len(vector):
            return None
        header = header_of(new, labels)
        parts = parts_of(new, header, labels)
        with self._listing() as directory:
            if since is not None and self._removals.have_met(new, labels, since):
                raise OutdatedError("it was removed while it was made")
            before = directory.number_of(new.key)
            if before is not None:
                self._remove([before])
            number = self._backend.save(new.question, new.answer, vector, parts=parts, session=header_text(header))
            if number is not None:
                directory.add(number, header, new.question)
                self._remember(
                    number, _Seen(new.question, new.answer_class, None if new.was_right is None else bool(new.was_right), vector)
                )
            return number

    def remove(self, number: int) -> bool:
        """Remove an entry, GPTCache's own too. False if there was none."""
        with self._refreshed() as directory:
            is_there = directory.get(number) is not None or directory.is_foreign(number)
            if is_there:
                self._remove([number])
            return is_there

    def remove_where(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
        """Remove the entries of llmthrift that fulfil all criteria, and the predicate, for which all rows are read. Returns how many."""
        with self._refreshed():
            self._removals.announce(criteria)
            numbers = [
                listed.number
                for listed, record in self._fulfilling(criteria, is_read=where is not None)
                if where is None or (record is not None and where(record.view(listed.used_us, listed.hits)))
            ]
            self._remove(numbers)
            return len(numbers)

    def totals(self, criteria: Criteria, now_us: int) -> Totals:
        """What llmthrift has stored that fulfils all criteria."""
        with self._refreshed():
            found = [listed for listed, _ in self._fulfilling(criteria)]
        live = [at for listed in found if (at := listed.header.expires_us) is not None and at > now_us]
        size_bytes, hits = sum(listed.header.size_bytes for listed in found), sum(listed.hits for listed in found)
        return Totals(len(found), size_bytes, hits, sum(live) / len(live) if live else None)

    # --- what a scope asks ---

    def count_in(self, scope: bytes) -> int:
        """The number of entries of a scope, with those of GPTCache where it has adopted them."""
        with self._listing() as directory:
            return directory.count(scope)

    def questions_in(self, scope: bytes) -> list[str]:
        """The questions that llmthrift stored in a scope."""
        with self._listing() as directory:
            return directory.questions(scope)

    def nearest(self, scope: bytes, vector: Vector, most: int) -> list[Neighbour]:
        """The nearest entries of a scope, the nearest first. The cosine is that of the stored vectors, whatever GPTCache compares by.

        GPTCache searches all scopes at once. Where others crowd a scope out of the `_MOST_SEARCHED` nearest, it is a miss.
        """
        found: dict[int, Neighbour] = {}
        with self._listing() as directory:
            asked = _FIRST_SEARCH
            while directory.count(scope):
                limit = min(asked, directory.vectors)
                numbers = self._backend.search(vector, limit)
                if not directory.knows_all(numbers):
                    self._refresh()
                    directory.note_gone(numbers)
                for number in numbers:
                    if len(found) < most and number not in found and directory.holds(scope, number):
                        near = self._neighbour(number, vector)
                        if near is None:
                            self.forget(number)
                            directory.note_gone([number])
                        else:
                            found[number] = near
                if len(found) >= min(most, directory.count(scope)) or asked >= _MOST_SEARCHED:
                    break
                if limit == asked:
                    asked *= 8
                elif limit == min(asked, directory.vectors):  # all were searched
                    break
        return sorted(found.values(), key=lambda near: -near.similarity)

    def forget(self, number: int) -> None:
        """An entry is gone."""
        with self._backend.lock:
            self._directory.forget(number)
            self._seen.pop(number, None)

    def flush(self) -> None:
        """Write the vector store's file if that is due."""
        self._backend.flush()

    # --- keeping within limits ---

    def count_uses(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Add (number, hits, time of the last) to entries, in memory, and tell GPTCache's eviction."""
        with self._listing() as directory:
            for number, hits, used_us in uses:
                self._backend.touch(number)
                if (listed := directory.get(number)) is not None:
                    listed.hits += hits
                    listed.used_us = used_us

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether what llmthrift stored of the policy's namespace exceeds its limits."""
        stored = self._total(policy.namespace)
        return any(excess(policy, stored.entries, stored.size_bytes))

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits of llmthrift's entries but `kept`; those of GPTCache are left to its own eviction."""
        with self._refreshed() as directory:
            ours = [each for each in directory if each.header.namespace == policy.namespace]
            entries, size_bytes = excess(policy, len(ours), sum(each.header.size_bytes for each in ours))
            first: list[Listed] = []
            then: list[Listed] = []
            for each in ours:
                if each.header.key != kept:
                    (first if _is_expired(each, now_us) else then).append(each)
            then.sort(key=lambda each: (each.hits if policy.eviction == "lfu" else 0, each.used_us))
            ordered = [*first, *then]
            freed = chosen(map(_removed, ordered), entries=entries, size_bytes=size_bytes)
            self._remove([each.number for each in ordered[: len(freed)]])
        return Freed(freed[: len(first)], freed[len(first) :], None, is_all=True)

    def expire(self, now_us: int, most: int) -> list[Removed]:
        """Remove up to `most` entries past their time."""
        with self._refreshed() as directory:
            there = [each for each in directory if _is_expired(each, now_us)][:most]
            self._remove([each.number for each in there])
        return [_removed(each) for each in there]

    # --- steps ---

    @contextmanager
    def _listing(self) -> Iterator[Directory]:
        """Our turn, with everything listed once."""
        with self._backend.lock:
            if not self._is_listed:
                self._refresh()
                self._is_listed = True
            yield self._directory

    @contextmanager
    def _refreshed(self) -> Iterator[Directory]:
        """Our turn, with everything listed now: GPTCache may have evicted some."""
        with self._backend.lock:
            self._refresh()
            self._is_listed = True
            yield self._directory

    def _refresh(self) -> None:
        live = self._backend.live()
        if self._directory.lacks(live):
            self._directory.take(live, self._backend.sessions())

    def _neighbour(self, number: int, vector: Vector) -> Neighbour | None:
        seen = self._seen.get(number) or self._see(number)
        if seen is None or len(seen.vector) != len(vector):
            return None
        return Neighbour(number, float(np.dot(seen.vector, vector)), seen.answer_class, seen.was_right, seen.question)

    def _see(self, number: int) -> _Seen | None:
        """Read a row that is not remembered. None for one that is gone or unreadable, or not what it was listed as."""
        listed, row = self._directory.get(number), self._backend.row(number)
        if row is None or row.vector is None:
            return None
        if listed is None:
            seen = None if is_ours(row.parts) else _Seen(row.question, hash_of_answer(row.answer), None, row.vector)
        elif row.question == listed.question:
            right = listed.header.was_right
            seen = _Seen(row.question, listed.header.answer_class, None if right is None else bool(right), row.vector)
        else:
            seen = None
        if seen is not None:
            self._remember(number, seen)
        return seen

    def _remember(self, number: int, seen: _Seen) -> None:
        self._seen[number] = seen
        self._seen.move_to_end(number)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _foreign(self, number: int, row: Row) -> StoredAnswer | None:
        """An answer that GPTCache stored itself, and that is still the one which was compared."""
        seen = self._seen.get(number)
        if is_ours(row.parts) or (seen is not None and seen[:2] != (row.question, hash_of_answer(row.answer))):
            self.forget(number)
            return None
        key = digest("gptcache", row.question.encode("utf-8", "surrogatepass"), row.answer.encode("utf-8", "surrogatepass"))
        entry = Entry(key, self._namespace or "", "", None, {}, b"", "{}", row.created_us, None)
        return StoredAnswer(number, row.question, row.answer, entry)

    def _remove(self, numbers: Sequence[int]) -> None:
        self._backend.remove(numbers)
        for number in numbers:
            self.forget(number)

    def _fulfilling(self, criteria: Criteria, *, is_read: bool = False) -> Iterator[tuple[Listed, Record | None]]:
        """Entries with all marks that are asked for, and their records if they are to be read."""
        namespaces = {value for name, value in criteria.wanted if name == "namespace"}
        labels = (("tag", criteria.tag), ("source", criteria.source))
        others = (*(pair for pair in criteria.wanted if pair[0] != "namespace"), *labels)
        marks = {mark(kind, value) for kind, value in others if value is not None}
        for listed in self._directory:
            header = listed.header
            if namespaces - {header.namespace} or (header.marks is not None and not marks.issubset(header.marks)):
                continue
            record = None
            if is_read or (marks and header.marks is None):
                row = self._backend.row(listed.number)
                record = None if row is None else record_of(row.parts)
                if record is None or not marks.issubset(record.marks()):
                    continue
            yield listed, record

    def _total(self, namespace: str) -> Totals:
        return self.totals(criteria_of(namespace=namespace), 0)


def _is_expired(listed: Listed, now_us: int) -> bool:
    return listed.header.expires_us is not None and listed.header.expires_us <= now_us


def _removed(listed: Listed) -> Removed:
    return Removed(listed.header.key, listed.header.namespace, listed.header.size_bytes, listed.hits != 0)
