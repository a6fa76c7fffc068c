"""What a call is expected to take: what it sends by the makers' documentation and by experience, and how long its answers get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.hold import Expected
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.sizes import InputRatios, OutputSizes
from llmthrift_core.errors import UnknownModelError
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.usage import Usage

_UNKNOWN_OUTPUT: Final = 4_096  # where neither a limit, nor experience, nor the catalog says how long an answer may be
_UNKNOWN_CONTEXT: Final = 128_000  # where the catalog does not say how much a model reads


class ModelLimits(Protocol):
    """What a catalog knows of a model."""

    @property
    def max_output_tokens(self) -> int | None: ...

    @property
    def context_tokens(self) -> int | None: ...


class Limits(Protocol):
    """Where the limits of models are known."""

    def find(self, model: str, *, provider: str | None = None) -> ModelLimits: ...


def expected_of(
    scope: Scope,
    applying: Sequence[Budget],
    provider: str | None,
    outgoing: Outgoing,
    max_output_tokens: int | None,
    inputs: InputRatios,
    outputs: OutputSizes,
    limits: Limits,
) -> Expected:
    """What a call of `scope.model` takes at most, as far as can be known before.

    Args:
        max_output_tokens: the limit that the call itself sets for each answer, or None.
    """
    model, feature = scope.model or "", scope.attribution.feature
    counted = outgoing.most_text_tokens
    taken, remark = inputs.estimate(model, counted) + outgoing.media_tokens, ""
    if outgoing.unbounded:
        context = _limit(limits, model, provider, "context_tokens") or _UNKNOWN_CONTEXT
        taken = max(taken, context)
        remark = "; nothing tells how large this is, so that the model's whole context was requested for it "
        remark += f"({context:,} tokens): {', '.join(outgoing.unbounded)}"
    each = outputs.estimate(model, feature) if max_output_tokens is None else max_output_tokens
    if each is not None:
        output = each * outgoing.choices
    else:
        single = [budget.limit_tokens for budget in applying if budget.window == "request" and budget.limit_tokens is not None]
        longest = (_limit(limits, model, provider, "max_output_tokens") or _UNKNOWN_OUTPUT) * outgoing.choices
        output = min([longest, *(max(limit - taken, 0) for limit in single)])
    return Expected(
        model,
        provider,
        feature,
        counted,
        output,
        input_tokens=taken,
        audio_tokens=outgoing.audio_tokens,
        searches=outgoing.searches,
        choices=outgoing.choices,
        is_limited=max_output_tokens is not None,
        is_plain=outgoing.is_plain,
        remark=remark,
    )


def usage_of(expected: Expected) -> Usage:
    """The same, to be priced."""
    return Usage(
        input_tokens=expected.input_tokens,
        output_tokens=expected.output_tokens,
        input_audio_tokens=expected.audio_tokens,
        web_searches=expected.searches,
    )


def _limit(limits: Limits, model: str, provider: str | None, name: Literal["max_output_tokens", "context_tokens"]) -> int | None:
    try:
        found = limits.find(model, provider=provider)
    except UnknownModelError:
        return None
    return found.max_output_tokens if name == "max_output_tokens" else found.context_tokens
