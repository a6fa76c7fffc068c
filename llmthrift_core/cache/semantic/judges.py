"""Comparison of two answers: equal words, near meanings without a difference of facts, or what a model says.

A judge is any function of two answers. One with `is_slow = True` is asked off the caller's path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from llmthrift_core.cache.near_misses import Facts
from llmthrift_core.cache.near_misses.comparing import difference
from llmthrift_core.cache.semantic.question import hash_of_answer
from llmthrift_core.cache.semantic.store import Neighbour
from llmthrift_core.embedding import as_embedder, embedded
from llmthrift_core.errors import ConfigurationError, LLMThriftError
from llmthrift_core.model_calls.models import asker

logger = logging.getLogger("llmthrift")

SameAnswer = Callable[[str, str], bool]

_MOST_JUDGED: Final = 3  # answers near to a question that its own is compared with
_REMEMBERED: Final = 4_096
_YES: Final = re.compile(r"\W*(yes|same)\b", re.IGNORECASE)
_INSTRUCTION: Final = (
    "Two support answers follow. Would a user who asked one question be told the same by both? Differences of wording do not matter; "
    "a different fact, amount, step or condition does. Reply with yes or no.\n\nFirst answer:\n{first}\n\nSecond answer:\n{second}"
)


class SimilarAnswers:
    """Answers say the same whose embeddings are near to each other, unless the near-miss guard finds different facts in them.

    Args:
        embedder: as for `SemanticCache`.
        threshold: the least cosine. It depends on the embedder; 0.9 suits the built-in one.

    Raises:
        ConfigurationError: a threshold or embedder that cannot be used.

    >>> from llmthrift_core.cache import SimilarAnswers
    >>> same = SimilarAnswers()
    >>> same("You can reset it in the settings.", "It can be reset in the settings."), same("It costs $5.", "It costs $9.")
    (True, False)
    """

    is_slow = True

    def __init__(self, embedder: Any = None, threshold: float = 0.9) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ConfigurationError(f"threshold must be above 0 and up to 1, not {threshold!r}")
        self.threshold = float(threshold)
        model = as_embedder(embedder)
        self._vector = lru_cache(maxsize=_REMEMBERED)(lambda text: embedded(model, text, None))

    def __call__(self, first: str, second: str) -> bool:
        """Whether the two answers say the same. Raises EmbeddingError."""
        if not first.strip() or not second.strip() or difference(Facts.of(first), Facts.of(second)) is not None:
            return False
        return float(np.dot(self._vector(first), self._vector(second))) >= self.threshold


class ModelJudge:
    """Asks a model whether two answers say the same. What it says is remembered; what is not a clear yes is a no.

    Args:
        model: a chat model of LangChain, an LLM of LlamaIndex, or a function from a prompt to a text. Wrap it with `thrifty` to meter it.
        instruction: the prompt, with {first} and {second}.

    Raises:
        ConfigurationError: a model or instruction that cannot be used.

    >>> from llmthrift_core.cache import ModelJudge
    >>> ModelJudge(lambda prompt: "Yes.")("Nine to five.", "From 9 until 17 o'clock.")
    True
    """

    is_slow = True

    def __init__(self, model: Any, *, instruction: str = _INSTRUCTION) -> None:
        if "{first}" not in instruction or "{second}" not in instruction:
            raise ConfigurationError("instruction must hold {first} and {second}, where the answers go")
        self._instruction = instruction
        self._ask = lru_cache(maxsize=_REMEMBERED)(asker(model))

    def __call__(self, first: str, second: str) -> bool:
        """Whether the model says that the two answers say the same. Raises whatever the model raises."""
        # Not str.format: the answers may hold braces.
        prompt = re.sub(r"\{(first|second)\}", lambda match: first if match[1] == "first" else second, self._instruction)
        return _YES.match(self._ask(prompt)) is not None


class AnswerClasses:
    """Gives one number to answers that say the same.

    Args:
        judge: asked where the words differ; None: other words are another answer.
    """

    def __init__(self, judge: SameAnswer | None) -> None:
        if judge is not None and not callable(judge):
            raise ConfigurationError(f"same_answer must be a function of two answers, not {judge!r}")
        self._judge = judge
        self.is_slow = bool(getattr(judge, "is_slow", False))

    def class_of(self, answer: str, near: Sequence[Neighbour], shared: int | None, answer_of: Callable[[int], str | None]) -> int:
        """The class of the nearest answer that says the same, or a new one.

        Args:
            near: the entries near to the question.
            shared: the class that the cache would have answered with: it is compared first.
            answer_of: the answer of an entry.
        """
        own = hash_of_answer(answer)
        classes = list(dict.fromkeys(each.answer for each in sorted(near, key=lambda each: each.answer != shared)))
        if self._judge is None or own in classes:
            return own
        for wanted in classes[:_MOST_JUDGED]:
            known = next((text for each in near if each.answer == wanted and (text := answer_of(each.entry)) is not None), None)
            if known is not None and self._says_same(known, answer):
                return wanted
        return own

    def _says_same(self, known: str, answer: str) -> bool:
        try:
            return bool(self._judge is not None and self._judge(known, answer))
        except LLMThriftError:
            raise
        except Exception as error:  # its text may hold an answer, or a key
            logger.warning("same_answer failed with %s; the two answers count as different", type(error).__name__)
            return False
