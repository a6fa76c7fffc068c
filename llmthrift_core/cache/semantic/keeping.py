"""An answer that a model gave: it is stored, and shows whether the cache's would have been right."""

from __future__ import annotations

from typing import Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache.eviction import Evictor
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.cache.semantic.answer import Made, new_answer
from llmthrift_core.cache.semantic.checks import Checks
from llmthrift_core.cache.semantic.counts import CacheCounts
from llmthrift_core.cache.semantic.judges import AnswerClasses
from llmthrift_core.cache.semantic.question import hash_of_answer
from llmthrift_core.cache.semantic.search import Asked, Search
from llmthrift_core.cache.semantic.store import AnswerStore, Known
from llmthrift_core.cache.uses import Uses
from llmthrift_core.usage import Usage

_LOOK_FOR_EVIDENCE_EVERY: Final = 50
_OF_NO_MODEL: Final = Made(None, "", None, Usage())


class Keeper:
    """Stores answers, and the turns of histories. Safe to share between threads.

    Args:
        classes: says which answers are one.
        checks: hears whether the cache's answer would have been right.
        limits: where a question has none of its own.
        space: the embedder's name.
    """

    def __init__(
        self,
        classes: AnswerClasses,
        store: AnswerStore,
        search: Search,
        checks: Checks,
        counts: CacheCounts,
        evictor: Evictor,
        uses: Uses[int],
        limits: CachePolicy,
        space: str,
    ) -> None:
        self._classes = classes
        self._store = store
        self._search = search
        self._checks = checks
        self._counts = counts
        self._evictor = evictor
        self._uses = uses
        self._limits = limits
        self._space = space
        self._kept = 0
        self.is_slow = classes.is_slow

    def keep(self, asked: Asked, answer: str, who: Attribution, made: Made) -> None:
        """Store an answer, and learn from it. Raises EmbeddingError and StorageError."""
        if asked.vector is None and not asked.is_exact_only:  # stored without having been looked up
            self._search.look(asked)
        shared = None if asked.candidate is None else asked.candidate.answer
        answer_class = self._classes.class_of(answer, asked.neighbours, shared, self._answer_of)
        right = shared == answer_class if asked.passed else None
        self._search.keep_to_itself(asked, answer)
        self._counts.add(stores=self._put(asked, answer, answer_class, right, who, made))
        if right is not None and not asked.is_own:
            self._checks.learn(asked, right, made)
        self._kept += 1
        if self._kept % _LOOK_FOR_EVIDENCE_EVERY == 0:
            self._checks.catch_up()

    def keep_turn(self, asked: Asked, name: str, who: Attribution) -> None:
        """Store a turn of a history under a name. Raises StorageError."""
        self._put(asked, name, hash_of_answer(name), None, who, _OF_NO_MODEL)

    def _put(self, asked: Asked, answer: str, answer_class: int, right: bool | None, who: Attribution, made: Made) -> bool:
        limits, now_us = asked.limits or self._limits, self._checks.now_us()
        new = new_answer(asked, answer, answer_class, right, who, made, limits, self._space, self._uses.moment(now_us))
        if limits.max_bytes is not None and new.size_bytes > limits.max_bytes:
            return False
        labels = [("tag", tag) for tag in limits.tags] + [("source", source) for source in limits.sources]
        number = self._store.put(new, labels, asked.since)
        if number is not None:
            self._search.add(asked, Known(number, asked.question, answer_class, right))
            self._evictor.stored(limits, new.key, now_us)
        return True

    def _answer_of(self, number: int) -> str | None:
        stored = self._store.by_number(number)
        return None if stored is None else stored.answer
