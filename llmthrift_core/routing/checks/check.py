"""What a check is, and how a user's own functions become one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError

Check = Callable[..., "float | Sequence[float] | Mapping[str, float]"]
"""From a prompt and an answer to one or more floats.

The first float is the score: 1 where nothing speaks against the answer, 0 where it cannot be good. All floats together are what a fitted
cascade learns from; their number must not depend on the answer. A check that has a parameter `context` also gets what the caller of the
cascade gave as context (a mapping; empty if nothing was given), for example log-probabilities or further samples.
"""

MOST_CHARS: Final = 20_000
"""Longer texts are judged by their two ends, so that a check never takes long."""


class CheckList:
    """Checks in a fixed order, asked together.

    Raises:
        ConfigurationError: no checks, or something that cannot be called.
    """

    def __init__(self, checks: Iterable[Check]) -> None:
        self._checks = tuple(checks)
        if not self._checks:
            raise ConfigurationError("a cascade needs at least one check; checks=None takes the built-in ones")
        for check in self._checks:
            if not callable(check):
                raise ConfigurationError(f"a check must be a function of a prompt and an answer, not {type(check).__name__}")
            if inspect.iscoroutinefunction(check):
                raise ConfigurationError(f"the check {name_of(check)} is async; checks are plain functions")
        self._with_context = tuple(_takes_context(check) for check in self._checks)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name_of(check) for check in self._checks)

    def measure(self, prompt: str, answer: str, context: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
        """What each check finds, the score first.

        Raises:
            ConfigurationError: a check gave something that is not one or more finite floats.
        """
        prompt, answer = shortened(prompt), shortened(answer)
        return tuple(
            _floats(check, check(prompt, answer, context=context) if wants else check(prompt, answer))
            for check, wants in zip(self._checks, self._with_context, strict=True)
        )


def shortened(text: str) -> str:
    """The text without the middle of a very long one."""
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS // 2]}\n{text[-MOST_CHARS // 2 :]}"


def name_of(check: Callable[..., Any]) -> str:
    """As it is shown in errors and stored with a fitted cascade."""
    return getattr(check, "__qualname__", type(check).__qualname__)


def _takes_context(check: Check) -> bool:
    try:
        return "context" in inspect.signature(check).parameters
    except (TypeError, ValueError):  # built-in functions may have no signature
        return False


def _floats(check: Check, found: Any) -> tuple[float, ...]:
    if isinstance(found, Mapping):
        found = list(found.values())
    elif not isinstance(found, Sequence):
        found = [found]
    try:
        floats = tuple(float(each) for each in found)
    except (TypeError, ValueError):
        floats = ()
    if not floats or not all(map(math.isfinite, floats)):
        raise ConfigurationError(f"the check {name_of(check)} must give one or more finite numbers, not {found!r:.80}")
    return floats
