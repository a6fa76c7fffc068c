"""From a question to the answer that the cache would give: its scope, the entries near to it, and what speaks for the nearest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache.near_misses import Facts, score
from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.casing import cases_differ
from llmthrift_core.cache.semantic.features import Candidate, candidate_of
from llmthrift_core.cache.semantic.hit import Considered
from llmthrift_core.cache.semantic.index import Vector
from llmthrift_core.cache.semantic.policy import Decision
from llmthrift_core.cache.semantic.question import QuestionForms
from llmthrift_core.cache.semantic.store import AnswerStore, Known, Neighbour, Scope, StoredAnswer
from llmthrift_core.embedding import Embedder, embedded

_LONGEST_QUESTION: Final = 2_000  # characters; beyond it only equal questions match
_MOST_SCOPES: Final = 2_000
_GUARDED: Final = 6  # how many of the questions with the shared answer are held against the guard

facts_of = lru_cache(maxsize=8_192)(Facts.of)


def against(asked: str, cached: str) -> str | None:
    """Why a cached question is not the one that is asked, or None if nothing speaks against it."""
    return None if asked == cached else difference(facts_of(asked), facts_of(cached)) or cases_differ(asked, cached)


@dataclass(slots=True)
class Asked:
    """A question on its way to an answer: what is known of it so far.

    Attributes:
        place: the digest of its scope. key: of it in its scope. text: its normalised form.
        vector: None until it is looked for by meaning.
        neighbours: the entries near to it. candidate: the answer that they share; None where there are none.
        passed: whether the guard lets that answer pass. Else the model's answer would say nothing about meaning.
        is_own: it is of somebody whose answers are not for others, and so teach the policy nothing.
        limits: which answers are good enough for this call; None: those that the cache's own limits allow.
        since: the store's epoch when no answer was found; None where it is not known.
    """

    question: str
    text: str
    place: bytes
    key: bytes
    vector: Vector | None = None
    neighbours: Sequence[Neighbour] = ()
    candidate: Candidate | None = None
    passed: bool = False
    decision: Decision | None = None
    is_own: bool = False
    limits: CachePolicy | None = None
    since: int | None = None

    @property
    def is_exact_only(self) -> bool:
        """Whether the question is too long, or too empty, to be compared by meaning."""
        return not self.text or len(self.text) > _LONGEST_QUESTION


class Match(NamedTuple):
    """The entry that would answer.

    Attributes:
        similarity: how sure it is that its question is the one that is asked (`guard.score`).
        cosine: of the embeddings of the two.
    """

    stored: StoredAnswer
    candidate: Candidate
    similarity: float
    cosine: float


class Search:
    """Finds candidates. Safe to share between threads.

    Args:
        now_us: the time in microseconds since the epoch.
    """

    def __init__(
        self, store: AnswerStore, embedder: Embedder, forms: QuestionForms, limits: CachePolicy, now_us: Callable[[], int]
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._forms = forms
        self._limits = limits
        self._now_us = now_us
        self._dimensions: int | None = None
        self._scopes: OrderedDict[bytes, Scope] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self, question: str, scope: str | bytes, who: Attribution, limits: CachePolicy | None = None, *, is_own: bool = False
    ) -> Asked:
        """A question of somebody in a scope.

        Args:
            is_own: only the user's own answers are looked for, or stored.
        """
        text = self._forms.normalised(question)
        place = self._forms.scope(scope, question, who, is_own=is_own)
        return Asked(question, text, place, self._forms.key(place, text), is_own=is_own, limits=limits)

    def in_place(self, question: str, place: bytes) -> Asked:
        """A question in a scope whose digest is known."""
        text = self._forms.normalised(question)
        return Asked(question, text, place, self._forms.key(place, text))

    def is_masked(self, text: str) -> bool:
        """Whether a text holds something that a named mask says does not matter."""
        return self._forms.guarded(text) != text

    def equal(self, asked: Asked) -> StoredAnswer | None:
        """The live answer to an equal question. Raises StorageError.

        One that only the key takes for equal keeps it: this one is then stored as it is written.
        """
        stored = self._live(self._store.by_key(asked.key), asked) if asked.text else None
        # Equal only where the masks, or one form for all capitals or all of Unicode, cover what differs: 2 to the tenth is not 210.
        if stored is not None and self._against(asked.question, stored.question):
            asked.key = self._forms.key_as_written(asked.place, asked.text)
            stored = self._live(self._store.by_key(asked.key), asked)
            if stored is not None and self._against(asked.question, stored.question):
                stored = None
        if stored is None and asked.text and (own := self._forms.own_key(asked.place, asked.text)) is not None:
            return self._live(self._store.by_key(own), asked)
        return stored

    def keep_to_itself(self, asked: Asked, answer: str) -> None:
        """An answer that contains what a mask covers in its question is given to the same question alone."""
        own = self._forms.own_key(asked.place, asked.text)
        if own is not None and self._forms.tells(asked.question, answer):
            asked.key, asked.vector = own, None

    def _against(self, asked: str, cached: str) -> str | None:
        return against(self._forms.guarded(asked), self._forms.guarded(cached))

    def look(self, asked: Asked) -> Match | None:
        """The entry that would answer by meaning, where the guard lets one pass. Fills in what `asked` lacks.

        Raises:
            EmbeddingError, StorageError: the embedder or the store failed.
        """
        asked.vector = vector = embedded(self._embedder, self._forms.masked(asked.text), self._dimensions)
        self._dimensions = len(vector)
        scope = self._scope(asked.place, len(vector))
        while True:
            entries = len(scope)
            asked.neighbours = scope.neighbours(vector)
            if not asked.neighbours:
                asked.candidate = None
                return None
            asked.candidate = candidate_of(asked.neighbours, asked.text, scope.weight, entries)
            match = self._passing(asked, asked.candidate, scope)
            asked.passed = match is not None
            if match is not None or len(scope) >= entries:
                return match  # else entries were gone, and without them another answer may be nearest

    def considered(self, asked: Asked) -> tuple[Considered, ...]:
        """The nearest entries, and what speaks against each."""
        answer = None if asked.candidate is None else asked.candidate.answer
        return tuple(
            Considered(each.question, each.similarity, self._against(asked.question, each.question), each.answer == answer)
            for each in asked.neighbours
        )

    def add(self, asked: Asked, known: Known) -> None:
        """An entry was stored for a question. Raises StorageError."""
        if asked.vector is not None:
            self._scope(asked.place, len(asked.vector), catch_up=False).add(known, asked.vector)

    def forget(self, place: bytes, number: int) -> None:
        """An entry is gone."""
        if (scope := self._scopes.get(place)) is not None:
            scope.forget(number)

    def clear(self) -> None:
        """All entries are gone."""
        with self._lock:
            self._scopes.clear()

    def keep_up(self) -> None:
        """Work that is better not done while a caller waits. Raises StorageError."""
        for scope in list(self._scopes.values()):
            scope.keep_up()

    def close(self) -> None:
        """Keep what another process would have to make again. Raises StorageError."""
        for scope in list(self._scopes.values()):
            scope.close()

    def after_fork(self) -> None:
        """Scopes are read again: another thread of the parent may have been changing them."""
        self._lock = threading.Lock()
        self._scopes = OrderedDict()

    def _passing(self, asked: Asked, candidate: Candidate, scope: Scope) -> Match | None:
        """Of the live entries with the shared answer that the guard lets pass, the one whose question is the surest to be the same."""
        facts = facts_of(asked.question)
        same = [each for each in asked.neighbours if each.answer == candidate.answer][:_GUARDED]
        passing = [each for each in same if self._against(asked.question, each.question) is None]
        scored = [(score(facts, facts_of(each.question), each.similarity), each) for each in passing]
        for similarity, each in sorted(scored, key=lambda found: -found[0]):
            stored = each.stored or self._store.by_number(each.entry)
            if stored is None:
                scope.forget(each.entry)
            elif self._live(stored, asked) is not None:
                return Match(stored, candidate, similarity, each.similarity)
        return None

    def _scope(self, place: bytes, dimensions: int, *, catch_up: bool = True) -> Scope:
        with self._lock:
            scope = self._scopes.get(place)
            if scope is None:
                scope = self._scopes[place] = self._store.scope(place, dimensions)
                catch_up = True
                if len(self._scopes) > _MOST_SCOPES:
                    self._scopes.popitem(last=False)
            else:
                self._scopes.move_to_end(place)
        if catch_up:
            scope.catch_up()
        return scope

    def _live(self, stored: StoredAnswer | None, asked: Asked) -> StoredAnswer | None:
        if stored is None:
            return None
        now_us = self._now_us()
        return stored if stored.entry.is_live(now_us) and stored.entry.answers(asked.limits or self._limits, now_us) else None
