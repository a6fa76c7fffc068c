"""The step between routing and reserving: a shorter prompt for the model that is to answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.settings import is_observing

if TYPE_CHECKING:
    from llmthrift_core.calls.prefixing import Prefixing
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.usage import Usage


LEFT: Final = "left as it is: the provider keeps its beginning"
"""Stands among a row's steps where a prompt was not made shorter."""


class Shortened(Protocol):
    """What a policy made of a prompt.

    Attributes:
        messages: in OpenAI's shape.
        steps: each with its name and the tokens before and after.
    """

    messages: Any
    tokens_before: int
    tokens_after: int
    steps: Sequence[Any]


class ShorteningPolicy(Protocol):
    """Makes prompts shorter, such as `llmthrift_core.prompts.Shorten`."""

    def identity(self) -> str:
        """Tells this policy from others, in cache keys and in the ledger."""
        ...

    def __call__(self, messages: Any, model: str | None = None) -> Shortened: ...


class Shortening:
    """How the prompt of one request is made shorter. The prompt that is sent depends on the model, by whose tokens it is measured.

    Args:
        policy: what is done.
        prompt: the messages in OpenAI's shape; called when they are needed.
        restore: makes the framework's own messages of these.
        model_of: the name of a tier's model; None is the only model.
        note: takes the failures of the policy. The prompt is then sent as it is.
    """

    __slots__ = ("_kept", "_left", "_made", "_model_of", "_note", "_policy", "_prompt", "_restore")

    def __init__(
        self,
        policy: ShorteningPolicy,
        prompt: Callable[[], Any],
        restore: Callable[[Any], Any],
        model_of: Callable[[str | None], str],
        note: Callable[[str, BaseException], None],
    ) -> None:
        self._policy, self._prompt, self._restore, self._model_of, self._note = policy, prompt, restore, model_of, note
        self._made: dict[str, tuple[Shortened, Any] | None] = {}
        self._left: set[str] = set()
        self._kept: dict[str, float] = {}

    def prepare(self, tier: str | None, prefixing: Prefixing | None = None) -> None:
        """Shorten the prompt for a tier's model. May ask a model, or an embedder: not for an event loop.

        Args:
            prefixing: where the provider keeps the beginning of the prompt, and to read that costs less than the shorter prompt, it is sent
                as it is, unless it is longer than the policy allows.
        """
        self._shortened(tier)
        if prefixing is None or self.messages(tier) is None or (found := prefixing.weigh(tier)) is None:
            return
        most = getattr(self._policy, "max_input_tokens", None)
        if found.is_cheaper and (most is None or found.tokens <= most):
            self._left.add(self._model_of(tier))
        else:
            self._kept[self._model_of(tier)] = found.kept_tokens / found.tokens

    def messages(self, tier: str | None) -> Any | None:
        """The framework's messages to send to a tier's model; None where they are the application's own."""
        if is_observing() or self._model_of(tier) in self._left or (made := self._shortened(tier)) is None:
            return None
        shortened, restored = made
        return restored if shortened.tokens_after != shortened.tokens_before else None

    def describe(self, record: CallRecord, tier: str | None, usage: Usage, price: Callable[[Usage], Priced | None]) -> Usage:
        """Note in a row what was taken off, and what that saved. Returns the usage that the application's own prompt would have had.

        Args:
            usage: of the call, as it was billed.
            price: of any usage of the model that would have answered.
        """
        model = self._model_of(tier)
        made = self._made.get(model)
        if made is None:
            return usage
        if model in self._left:
            record.shorten_version, record.shorten_steps = self._policy.identity(), json.dumps([(LEFT, 0)])
            return usage
        shortened, _ = made
        taken_off = shortened.tokens_before - shortened.tokens_after
        other = _with_input(usage, -taken_off if is_observing() else taken_off)
        if not is_observing():
            other = _with_read(other, round(self._kept.get(model, 0.0) * other.input_tokens))  # a prefix that was broken is a loss
        difference = _difference(price(other), price(usage)) if taken_off else 0
        if is_observing():
            record.observed_shortening_nano_usd = None if difference is None else -difference
            return usage
        record.shorten_version = self._policy.identity()
        record.shortened_tokens = taken_off
        record.shortening_saved_nano_usd = difference
        if steps := [(step.name, step.before - step.after) for step in shortened.steps if step.before != step.after]:
            record.shorten_steps = json.dumps(steps)
        return other

    def _shortened(self, tier: str | None) -> tuple[Shortened, Any] | None:
        model = self._model_of(tier)
        if model not in self._made:
            self._made[model] = None
            try:
                shortened = self._policy(self._prompt(), model=model)
                self._made[model] = shortened, self._restore(shortened.messages)
            except Exception as error:  # a longer prompt is no reason to break a call
                self._note("shorten", error)
        return self._made[model]


def _difference(one: Priced | None, other: Priced | None) -> int | None:
    return None if one is None or other is None else one.nano_usd - other.nano_usd


def _with_input(usage: Usage, tokens: int) -> Usage:
    """The usage with so many more plain input tokens; never fewer than its parts."""
    parts = max(usage.cache_read_tokens + usage.cache_write_tokens, usage.input_audio_tokens + usage.input_image_tokens)
    return replace(usage, input_tokens=max(usage.input_tokens + tokens, parts))


def _with_read(usage: Usage, tokens: int) -> Usage:
    """The usage with at least so many tokens read from the provider's cache, in place of what was written to it."""
    read = min(max(usage.cache_read_tokens, tokens), usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    return replace(
        usage, cache_read_tokens=read, cache_write_tokens=written, cache_write_1h_tokens=min(usage.cache_write_1h_tokens, written)
    )
