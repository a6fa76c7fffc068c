"""A check that asks the same model again and compares."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from llmthrift_core.attribution import current_attribution
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.model_calls.circuit_breaker import LimitedAsking
from llmthrift_core.routing.checks.check import Finding
from llmthrift_core.routing.checks.judging import checked_threshold

_WORD: Final = re.compile(r"\w+")
_MARKED: Final = re.compile(
    r"(?:^|\n)[ \t]*#{2,}[ \t]*([^\n]+)|\\boxed\{([^{}\n]+)\}|\banswer(?: is\b[ \t]*:?|[ \t]*[:=])[ \t]*([^\n]+)", re.I
)
_SHORT: Final = 4
"""Up to so many words an answer, or its marked result, is a label that is equal or not."""
_NUMBER: Final = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")


class ConsistencyCheck:
    """Asks the same model again, some times at once, and keeps an answer that the other answers agree with (self-consistency; Wang and
    others, ICLR 2023).

    A verifier. It costs as many calls of the cheap model as there are samples, for each answer that the other checks accept. The samples
    are metered as calls of their own, attributed as the call, with request type "routing", and count against the same budgets. It says
    nothing where the router cannot ask again, or where fewer than half of the samples come in time. Models that take no temperature, or a
    fixed seed among the model's parameters, make it useless.

    Args:
        samples: further answers.
        temperature: of the samples, above 0; None is the model's own.
        accepts_from: the mean agreement from which an answer is kept. 0.5 is a rule of thumb, not measured.
        agreement: from two answers to how far they agree, 0 to 1; None is `agreement_of`.
        timeout_seconds: how long a call waits for all samples.
        most_at_once: samples under way; beyond these, answers are not checked.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    waits: Final = True

    def __init__(
        self,
        *,
        samples: int = 3,
        temperature: float | None = 0.7,
        accepts_from: float = 0.5,
        agreement: Callable[[str, str], float] | None = None,
        timeout_seconds: float = 20.0,
        most_at_once: int = 32,
    ) -> None:
        if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= most_at_once:
            raise ConfigurationError(f"samples must be a whole number from 1 to most_at_once={most_at_once!r}, not {samples!r}")
        if temperature is not None and not 0 < temperature <= 2:
            raise ConfigurationError(f"temperature must be above 0 and up to 2, or None, not {temperature!r}: at 0 a model repeats itself")
        if agreement is not None and not callable(agreement):
            raise ConfigurationError(f"agreement must be a function of two answers, not {type(agreement).__name__}")
        self.accepts_from = checked_threshold(accepts_from)
        self._samples = samples
        self._temperature = temperature
        self._agreement = agreement_of if agreement is None else agreement
        self._asking = LimitedAsking("the model that is asked again", timeout_seconds=timeout_seconds, most_at_once=most_at_once)

    @property
    def name(self) -> str:
        agreement = getattr(self._agreement, "__qualname__", type(self._agreement).__qualname__)
        return f"consistency of {self._samples} at {self._temperature} by {agreement} from {self.accepts_from:g}"

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        """The mean agreement with the samples; None where there are too few."""
        ask_again = context.get("ask_again")
        if ask_again is None:
            return None
        who = context.get("attribution") or current_attribution()
        said, _ = self._asking.ask([partial(ask_again, self._temperature)] * self._samples, who)
        if 2 * len(said) < self._samples:
            return None
        self._asking.succeeded()
        mean = math.fsum(self._agreement(answer, each) for each in said) / len(said)
        return Finding(
            mean,
            f"{counted(len(said), 'further answer agrees', 'further answers agree')} with it by {mean:.2f}, below {self.accepts_from:g}",
        )


def agreement_of(one: str, other: str) -> float:
    """How far two answers agree, 0 to 1.

    Of numbers, labels and marked results ("#### 42", "The answer is 42", a box of LaTeX), up to four words long: 1 if they are the same,
    else 0. Of other texts: the share of words that they have in common, as the harmonic mean of both sides' (F1, as SQuAD measures it).

    >>> agreement_of("So 6 * 7 = 42.\\n#### 42", "The answer is 42.00"), agreement_of("Oslo", "Paris"), agreement_of("Oslo.", " oslo")
    (1.0, 0.0, 1.0)
    >>> round(agreement_of("It rains often in the city of Bergen", "In Bergen it often rains"), 2)
    0.77
    """
    first, second = _result_of(one), _result_of(other)
    if first is not None and second is not None:
        return float(first == second)
    words, others = Counter(_WORD.findall(one.lower())), Counter(_WORD.findall(other.lower()))
    if not words or not others:
        return float(not words and not others)
    return 2 * (words & others).total() / (words.total() + others.total())


def _result_of(text: str) -> str | None:
    """The label or the number that an answer comes down to, in one spelling; None where it comes down to none."""
    marked = [next(filter(None, groups)) for groups in _MARKED.findall(text)]
    words = _WORD.findall((marked[-1] if marked else text).lower())
    if not words or len(words) > _SHORT + 2:
        return None
    numbers = _NUMBER.findall(marked[-1] if marked else text)
    if len(numbers) == 1:
        return f"{float(numbers[0].replace(',', '')):g}"
    return " ".join(words) if len(words) <= _SHORT else None
