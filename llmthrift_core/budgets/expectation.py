"""The expected size of a call: its input by count and experience, its output by what it may, or usually does, answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.hold import Expected
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.sizes import ENOUGH, InputRatios, OutputSizes
from llmthrift_core.budgets.store import Amounts
from llmthrift_core.display import counted
from llmthrift_core.errors import UnknownModelError
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.usage import Usage

# Where nobody knows how long a model's answers are, a call may go on with all that is left in its budgets, if that is enough for an answer
# of this length, some 375 English words.
USUAL_OUTPUT: Final = 500
LEAST_OUTPUT: Final = 16  # a shorter answer than that is worth no call
_UNKNOWN_CONTEXT: Final = 128_000  # where the catalog does not say how much a model reads
_UNKNOWN_OUTPUT: Final = 4_096  # where neither a limit, nor experience, nor the catalog says how long an answer may be


class Priced(Protocol):
    """What a price says of a call."""

    @property
    def nano_usd(self) -> int: ...


class ModelLimits(Protocol):
    """What a catalog knows of a model."""

    @property
    def max_output_tokens(self) -> int | None: ...

    @property
    def context_tokens(self) -> int | None: ...


class Prices(Protocol):
    """What budgets need of a price catalog."""

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Priced | None: ...

    def find(self, model: str, *, provider: str | None = None) -> ModelLimits: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of budgets for one call.

    Attributes:
        scope: who asks.
        applying: the budgets that count it.
        amounts: what it is to hold.
        ttl_us: for how long. renews: and again as long as its process has the hold.
        expected: what it is expected to take; None where amounts were given.
    """

    scope: Scope
    applying: Sequence[Budget]
    amounts: Amounts
    ttl_us: int
    renews: bool = False
    expected: Expected | None = None

    @property
    def input_tokens(self) -> int:
        """Of what is expected."""
        return 0 if self.expected is None else self.expected.input_tokens

    @property
    def is_guess(self) -> bool:
        """Whether nobody knows how long the answer will be."""
        return self.expected is not None and self.expected.is_guess

    def why(self) -> str:
        """How its size came about and what can be done, for a refusal; "" where it was given."""
        expected = self.expected
        if expected is None:
            return ""
        if not expected.output_tokens and expected.is_limited:  # texts to embed
            return f"the request is for {counted(self.input_tokens, 'input token')}; send fewer, or give the budget a larger limit"
        size = (
            f"the request is for {counted(self.input_tokens, 'input token')} and an answer of up to "
            f"{expected.output_tokens:,}{expected.remark}"
        )
        if expected.is_limited:
            return f"{size}, as its max_tokens allows; ask for fewer, or give the budget clamp_output=True or a larger limit"
        if expected.is_guess:
            return (
                f"{size}: it sets no max_tokens, and fewer than {ENOUGH} answers of {expected.model!r} are known, so its longest answer is "
                f"assumed, and nothing less than {USUAL_OUTPUT} tokens is tried; set max_tokens=, or give the budget clamp_output=True or "
                "a larger limit"
            )
        return (
            f"{size}, by the length of earlier answers of {expected.model!r}; set max_tokens=, or give the budget clamp_output=True or a "
            "larger limit"
        )


class Expectations:
    """Says what calls take. Safe to share between threads.

    Args:
        prices: prices estimates.
        outputs, inputs: what was learned.
        now_us: the time of prices.
    """

    def __init__(self, prices: Prices, outputs: OutputSizes, inputs: InputRatios, now_us: Callable[[], int]) -> None:
        self._prices = prices
        self._outputs = outputs
        self._inputs = inputs
        self._now_us = now_us

    def of_call(
        self,
        scope: Scope,
        applying: Sequence[Budget],
        provider: str | None,
        outgoing: Outgoing,
        max_output_tokens: int | None,
        service_tier: str | None = None,
    ) -> Expected:
        """What a call is expected to take: text by experience, the rest by the makers' documentation.

        Args:
            max_output_tokens: the limit that the call itself sets for each answer, or None.
        """
        model, feature = scope.model or "", scope.attribution.feature
        counted, choices = outgoing.most_text_tokens, outgoing.choices
        taken, remark = self._inputs.estimate(model, counted) + outgoing.media_tokens, ""
        if outgoing.unbounded:
            context = self._limit(model, provider, "context_tokens") or _UNKNOWN_CONTEXT
            taken = max(taken, context)
            remark = f" (nothing tells how large this is, so the model's whole context of {context:,} tokens is assumed for it: "
            remark += f"{', '.join(outgoing.unbounded)})"
        output = self._outputs.estimate(model, feature) if max_output_tokens is None else max_output_tokens
        is_guess = output is None
        if output is None:
            single = [budget.limit_tokens for budget in applying if budget.window == "request" and budget.limit_tokens is not None]
            longest = self._limit(model, provider, "max_output_tokens") or _UNKNOWN_OUTPUT
            output = min([longest, *(max(limit - taken, 0) // choices for limit in single)])
        return Expected(
            model,
            provider,
            feature,
            counted,
            output * choices,
            input_tokens=taken,
            audio_tokens=outgoing.audio_tokens,
            searches=outgoing.searches,
            choices=choices,
            is_limited=max_output_tokens is not None,
            is_guess=is_guess,
            is_plain=outgoing.is_plain,
            remark=remark,
            likely_tokens=outgoing.likely_tokens,
            makes=outgoing.makes,
            service_tier=service_tier or outgoing.service_tier,
            keeps=outgoing.keeps,
        )

    def usual(self, asked: Asked) -> Asked | None:
        """For a guess that has no room: what the model's answers for other features say. None where they say nothing, or no less."""
        expected = asked.expected
        if expected is None or not expected.is_guess:
            return None
        each = self._outputs.estimate_of_model(expected.model)
        if each is None or each * expected.choices >= expected.output_tokens:
            return None
        likely = replace(expected, output_tokens=each * expected.choices, is_guess=False)
        amounts = self.amounts(likely) or Amounts(0, asked.input_tokens + likely.output_tokens, 1)
        return replace(asked, expected=likely, amounts=amounts)

    def least(self, asked: Asked) -> Amounts:
        """The least that the call may go on with."""
        expected = asked.expected
        if expected is None or not expected.is_guess or expected.output_tokens <= USUAL_OUTPUT * expected.choices:
            return asked.amounts
        usual = replace(expected, output_tokens=USUAL_OUTPUT * expected.choices)
        return self.amounts(usual) or Amounts(0, asked.input_tokens + usual.output_tokens, 1)

    def amounts(self, expected: Expected) -> Amounts | None:
        """What a call takes; None if its price is not known."""
        usage = Usage(
            input_tokens=expected.input_tokens,
            output_tokens=expected.output_tokens,
            input_audio_tokens=expected.audio_tokens,
            web_searches=expected.searches,
            service_tier=expected.service_tier,
        )
        nano_usd = self._price(usage, expected)
        if expected.keeps is not None and nano_usd is not None and not expected.audio_tokens:
            sent = usage.input_tokens
            written = replace(usage, cache_write_tokens=sent, cache_write_1h_tokens=sent if expected.keeps == "1h" else 0)
            nano_usd = max(nano_usd, self._price(written, expected) or 0)
        return None if nano_usd is None else Amounts(nano_usd, usage.input_tokens + usage.output_tokens, 1)

    def affordable(self, expected: Expected, most: int, nano_usd: int) -> int:
        """The longest output of up to `most` tokens that costs no more than `nano_usd`: prices only rise with the tokens."""
        low, high = 0, max(most, 0)
        while low < high:
            middle = (low + high + 1) // 2
            amounts = self.amounts(replace(expected, output_tokens=middle))
            if amounts is None or amounts.nano_usd <= nano_usd:
                low = middle
            else:
                high = middle - 1
        return low

    def price_of_output(self, expected: Expected, tokens: int) -> int:
        """Nano-USD; 0 where the price is not known."""
        return self._price(Usage(output_tokens=tokens, service_tier=expected.service_tier), expected) or 0

    def _price(self, usage: Usage, expected: Expected) -> int | None:
        """Nano-USD, of the dearest that an answer may be: text, pictures or sound. None if no price is known."""
        kinds, made = [usage], usage.output_tokens
        if "image" in expected.makes:
            kinds.append(replace(usage, output_image_tokens=made))
        if "audio" in expected.makes:
            kinds.append(replace(usage, output_audio_tokens=made))
        priced = [self._prices.price(kind, expected.model, expected.provider, self._now_us()) for kind in kinds]
        return max((price.nano_usd for price in priced if price is not None), default=None)

    def _limit(self, model: str, provider: str | None, name: Literal["max_output_tokens", "context_tokens"]) -> int | None:
        try:
            found = self._prices.find(model, provider=provider)
        except UnknownModelError:
            return None
        return found.max_output_tokens if name == "max_output_tokens" else found.context_tokens
