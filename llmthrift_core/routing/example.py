"""A labelled answer: what routers and cascades learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import LEXICAL
from llmthrift_core.routing.model_prices import tokens_of


@dataclass(frozen=True, slots=True)
class Example:
    """How good one model's answer to one prompt was.

    Attributes:
        prompt: the question as the router will see it; "" where no more than its counts is known.
        model: who answered.
        quality: 0 (useless) to 1 (perfect).
        call_site: where in the application the call is made: a prompt template, a chain, a node of an agent; None if unknown.
        answer: the answer's text, without which a cascade cannot learn.
        context: what else is known of the answer, for a cascade's checks: `{"logprobs": [...]}`.
        counts: what capture="features" kept of the prompt, as `llmthrift_core.lexical` gives it; None where the prompt is known.
        answer_tokens: what the provider counted, for what the model's answers cost; None: told by the answer's text, where that is known.
    """

    prompt: str
    model: str
    quality: float
    call_site: str | None = None
    answer: str | None = None
    context: Mapping[str, Any] | None = field(default=None, hash=False)
    counts: tuple[float, ...] | None = None
    answer_tokens: int | None = None

    @property
    def length(self) -> float | None:
        """About how many tokens the answer has; None where nothing is known of it."""
        if self.answer_tokens is not None:
            return float(self.answer_tokens)
        return None if self.answer is None else float(tokens_of(len(self.answer)))

    @property
    def known(self) -> tuple[str, tuple[float, ...]]:
        """What is known of the prompt: equal for equal prompts and, where their text is not known, also for others with equal counts."""
        return self.prompt, self.counts or ()


class Examples(list[Example]):
    """Examples that were read, and what was left out.

    Attributes:
        skipped: how many rows were left out, by reason.
        models: of a ledger, the model that answered last under each name, by which it can be priced; empty of a file.
        times_us: of a ledger, when each call was made, in microseconds since the epoch; empty of a file.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        super().__init__(examples)
        self.skipped: Mapping[str, int] = {}
        self.models: Mapping[str, str] = {}
        self.times_us: list[int] = []


def checked(examples: Iterable[Example]) -> list[Example]:
    """The examples, if all of them can be learned from.

    Raises:
        ConfigurationError: which one cannot, and why.
    """
    kept = list(examples)
    for place, example in enumerate(kept):
        if not isinstance(example, Example):
            raise ConfigurationError(f"example {place} is a {type(example).__name__}, not an Example")
        for name, value, optional in (
            ("prompt", example.prompt, False),
            ("model", example.model, False),
            ("call_site", example.call_site, True),
            ("answer", example.answer, True),
        ):
            if not isinstance(value, str) and not (optional and value is None):
                raise ConfigurationError(f"{name} of example {place} must be text, not {type(value).__name__}")
        if not isinstance(tokens := example.answer_tokens, int | None) or (tokens is not None and tokens < 0):
            raise ConfigurationError(f"answer_tokens of example {place} must be a number of tokens, not {tokens!r}")
        if example.counts is not None:
            _check_counts(example, place)
        try:
            quality = float(example.quality)
        except (TypeError, ValueError, OverflowError):
            quality = math.nan
        if not 0 <= quality <= 1:
            raise ConfigurationError(
                f"quality of example {place} (model {example.model!r}) must lie within 0..1, not {example.quality!r}; "
                "leave out what has no label"
            )
    return kept


def _check_counts(example: Example, place: int) -> None:
    if example.prompt:
        raise ConfigurationError(f"example {place} has a prompt and counts; counts are for examples whose prompt is not known")
    counts = example.counts
    if (
        not isinstance(counts, tuple)
        or len(counts) != LEXICAL
        or not all(isinstance(each, float) and math.isfinite(each) for each in counts)
    ):
        raise ConfigurationError(f"counts of example {place} must be a tuple of {LEXICAL} finite floats, as thrift.examples() gives them")
