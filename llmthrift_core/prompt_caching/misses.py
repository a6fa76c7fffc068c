"""Why a prompt was not read from the provider's cache, and what that cost: the request before it beside this one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from llmthrift_core.display import counted
from llmthrift_core.prompt_caching.terms import CacheTerms

if TYPE_CHECKING:
    from llmthrift_core.usage.usage import Usage

MissReason = Literal[
    "never seen",
    "too short",
    "model changed",
    "tier changed",
    "tools changed",
    "system changed",
    "history edited",
    "history compressed",
    "expired",
    "not kept",
]
Block = tuple[Hashable, int]
"""An identifier, such as a hash of the content, and its tokens."""

# Below this a difference is one of tokenizers, or of a provider that reads in whole units (OpenAI: 128 tokens).
_TOLERANCE_TOKENS: Final = 256


# What Anthropic says of a miss. Of the others ("unavailable", "previous_message_not_found") our own comparison knows more.
DIAGNOSES: Final[dict[str, MissReason]] = {
    "model_changed": "model changed",
    "tools_changed": "tools changed",
    "system_changed": "system changed",
    "messages_changed": "history edited",
}


@dataclass(frozen=True, slots=True)
class SentPrompt:
    """A prompt in the order in which providers read it: tools, system, history.

    Attributes:
        tools, system, history: blocks.
        model, tier: which model, and which service tier; each has a cache of its own.
        at_seconds: when it was sent; None where that is not known.
        is_marked: the application marks it itself.
        rules: the text of its system prompt, where that is one message; not kept.
    """

    tools: Sequence[Block] = ()
    system: Sequence[Block] = ()
    history: Sequence[Block] = ()
    model: str | None = None
    tier: str | None = None
    at_seconds: float | None = None
    is_marked: bool = False
    rules: str | None = None

    @property
    def blocks(self) -> list[Block]:
        """All of it, in order."""
        return [*self.tools, *self.system, *self.history]

    @property
    def tokens(self) -> int:
        """All of it."""
        return sum(tokens for part in (self.tools, self.system, self.history) for _, tokens in part)


@dataclass(frozen=True, slots=True)
class Miss:
    """What was not read from the cache though it had been sent before.

    Attributes:
        reason: why.
        lost_tokens: the tokens that came again and were not read; 0 where there was nothing to read.
        lost_usd: what they cost above reading them; None where the input price is not known.
        explanation: a sentence with the numbers and the remedy.
    """

    reason: MissReason
    lost_tokens: int
    lost_usd: Decimal | None
    explanation: str


REMEDIES: Final[dict[MissReason, str]] = {
    "never seen": "nothing like it was sent before",
    "too short": "the provider keeps nothing below its minimum",
    "model changed": "each model has a cache of its own: stay with one for a conversation",
    "tier changed": "each service tier has a cache of its own",
    "tools changed": "tools stand before all else: send the same ones in the same order",
    "system changed": "put what changes, such as the date, behind what stays",
    "history edited": "append to the history, and leave what was sent as it was",
    "history compressed": "shorten results when they first appear, not once they are cached",
    "expired": "the pause was longer than the cache's life: a longer life may pay",
    "not kept": "the prefix was the same and in time: it was not marked, or the provider dropped it",
}


def explain_miss(
    previous: SentPrompt | None,
    present: SentPrompt,
    usage: Usage,
    *,
    terms: CacheTerms,
    input_usd_per_million: Decimal | None = None,
) -> Miss | None:
    """Find why a prompt was not read from the cache as far as it could have been; None where it was.

    Args:
        previous: the request before it of the same conversation or call site; None where there is none.
        present: this request.
        usage: what the provider billed for it.
        terms: of the model's cache.
        input_usd_per_million: the price of input.
    """
    read = usage.cache_read_tokens
    if previous is None:
        return None if read else _miss("never seen", 0, usage, terms, input_usd_per_million)
    reason = _change(previous, present)
    again = _sent_again(previous, present)
    lost = max(0, again - read)
    if reason is None:
        if lost <= _TOLERANCE_TOKENS:
            return None
        pause = None if previous.at_seconds is None or present.at_seconds is None else present.at_seconds - previous.at_seconds
        reason = "expired" if pause is not None and pause > terms.ttl_seconds else "not kept"
    if again < terms.min_tokens and not read:
        return _miss("too short", 0, usage, terms, input_usd_per_million)
    if lost <= _TOLERANCE_TOKENS and reason not in ("model changed", "tier changed"):
        return None
    return _miss(reason, lost, usage, terms, input_usd_per_million)


def _change(previous: SentPrompt, present: SentPrompt) -> MissReason | None:
    """The first thing that differs in what is read first."""
    if previous.model != present.model:
        return "model changed"
    if previous.tier != present.tier:
        return "tier changed"
    if list(previous.tools) != list(present.tools):
        return "tools changed"
    if list(previous.system) != list(present.system):
        return "system changed"
    before, now = list(previous.history), list(present.history)
    if now[: len(before)] == before:
        return None
    return "history compressed" if sum(tokens for _, tokens in now) < sum(tokens for _, tokens in before) else "history edited"


def _sent_again(previous: SentPrompt, present: SentPrompt) -> int:
    """The tokens of this prompt that were in the one before, wherever they stood."""
    left: dict[Block, int] = {}
    for part in (previous.tools, previous.system, previous.history):
        for block in part:
            left[block] = left.get(block, 0) + 1
    again = 0
    for part in (present.tools, present.system, present.history):
        for block in part:
            if left.get(block, 0):
                left[block] -= 1
                again += block[1]
    return again


def _miss(reason: MissReason, lost: int, usage: Usage, terms: CacheTerms, price: Decimal | None) -> Miss:
    written = min(lost, usage.cache_write_tokens)
    extra = Decimal(str(terms.write - terms.read)) * written + Decimal(str(1 - terms.read)) * (lost - written)
    dollars = None if price is None else (extra * price / 1_000_000).quantize(Decimal("1e-9"))
    said = (
        f"{reason}: {counted(lost, 'token')} that were sent before were not read; {REMEDIES[reason]}"
        if lost
        else f"{reason}: {REMEDIES[reason]}"
    )
    return Miss(reason, lost, dollars, said)
