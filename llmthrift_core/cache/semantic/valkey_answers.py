"""Questions and answers of the semantic cache on a Valkey or Redis server, searched in the memory of each process. Loads no numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.cache.entry import Entry, EntryView, metadata_from_json, view_of_row
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.scripts import PREFIX
from llmthrift_core.cache.semantic import scripts as lua
from llmthrift_core.cache.semantic.store import MOST_RECENT, Known, NewAnswer, RecentScope, Scope, StoredAnswer, newest_of, unit_vector_of
from llmthrift_core.cache.store import Criteria, Freed, OutdatedError, Totals, fits
from llmthrift_core.cache.valkey_rows import ValkeyRows, announce, hash_of, lifetime_ms, removals_since
from llmthrift_core.storage.valkey import ValkeyServer

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.index import Vector

_BATCH: Final = 500
_KNOWN: Final = ("question", "answer_class", "was_right", "vector")


class ValkeyAnswers:
    """An `AnswerStore` on Valkey. Removing by anything but the number reads every entry of the namespace.

    Every process keeps the vectors of the scopes that it searches, and asks for what is new at each lookup. A hit is read again before it
    is served.
    """

    read_only = False

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._kept = ValkeyRows(server, lua.SCRIPTS)

    # --- answers ---

    def scope(self, digest: bytes, dimensions: int) -> Scope:
        """The entries of a scope."""
        from llmthrift_core.cache.semantic.index_files import IndexFiles
        from llmthrift_core.cache.semantic.memory_scope import MemoryScope

        return MemoryScope(self, IndexFiles(None), digest, dimensions)

    def newest_scopes(self, namespace: str, space: str, most: int) -> list[RecentScope]:
        """The scopes of the last two thousand entries, the newest first."""
        last = int(self._server.ask("GET", f"{lua.PREFIX}next") or 0)
        numbers = range(last, max(last - MOST_RECENT, 0), -1)
        fields = ("namespace", "space", "scope", "question", "model", "user")
        rows = self._server.ask_many(("HMGET", f"{lua.PREFIX}entry:{number}", *fields) for number in numbers)
        wanted = (namespace.encode(), space.encode())
        found = ((row[2], *(value and value.decode(errors="replace") for value in row[3:])) for row in rows if tuple(row[:2]) == wanted)
        return newest_of(found, most)

    def by_key(self, key: bytes) -> StoredAnswer | None:
        """The answer to an equal question."""
        number, *values = self._server.run(lua.GET_BY_KEY, key)
        return None if number is None else _answer_of(int(number), values)

    def by_number(self, number: int) -> StoredAnswer | None:
        """The answer with a number; None if it was removed."""
        return _answer_of(number, self._server.ask("HMGET", f"{lua.PREFIX}entry:{number}", *lua.FIELDS))

    def epoch(self) -> int | None:
        """Rises with every removal."""
        return int(self._server.ask("GET", f"{PREFIX}epoch") or 0)

    def put(self, new: NewAnswer, labels: Sequence[tuple[str, str]], since: int | None = None) -> int | None:
        """Add an entry, or replace the one of its key. Returns its number.

        Raises:
            OutdatedError: it was removed, as it were, since that epoch.
        """
        values: dict[str, Any] = new._asdict()
        tags, sources = ([value for kind, value in labels if kind == wanted] for wanted in ("tag", "source"))
        number = self._server.run(
            lua.PUT,
            *(new.key, new.namespace, new.scope, "" if new.expires_us is None else new.expires_us, new.used_us, new.size_bytes),
            lifetime_ms(new.created_us, new.expires_us),
            *hash_of({name: value for name, value in values.items() if name != "used_us"}, tags=tags, sources=sources),
        )
        # Looked for afterwards: what is announced later finds the entry itself.
        if since is not None and any(fits(each, values, tags, sources) for _, each in removals_since(self._server, since)):
            self.remove(int(number))
            raise OutdatedError("it was removed while it was made")
        return int(number)

    def remove(self, number: int) -> bool:
        """Remove an entry. False if there was none."""
        namespace = self._server.ask("HGET", f"{lua.PREFIX}entry:{number}", "namespace")
        return namespace is not None and self._server.run(lua.REMOVE, namespace, number) > 0

    def remove_where(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
        """Remove the entries that fulfil all criteria, and the predicate. Returns how many."""
        announce(self._server, criteria)
        found: dict[str, list[bytes]] = {}
        for number, row in self._kept.rows(criteria):
            if where is None or ((view := view_of_row((self._key_of(number), *row))) is not None and where(view)):
                found.setdefault(row[0], []).append(number)
        removed = 0
        for namespace, numbers in found.items():
            for start in range(0, len(numbers), _BATCH):  # in batches, so that others get their turn
                removed += self._server.run(lua.REMOVE, namespace, *numbers[start : start + _BATCH])
        return removed

    def totals(self, criteria: Criteria, now_us: int) -> Totals:
        """What is stored of the entries that fulfil all criteria."""
        namespace = dict(criteria.wanted).get("namespace")
        if criteria == Criteria((("namespace", namespace),) if namespace is not None else ()):
            return self._kept.totals(namespace, now_us)
        rows = [row for _, row in self._kept.rows(criteria)]
        live = [row[9] for row in rows if row[9] is not None and row[9] > now_us]
        size_bytes, hits = sum(row[7] or 0 for row in rows), sum(row[11] for row in rows)
        return Totals(len(rows), size_bytes, hits, sum(live) / len(live) if live else None)

    # --- what a scope reads ---

    def new_in(self, scope: bytes, after: int, most: int, dimensions: int) -> tuple[list[Known], Vector, int, int]:
        """Entries of a scope that came after a number, their vectors, the last number, and how many rows were read.

        Rows that are not ours are passed over.
        """
        import numpy as np

        name = f"{lua.PREFIX}scope:".encode() + scope
        numbers = [int(number) for number in self._server.ask("ZRANGEBYSCORE", name, f"({after}", "+inf", "LIMIT", 0, most)]
        known: list[Known] = []
        vectors: list[Any] = []
        for number, values in zip(numbers, self._read(numbers), strict=True):
            vector, each = unit_vector_of(values[-1], dimensions), _known_of(number, values)
            if vector is not None and each is not None:
                known.append(each)
                vectors.append(vector)
        stacked = np.array(vectors, dtype=np.float32) if vectors else np.empty((0, dimensions), dtype=np.float32)
        return known, stacked, numbers[-1] if numbers else after, len(numbers)

    def known_in(self, scope: bytes, after: int, until: int, most: int) -> tuple[list[Known], int]:
        """Nothing: no graph is kept in a file."""
        return [], until

    def count_in(self, scope: bytes, until: int) -> int:
        """The number of entries of a scope up to a number."""
        return int(self._server.ask("ZCOUNT", f"{lua.PREFIX}scope:".encode() + scope, "-inf", until))

    def _key_of(self, number: bytes) -> bytes | None:
        key: bytes | None = self._server.ask("HGET", f"{lua.PREFIX}keys", number)
        return key

    def _read(self, numbers: Sequence[int]) -> Iterable[list[Any]]:
        for start in range(0, len(numbers), _BATCH):
            batch = numbers[start : start + _BATCH]
            yield from self._server.ask_many(("HMGET", f"{lua.PREFIX}entry:{number}", *_KNOWN) for number in batch)

    # --- keeping within limits ---

    def count_uses(self, uses: Sequence[tuple[int, int, int]]) -> None:
        """Add (number, hits, time of the last) to entries."""
        self._kept.count_uses(uses)

    def exceeds(self, policy: CachePolicy) -> bool:
        """Whether the policy's namespace holds more than its limits."""
        return self._kept.exceeds(policy)

    def free(self, policy: CachePolicy, *, kept: bytes, now_us: int) -> Freed:
        """Remove what exceeds the limits, entries past their time first. `kept` stays."""
        number = self._server.ask("HGET", f"{lua.PREFIX}numbers", kept)
        return self._kept.free(policy, kept=number or b"", now_us=now_us)

    def expire(self, now_us: int, most: int) -> Sequence[Any]:
        """Remove up to `most` entries past their time."""
        return self._kept.expire(now_us, most)


def _known_of(number: int, values: Sequence[Any]) -> Known | None:
    question, answer_class, was_right, _ = values
    try:
        return Known(number, question.decode(), int(answer_class), None if was_right is None else int(was_right) != 0)
    except (AttributeError, TypeError, ValueError):  # gone, or not ours
        return None


def _answer_of(number: int, values: Sequence[Any]) -> StoredAnswer | None:
    key, question, answer, payload, namespace, model, provider, metadata, usage, created_us, expires_us = values
    try:
        texts = [text.decode() for text in (question, answer, namespace, model, usage)]
        required = {} if metadata is None else metadata_from_json(metadata.decode())
        maker = None if provider is None else provider.decode()
        until = None if expires_us is None else int(expires_us)
        entry = Entry(bytes(key), texts[2], texts[3], maker, required, payload or b"", texts[4], int(created_us), until)
    except (AttributeError, TypeError, ValueError):  # gone, or not ours
        return None
    return StoredAnswer(number, texts[0], texts[1], entry)
