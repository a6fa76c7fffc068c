"""What a call is expected to take: its input by count and experience, its output by what it may, or usually does, answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.hold import Expected
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.sizes import ENOUGH, InputRatios, OutputSizes
from llmthrift_core.budgets.store import Amounts
from llmthrift_core.errors import UnknownModelError
from llmthrift_core.usage import Usage

# Where nobody knows how long a model's answers are, a call may go on with all that is left in its budgets, if that is enough for an answer
# of this length, some 375 English words.
USUAL_OUTPUT: Final = 500
LEAST_OUTPUT: Final = 16  # a shorter answer than that is worth no call
_UNKNOWN_OUTPUT: Final = 4_096  # where neither a limit, nor experience, nor the catalog says how long an answer may be


class Priced(Protocol):
    """What a price says of a call."""

    @property
    def nano_usd(self) -> int: ...


class ModelLimits(Protocol):
    """What a catalog knows of a model."""

    @property
    def max_output_tokens(self) -> int | None: ...


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
        expected: what it is expected to take, and its input tokens; None where amounts were given.
    """

    scope: Scope
    applying: Sequence[Budget]
    amounts: Amounts
    ttl_us: int
    renews: bool = False
    expected: Expected | None = None
    input_tokens: int = 0

    @property
    def is_guess(self) -> bool:
        """Whether nobody knows how long the answer will be."""
        return self.expected is not None and self.expected.is_guess

    def why(self) -> str:
        """How its size came about and what can be done, for a refusal; "" where it was given."""
        expected = self.expected
        if expected is None:
            return ""
        size = f"the request is for {self.input_tokens:,} input tokens and an answer of up to {expected.output_tokens:,}"
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
        self, scope: Scope, applying: Sequence[Budget], provider: str | None, counted: int, max_output_tokens: int | None
    ) -> tuple[Expected, int]:
        """What a call is expected to take, and its input tokens by experience."""
        model, feature = scope.model or "", scope.attribution.feature
        taken = self._inputs.estimate(model, counted)
        output = self._outputs.estimate(model, feature) if max_output_tokens is None else max_output_tokens
        is_guess = output is None
        if output is None:
            single = [budget.limit_tokens for budget in applying if budget.window == "request" and budget.limit_tokens is not None]
            output = min([self._longest_answer(model, provider), *(max(limit - taken, 0) for limit in single)])
        return Expected(model, provider, feature, counted, output, is_limited=max_output_tokens is not None, is_guess=is_guess), taken

    def usual(self, asked: Asked) -> Asked | None:
        """For a guess that has no room: what the model's answers for other features say. None where they say nothing, or no less."""
        expected = asked.expected
        if expected is None or not expected.is_guess:
            return None
        output = self._outputs.estimate_of_model(expected.model)
        if output is None or output >= expected.output_tokens:
            return None
        likely = replace(expected, output_tokens=output, is_guess=False)
        amounts = self.amounts(likely, asked.input_tokens) or Amounts(0, asked.input_tokens + output, 1)
        return replace(asked, expected=likely, amounts=amounts)

    def least(self, asked: Asked) -> Amounts:
        """The least that the call may go on with."""
        expected = asked.expected
        if expected is None or not expected.is_guess or expected.output_tokens <= USUAL_OUTPUT:
            return asked.amounts
        tokens = asked.input_tokens + USUAL_OUTPUT
        return self.amounts(replace(expected, output_tokens=USUAL_OUTPUT), asked.input_tokens) or Amounts(0, tokens, 1)

    def amounts(self, expected: Expected, input_tokens: int) -> Amounts | None:
        """What a call takes; None if its price is not known."""
        usage = Usage(input_tokens=input_tokens, output_tokens=expected.output_tokens)
        priced = self._prices.price(usage, expected.model, expected.provider, self._now_us())
        return None if priced is None else Amounts(priced.nano_usd, usage.input_tokens + usage.output_tokens, 1)

    def affordable(self, expected: Expected, input_tokens: int, most: int, nano_usd: int) -> int:
        """The longest answer of up to `most` tokens that costs no more than `nano_usd`: prices only rise with the tokens."""
        low, high = 0, max(most, 0)
        while low < high:
            middle = (low + high + 1) // 2
            amounts = self.amounts(replace(expected, output_tokens=middle), input_tokens)
            if amounts is None or amounts.nano_usd <= nano_usd:
                low = middle
            else:
                high = middle - 1
        return low

    def price_of_output(self, expected: Expected, tokens: int) -> int:
        """Nano-USD; 0 where the price is not known."""
        priced = self._prices.price(Usage(output_tokens=tokens), expected.model, expected.provider, self._now_us())
        return 0 if priced is None else priced.nano_usd

    def _longest_answer(self, model: str, provider: str | None) -> int:
        try:
            return self._prices.find(model, provider=provider).max_output_tokens or _UNKNOWN_OUTPUT
        except UnknownModelError:
            return _UNKNOWN_OUTPUT
