"""Recorded traffic that policies are compared on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing.examples import Example, checked
from llmthrift_core.routing.learned.observations import Observations
from llmthrift_core.routing.models import ModelPrices, tokens_of
from llmthrift_core.routing.simulation.controls import split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = NDArray[np.intp]

FEWEST_PROMPTS: Final = 40
"""With every model's label. With fewer, no difference between two policies would be above the noise."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Prompts of which every model's answer was judged, so that it is known what any choice would have given.

    Attributes:
        models: names, cheapest first.
        prompts, call_sites: of the rows.
        quality, usd: shape (rows, models); dollars by four characters a token.
        answers: a text for each model, None where none was stored; of the rows.
        partial: the examples of prompts that lack a model's label: there to learn from, never to judge by.
        distinct: the rows by prompt: the same prompt from two call sites is never learned from and judged by.
        skipped: how many examples were left out, by reason: without its text a prompt cannot be shown to a policy again.
    """

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    call_sites: tuple[str | None, ...]
    quality: Floats
    usd: Floats
    answers: tuple[tuple[str | None, ...], ...]
    partial: tuple[Example, ...]
    distinct: tuple[tuple[int, ...], ...]
    skipped: Mapping[str, int]

    @classmethod
    def of(cls, examples: Iterable[Example], prices: ModelPrices) -> Traffic:
        """The examples of these models.

        Raises:
            ConfigurationError: an example cannot be used, none has its prompt's text, or fewer than 40 prompts have a label of every
                model.
        """
        everything = checked(examples)
        given = [each for each in everything if each.counts is None]
        textless = len(everything) - len(given)
        if textless and not given:
            raise ConfigurationError(
                f"the text of none of the {textless:,} examples' prompts is stored, and a policy can be replayed on texts alone. "
                'Thrift(capture="text") stores texts from now on; to learn, a LearnedRouter needs none'
            )
        models = tuple(sorted(prices.names, key=prices.blended))
        seen = Observations.of(given, models)
        complete = np.flatnonzero(~np.isnan(seen.quality).any(axis=1))
        if len(complete) < FEWEST_PROMPTS:
            left_out = (
                f'. {counted(textless, "example is", "examples are")} left out, whose text is not stored: that needs Thrift(capture="text")'
                if textless
                else ""
            )
            labels = ", ".join(f"{model} {count:,}" for model, count in zip(models, (~np.isnan(seen.quality)).sum(axis=0), strict=True))
            raise ConfigurationError(
                f"only {len(complete):,} of {counted(len(seen.prompts), 'prompt has', 'prompts have')} a judged answer of every "
                f"model ({labels}), and at least "
                f"{FEWEST_PROMPTS} are needed: what a policy's choice would have given is known only there. Let the other models answer a "
                f"sample of the prompts and judge it, or name fewer models{left_out}"
            )
        rows = [(seen.prompts[row], seen.call_sites[row]) for row in complete]
        texts = {(each.prompt, each.call_site, each.model): each.answer for each in given if each.answer is not None}
        answers = tuple(tuple(texts.get((*row, model)) for model in models) for row in rows)
        lengths = {(each.prompt, each.call_site, each.model): each.length for each in given}
        usd = [
            [
                prices.usd(model, tokens_of(len(row[0])), float(tokens) if (length := lengths.get((*row, model))) is None else length)
                for model, tokens in zip(models, seen.usual_answer_tokens, strict=True)
            ]
            for row in rows
        ]
        judged = set(rows)
        partial = tuple(each for each in given if each.model in models and (each.prompt, each.call_site) not in judged)
        distinct: dict[str, list[int]] = {}
        for place, (prompt, _) in enumerate(rows):
            distinct.setdefault(prompt, []).append(place)
        return cls(
            models,
            tuple(prompt for prompt, _ in rows),
            tuple(site for _, site in rows),
            seen.quality[complete],
            np.array(usd),
            answers,
            partial,
            tuple(map(tuple, distinct.values())),
            {"no text stored": textless} if textless else {},
        )

    @property
    def sites(self) -> tuple[str | None, ...] | None:
        """The call sites; None where no row has one."""
        return self.call_sites if any(site is not None for site in self.call_sites) else None

    def parts(self, learn_share: float, seed: int) -> tuple[Rows, Rows]:
        """Rows to learn from and rows to judge by, with no prompt in both."""
        learn, judge = split(len(self.distinct), round(learn_share * len(self.distinct)), seed)
        return self._rows(learn), self._rows(judge)

    def examples(self, learn: Rows, judge: Rows) -> list[Example]:
        """What may be learned from when `judge` is judged by."""
        found = [
            Example(self.prompts[row], model, float(self.quality[row, place]), self.call_sites[row], self.answers[row][place])
            for row in learn
            for place, model in enumerate(self.models)
        ]
        unseen = {self.prompts[row] for row in judge}
        return found + [each for each in self.partial if each.prompt not in unseen]

    def _rows(self, groups: Sequence[int] | Rows) -> Rows:
        return np.array([row for group in groups for row in self.distinct[group]], dtype=np.intp)
