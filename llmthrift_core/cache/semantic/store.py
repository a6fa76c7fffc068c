"""The protocols of a store of questions and answers, and of one scope of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from llmthrift_core.cache.entry import Entry, metadata_from_json
from llmthrift_core.cache.store import BoundedStore, Criteria, Totals
from llmthrift_core.cache.uses import UseStore

if TYPE_CHECKING:
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.semantic.index import Vector
    from llmthrift_core.embedding import Embedder


class NewAnswer(NamedTuple):
    """A question and its answer, to be stored. Times are microseconds since the epoch.

    Attributes:
        key: of the scope and the normalised question. scope: digest of all that must be equal.
        answer_class: the same number for answers that say the same.
        vector: 32-bit floats, little endian, of length 1; empty for a question that is matched exactly only.
        was_right: whether the answer that the cache would have given was right, as 0 or 1; None if that is not known.
        payload: the adapter's bytes; None where the answer is all there is.
    """

    key: bytes
    namespace: str
    space: str
    scope: bytes
    question: str
    answer: str
    answer_class: int
    vector: bytes
    was_right: int | None
    payload: bytes | None
    model: str
    provider: str | None
    user: str | None
    feature: str | None
    prompt_version: str | None
    metadata: str | None
    usage: str
    size_bytes: int
    created_us: int
    expires_us: int | None
    used_us: int


class StoredAnswer(NamedTuple):
    """An answer as it is served.

    Attributes:
        entry: the same for the doors that serve payloads; its payload is b"" where the answer is all there is.
    """

    number: int
    question: str
    answer: str
    entry: Entry


class RecentScope(NamedTuple):
    """A scope with its newest entry.

    Attributes:
        digest: of all that must be equal. question, model, user: of the newest entry.
    """

    digest: bytes
    question: str
    model: str
    user: str | None


class Known(NamedTuple):
    """What is compared of an entry."""

    number: int
    question: str
    answer_class: int
    was_right: bool | None


MOST_RECENT: Final = 2_000


def newest_of(entries: Iterable[tuple[bytes, str, str, str | None]], most: int) -> list[RecentScope]:
    """The scopes of entries that come with the newest first."""
    found: dict[bytes, RecentScope] = {}
    for digest, question, model, user in entries:
        if digest not in found:
            found[digest] = RecentScope(digest, question, model, user)
            if len(found) == most:
                break
    return list(found.values())


class Scope(Protocol):
    """The entries of one scope. Safe to share between threads. Methods raise StorageError where they ask the store."""

    def __len__(self) -> int:
        """The number of entries, about."""
        ...

    def catch_up(self) -> None:
        """See what was stored, by any process, until now."""
        ...

    def add(self, known: Known, vector: Vector) -> None:
        """This process has stored an entry."""
        ...

    def forget(self, number: int) -> None:
        """An entry is gone."""
        ...

    def neighbours(self, vector: Vector) -> list[Neighbour]:
        """The nearest entries, the nearest first."""
        ...

    def weight(self, word: str) -> float:
        """How telling a word is here: its inverse document frequency."""
        ...

    def keep_up(self) -> None:
        """Work that is better not done while a caller waits."""
        ...

    def close(self) -> None:
        """Keep what another process would have to make again, if that is quick."""
        ...


class AnswerStore(BoundedStore, UseStore[int], Protocol):
    """Questions and answers. Every method raises StorageError where the store cannot be reached."""

    @property
    def read_only(self) -> bool:
        """True where every write raises StorageError."""
        ...

    def scope(self, digest: bytes, dimensions: int) -> Scope:
        """The entries of a scope, whose vectors have so many dimensions."""
        ...

    def newest_scopes(self, namespace: str, space: str, most: int) -> list[RecentScope]:
        """The scopes of the last two thousand entries, the newest first."""
        ...

    def by_key(self, key: bytes) -> StoredAnswer | None:
        """The answer to an equal question."""
        ...

    def by_number(self, number: int) -> StoredAnswer | None:
        """The answer with a number; None if it was removed."""
        ...

    def epoch(self) -> int | None:
        """Rises with every removal; None where removals are not told of. To be asked before a model is, and given to `put`."""
        ...

    def put(self, new: NewAnswer, labels: Sequence[tuple[str, str]], since: int | None = None) -> int | None:
        """Add an entry, or replace the one of its key. Returns its number.

        None where another process stores the same question at this moment: its answer stays.

        Args:
            labels: pairs of "tag" or "source" and a value, by which entries are removed.
            since: the epoch at which it was asked for.

        Raises:
            OutdatedError: it was removed, as it were, since that epoch.
        """
        ...

    def remove(self, number: int) -> bool:
        """Remove an entry. False if there was none."""
        ...

    def remove_where(self, criteria: Criteria, where: Callable[[EntryView], bool] | None = None) -> int:
        """Remove the entries that fulfil all criteria, and the predicate. Returns how many."""
        ...

    def totals(self, criteria: Criteria, now_us: int) -> Totals:
        """What is stored of the entries that fulfil all criteria."""
        ...


class GivenStore(AnswerStore, Protocol):
    """A store that is handed to the cache: it has an embedder, and maybe entries that others made."""

    @property
    def embedder(self) -> Embedder:
        """Gives the vectors that are stored."""
        ...

    def adopt(self, namespace: str, place: Callable[[str | bytes], bytes]) -> None:
        """Entries that others made belong to this namespace, in a scope of which `place` gives the digest.

        Raises:
            ConfigurationError: they belong to another namespace already.
        """
        ...


def answer_of_row(row: Sequence[Any]) -> StoredAnswer | None:
    """The answer in a row of the database; None for one that this library did not write."""
    number, key, question, answer, payload, namespace, model, provider, metadata, usage, created_us, expires_us = row
    texts = (question, answer, namespace, model, usage)
    if (
        not all(type(text) is str for text in texts)
        or type(key) is not bytes
        or type(created_us) is not int
        or (provider is not None and type(provider) is not str)
        or (expires_us is not None and type(expires_us) is not int)
    ):
        return None
    try:
        required = {} if metadata is None else metadata_from_json(metadata)
    except ValueError:
        return None
    kept = payload if type(payload) is bytes else b""
    return StoredAnswer(number, question, answer, Entry(key, namespace, model, provider, required, kept, usage, created_us, expires_us))


def vector_of(stored: Any, dimensions: int) -> Vector | None:
    """The vector in a row; None for anything but finite numbers of so many dimensions."""
    import numpy as np

    if type(stored) is not bytes or len(stored) != 4 * dimensions:
        return None
    found = np.frombuffer(stored, dtype="<f4")
    return found if np.isfinite(found).all() else None


def unit_vector_of(stored: Any, dimensions: int) -> Vector | None:
    """As `vector_of`, of length 1, about: a longer one, which is not ours, would be near to everything."""
    found = vector_of(stored, dimensions)
    return found if found is not None and 0.9 < float(found @ found) < 1.1 else None


class Neighbour(NamedTuple):
    """A cached question near to the one that is asked.

    Attributes:
        entry: its number.
        similarity: cosine, 1 for the same direction.
        answer: a number that is the same for the same answer.
        was_right: whether the answer that the cache would have given it was right; None if that is not known.
        stored: the entry, where the store has read it too; None says nothing.
    """

    entry: int
    similarity: float
    answer: int
    was_right: bool | None
    question: str
    stored: StoredAnswer | None = None
