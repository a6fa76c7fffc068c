"""A labelled answer: what routers and cascades learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmthrift_core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Example:
    """How good one model's answer to one prompt was.

    Attributes:
        prompt: the question as the router will see it.
        model: who answered.
        quality: 0 (useless) to 1 (perfect).
        call_site: where in the application the call is made: a prompt template, a chain, a node of an agent; None if unknown.
        answer: the answer's text. A router learns from it how long the model's answers are; a cascade cannot learn without it.
        context: what else is known of the answer, for a cascade's checks: `{"logprobs": [...]}`.
    """

    prompt: str
    model: str
    quality: float
    call_site: str | None = None
    answer: str | None = None
    context: Mapping[str, Any] | None = field(default=None, hash=False)


class Examples(list[Example]):
    """Examples that were read, and what was left out.

    Attributes:
        skipped: how many rows were left out, by reason.
        models: of a ledger, the model that answered last under each name, by which it can be priced; empty of a file.
    """

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        super().__init__(examples)
        self.skipped: Mapping[str, int] = {}
        self.models: Mapping[str, str] = {}


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
