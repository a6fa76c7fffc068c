"""Conversations whose earlier turns say the same in other words: one place for the answers to what is asked after them.

A history is followed turn by turn. Each turn is held against those that were said at the same place, as a question is: by meaning, and
under the near-miss guard. So two histories meet only if every turn of one says what the other's says, in the same order.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Generic, TypeVar

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.semantic.question import Turn
from llmthrift_core.cache.semantic.search import Asked, Search
from llmthrift_core.errors import ConfigurationError

LEAST_ALIKE: Final = 0.9
"""The least `SemanticHit.similarity` of two turns: a history has many, and one that differs is enough for another answer."""
_TELLING: Final = 4  # letters of a word that may name something
_WORD: Final = re.compile(r"\w+")
_REMEMBERED: Final = 8_192
Key = TypeVar("Key")
Value = TypeVar("Value")
TrustedWriters = Collection[str] | Callable[[Attribution], bool]


class Histories:
    """The scopes of questions that are asked after a history. Safe to share between threads; a forked child calls `after_fork`.

    Args:
        writers: whose turns are kept for others. A turn of somebody else that nobody said before is of that user alone.
        keep: stores a turn with a name for it.
        history: "meaning": turns are compared by meaning; "exact": they must be equal.

    Raises:
        ConfigurationError: another word.
    """

    def __init__(self, search: Search, writers: Writers, keep: Callable[[Asked, str, Attribution], None], history: str) -> None:
        self._search = search
        self._writers = writers
        self._keep = keep
        if history not in ("exact", "meaning"):
            raise ConfigurationError(f"history must be 'exact' or 'meaning', not {history!r}")
        self.by_meaning = history == "meaning"
        self._next = Latest[bytes, bytes](_REMEMBERED)

    def after_fork(self) -> None:
        """The parent's lock may have been held."""
        self._next.after_fork()

    def scope(self, scope: str | bytes, history: Sequence[Turn], who: Attribution, *, may_keep: bool) -> str | bytes | None:
        """Where answers to the question after this history are; None where there can be none yet.

        Args:
            scope: what must be equal.
            may_keep: a turn that was not said before is kept.

        Raises:
            EmbeddingError, StorageError: the embedder or the store failed.
        """
        if not history:
            return scope
        given = scope if isinstance(scope, bytes) else scope.encode("utf-8", "surrogatepass")
        if not self.by_meaning:
            return digest("history", given, canonical_json([list(turn) for turn in history]))
        place: bytes | None = digest("histories", given)
        for role, text in history:
            if place is None:
                break
            place = self._after(place, role, text, who, may_keep=may_keep)
        return place

    def _after(self, place: bytes, role: str, text: str, who: Attribution, *, may_keep: bool) -> bytes | None:
        asked = self._search.read(text, digest("turn", place, role.encode("utf-8", "surrogatepass")), who)
        written = text.encode("utf-8", "surrogatepass")
        if asked.is_exact_only or self._search.is_masked(asked.text):  # an answer may say again what is masked in a turn
            return digest("after", asked.place, written)
        said = digest("said", asked.key, written)
        if (known := self._next.get(said)) is not None:
            return known
        stored = self._search.equal(asked)
        if stored is None:
            match = self._search.look(asked)
            alike = match is not None and match.similarity >= LEAST_ALIKE and in_one_order(text, match.stored.question)
            stored = match.stored if match is not None and alike else None
        if stored is not None:
            name = stored.answer
        elif not self._writers.trusts(who):
            return digest("after", asked.place, written, canonical_json([who.user]))
        elif may_keep:
            name = asked.key.hex()
            self._keep(asked, name, who)
        else:
            return None
        after = digest("after", asked.place, name.encode("utf-8", "surrogatepass"))
        self._next.put(said, after)
        return after


def in_one_order(one: str, other: str) -> bool:
    """Whether two turns name what both name in the same order: a later turn may say "the first one".

    >>> in_one_order("A refund, or store credit?", "Store credit, or a refund?")
    False
    >>> in_one_order("Would you like a refund?", "Do you want a refund?")
    True
    """
    said = [[word for word in _WORD.findall(text.casefold()) if len(word) >= _TELLING] for text in (one, other)]
    shared = {word for word in said[0] if said[0].count(word) == said[1].count(word) == 1}
    mine, theirs = ([word for word in words if word in shared] for words in said)
    return mine == theirs


class Latest(Generic[Key, Value]):
    """Keeps so many items, those that were put or asked for last. Safe to share between threads; a forked child calls `after_fork`.

    >>> latest = Latest[str, int](2)
    >>> for place, name in enumerate("abc"):
    ...     latest.put(name, place)
    >>> latest.get("a"), latest.pop("c"), latest.pop("c")
    (None, 2, None)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._items: OrderedDict[Key, Value] = OrderedDict()

    def put(self, key: Key, value: Value) -> None:
        """Keep an item, and forget the oldest if there are too many."""
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            if len(self._items) > self._most:
                self._items.popitem(last=False)

    def get(self, key: Key) -> Value | None:
        """An item, which is the latest then."""
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
            return value

    def pop(self, key: Key) -> Value | None:
        """An item, which is forgotten then."""
        with self._lock:
            return self._items.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._items = OrderedDict(self._items)


class Writers:
    """Whose answers are shared. Those of everybody else answer their own questions only, and teach the policy nothing.

    Args:
        trusted: names of users, or a function that says of an attribution whether it is trusted; None trusts everybody.

    Raises:
        ConfigurationError: neither.
    """

    def __init__(self, trusted: Any) -> None:
        if trusted is None or callable(trusted):
            self._names, self._says = None, trusted
            return
        if isinstance(trusted, str) or not isinstance(trusted, Collection) or not all(isinstance(name, str) for name in trusted):
            raise ConfigurationError(
                f"trusted_writers must be names of users, such as ['curator'], or a function of an attribution, not {trusted!r}"
            )
        self._names, self._says = frozenset(trusted), None

    def trusts(self, who: Attribution) -> bool:
        """Whether others may be served what this one stores. Raises whatever the given function raises."""
        if self._says is not None:
            return bool(self._says(who))
        return self._names is None or who.user in self._names
