"""Examples as a table: one row for each prompt of a call site, one column for each model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import chars_of
from llmthrift_core.routing.examples import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

logger = logging.getLogger("llmthrift")

ANSWER_TOKENS: Final = 100.0
"""Assumed of every model where no example has an answer."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Labels of models.

    Attributes:
        prompts, counts, call_sites: of the rows; counts where the prompt is not known, else None.
        quality: shape (rows, models): the mean of what was observed, so that rows that contradict each other meet in the middle; NaN
            where nothing was.
        answer_tokens: about how long each model's answers are; NaN where no answer was given.
    """

    prompts: tuple[str, ...]
    counts: tuple[tuple[float, ...] | None, ...]
    call_sites: tuple[str | None, ...]
    quality: Floats
    answer_tokens: Floats

    @classmethod
    def of(cls, examples: Sequence[Example], models: Sequence[str]) -> Observations:
        """The examples' table. Examples of other models are left out, which is logged.

        Raises:
            ConfigurationError: all examples are of other models.
        """
        column = {model: place for place, model in enumerate(models)}
        kept = [example for example in examples if example.model in column]
        if len(kept) < len(examples):
            others = sorted({example.model for example in examples} - set(column))
            if not kept:
                raise ConfigurationError(f"no example is of one of the models {', '.join(models)}; found {', '.join(others[:10])}")
            left_out = counted(len(examples) - len(kept), "example of another model is", "examples of other models are")
            logger.warning("%s left out: %s", left_out, ", ".join(others[:10]))
        rows: dict[_Key, int] = {}
        places = np.array([rows.setdefault(key, len(rows)) for key in _keys(kept)], dtype=np.intp)
        columns = np.array([column[each.model] for each in kept], dtype=np.intp)
        total, count = np.zeros((2, len(rows), len(models)))
        np.add.at(total, (places, columns), [float(each.quality) for each in kept])
        np.add.at(count, (places, columns), 1.0)
        lengths: dict[str, list[float]] = {}
        for each in kept:
            if (length := each.length) is not None:
                lengths.setdefault(each.model, []).append(length)
        return cls(
            tuple(prompt for prompt, *_ in rows),
            tuple(counts for _, counts, *_ in rows),
            tuple(site for *_, site, _ in rows),
            np.where(count > 0, total / np.maximum(count, 1), np.nan),
            np.array([np.mean(lengths[model]) if model in lengths else np.nan for model in models]),
        )

    @property
    def usual_answer_tokens(self) -> Floats:
        """`answer_tokens`, with the mean of the others for a model that gave no answer; 100 where none did."""
        known = ~np.isnan(self.answer_tokens)
        return np.where(known, self.answer_tokens, float(self.answer_tokens[known].mean()) if known.any() else ANSWER_TOKENS)

    @property
    def textless(self) -> int:
        """Of so many rows only the counts are known."""
        return sum(counts is not None for counts in self.counts)

    @property
    def chars(self) -> tuple[int, ...]:
        """About how long the prompts are."""
        return tuple(len(prompt) if counts is None else chars_of(counts) for prompt, counts in zip(self.prompts, self.counts, strict=True))


_Key = tuple[str, tuple[float, ...] | None, str | None, int]


def _keys(examples: Iterable[Example]) -> Iterator[_Key]:
    """Which row each example belongs to.

    Prompts without text may have the same counts and be different, so that two answers of one model are never put in one row. The first
    answer of each model meets the first of the others: which of them were to one prompt makes no difference to what is learned, as all of
    them have the same counts.
    """
    answered: Counter[tuple[tuple[float, ...], str | None, str]] = Counter()
    for each in examples:
        turn = 0
        if each.counts is not None:
            turn = answered[each.counts, each.call_site, each.model]
            answered[each.counts, each.call_site, each.model] += 1
        yield each.prompt, each.counts, each.call_site, turn
