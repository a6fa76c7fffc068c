"""The interface of a check, and checks made of a user's own functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import two_ends

Check = Callable[..., "float | Sequence[float] | Mapping[str, float]"]
"""From a prompt and an answer to one or more floats.

The first float is the score: 1 where nothing speaks against the answer, 0 where it cannot be good. All floats together are what a fitted
cascade learns from; their number must not depend on the answer. A check that has a parameter `context` also gets what is known of the
answer beside its text: an `AnswerContext` from a router, otherwise the mapping that the caller of the cascade gave, which may be empty.
"""
MOST_CHARS: Final = 20_000
"""Longer texts are judged by their two ends, so that a check never takes long."""


class CheckList:
    """Checks in a fixed order, asked together, and the verifiers among them.

    Args:
        checks: of both kinds.
        always: a verifier that is put first, unless one of its class is given.

    Attributes:
        verifiers: those of the checks that decide by themselves.

    Raises:
        ConfigurationError: no checks, or something that cannot be called.
    """

    def __init__(self, checks: Iterable[Check | Verifier], *, always: Verifier) -> None:
        given = tuple(checks)
        if not given:
            raise ConfigurationError("a cascade needs at least one check; checks=None takes the built-in ones")
        for check in given:
            if not callable(check):
                raise ConfigurationError(f"a check must be a function of a prompt and an answer, not {type(check).__name__}")
            if inspect.iscoroutinefunction(check) or inspect.iscoroutinefunction(getattr(check, "__call__", None)):  # noqa: B004
                raise ConfigurationError(f"the check {name_of(check)} is async; checks are plain functions")
        verifiers = tuple(check for check in given if isinstance(check, Verifier))
        self.verifiers: tuple[Verifier, ...] = verifiers if type(always) in map(type, verifiers) else (always, *verifiers)
        self._checks: tuple[Check, ...] = tuple(check for check in given if not isinstance(check, Verifier))
        self._with_context = tuple(_takes_context(check) for check in self._checks)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checks that measure."""
        return tuple(name_of(check) for check in self._checks)

    def measure(self, prompt: str, answer: str, context: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
        """What each check finds, the score first.

        Raises:
            ConfigurationError: a check gave something that is not one or more finite floats.
        """
        prompt, answer = two_ends(prompt, MOST_CHARS), two_ends(answer, MOST_CHARS)
        return tuple(
            _floats(check, check(prompt, answer, context=context) if wants else check(prompt, answer))
            for check, wants in zip(self._checks, self._with_context, strict=True)
        )

    def rejection(self, prompt: str, answer: str, context: Mapping[str, Any], *, waiting: bool) -> Finding | None:
        """The finding of the first verifier that does not let the answer pass; None: all do, or cannot say.

        Args:
            waiting: ask those that ask a model, else the others.
        """
        for verifier in self.verifiers:
            if verifier.waits is waiting:
                found = verifier(prompt, answer, context)
                if found is not None and not found.score >= verifier.accepts_from:
                    return found
        return None


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


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verifier says of an answer.

    Attributes:
        score: 0 to 1.
        reason: why, in words that fit a ledger row: it must not quote the answer.
    """

    score: float
    reason: str


@runtime_checkable
class Verifier(Protocol):
    """A check whose word is final: an answer with a score below its own threshold is not kept, whatever the other checks say.

    Verifiers take no part in `Cascade.fit`. Those that ask a model (`waits`) are asked last, in their order, only about answers that
    everything else accepts, and not about answers that call tools or that their reader has already seen.

    Attributes:
        name: with its options, for reasons and for the version of a cascade.
        accepts_from: the score from which an answer may be kept, 0 to 1.
        waits: a model is asked.
    """

    @property
    def name(self) -> str: ...

    @property
    def accepts_from(self) -> float: ...

    @property
    def waits(self) -> bool: ...

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        """The finding; None where it cannot say: the other checks decide then."""
        ...
