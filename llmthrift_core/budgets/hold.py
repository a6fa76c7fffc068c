"""`Hold`: what is set aside for one call, until it is settled or released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Final, Protocol, Self

from llmthrift_core.budgets.budget import checked_amount
from llmthrift_core.budgets.store import Amounts, Part
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.outgoing.terms import Lifetime
from llmthrift_core.usage import Usage

_MOST: Final = 2**62
_LEAST_EXTENSION_TOKENS: Final = 64  # so that a stream does not write to the database for every piece


@dataclass(slots=True)
class Expected:
    """What a call was expected to take, so that it can grow and be learned from.

    Attributes:
        counted_tokens: text, as it was counted here. likely_tokens: everything that is sent, less cautiously.
        output_tokens: of all choices together.
        input_tokens: everything that is sent, by experience and by the makers' documentation.
        audio_tokens: part of input_tokens.
        searches: billed beside the tokens.
        choices: answers that were asked for.
        is_limited: the model was told to answer within output_tokens.
        is_guess: nobody knows how long such answers are: the longest one of the model is assumed.
        is_plain: nothing but text was sent, so that the provider's count says how far ours is off.
        makes: what an answer may be besides text.
        remark: what a refusal adds: what could not be bounded, and the remedy.
        service_tier: at whose prices it is billed, such as "batch"; None is the standard tier.
        keeps: how long the provider's cache is asked to keep the input; all of it may be billed as written.
    """

    model: str
    provider: str | None
    feature: str | None
    counted_tokens: int
    output_tokens: int
    input_tokens: int = 0
    audio_tokens: int = 0
    searches: int = 0
    choices: int = 1
    is_limited: bool = False
    is_guess: bool = False
    is_plain: bool = True
    remark: str = ""
    likely_tokens: int = 0
    makes: tuple[str, ...] = ()
    service_tier: str | None = None
    keeps: Lifetime | None = None

    @property
    def usage(self) -> Usage:
        """For the row of a call that was sent, and of whose answer nothing came."""
        audio = min(self.audio_tokens, self.likely_tokens)
        return Usage(
            input_tokens=self.likely_tokens,
            output_tokens=self.output_tokens,
            input_audio_tokens=audio,
            service_tier=self.service_tier,
            estimated=True,
        )


class Keeper(Protocol):
    """What a hold asks of the budgets that made it."""

    def extend_hold(self, hold_id: str, parts: Sequence[Part], more: Amounts, ttl_us: int) -> None: ...

    def settle_hold(self, hold_id: str, spent: Amounts | None, *, later: bool = False) -> None: ...

    def price_of_output(self, expected: Expected, tokens: int) -> int: ...

    def learn(self, expected: Expected, usage: Usage) -> None: ...


class Hold:
    """Money and tokens set aside for one call. As a context manager it releases what was not settled.

    Attributes:
        id: identifies the hold in the store; None where no budget applies.
        ttl_us: for how long it is made, and renewed while its call runs. expires_us: when it would expire, if it is renewed.
        max_output_tokens: the model is to answer within so many tokens, because there is no room for a longer answer; else None.
        settles_later: a thread settles or releases it soon, and its caller does not wait for the store.
    """

    __slots__ = (
        "__weakref__", "_expected", "_held", "_keeper", "_parts", "expires_us", "id", "max_output_tokens", "settles_later", "ttl_us",
    )  # fmt: skip

    def __init__(
        self,
        keeper: Keeper,
        hold_id: str | None,
        parts: Sequence[Part],
        ttl_us: int,
        expected: Expected | None = None,
        held: Amounts | None = None,
    ) -> None:
        self.id = hold_id
        self.max_output_tokens: int | None = None
        self.settles_later = False
        self._expected = expected
        self._held = held or Amounts()
        self._keeper = keeper
        self._parts = parts
        self.ttl_us = ttl_us
        self.expires_us = 0

    @property
    def or_none(self) -> Hold | None:
        """Itself; None where no budget applies, and so nothing is to be settled."""
        return None if self.id is None else self

    def extend(self, *, usd: Decimal | float | str = 0, tokens: int = 0) -> None:
        """Set more aside, and renew the hold's time. An expired hold is set aside again as a whole.

        Raises:
            BudgetExceededError: there is no room for more. What was held stays held.
            HoldEndedError: the hold was settled or released.
        """
        if self.id is not None:
            more = Amounts(checked_amount("usd", to_nano_usd(usd)), checked_amount("tokens", tokens))
            self._keeper.extend_hold(self.id, self._parts, more, self.ttl_us)
            self._held = Amounts(self._held.nano_usd + more.nano_usd, self._held.tokens + more.tokens, self._held.requests)

    @property
    def covered_tokens(self) -> int:
        """A stream of so many tokens needs nothing more."""
        if self._expected is None:
            return _MOST
        # A count of ours is no proof that a model exceeds what it was told.
        return self._expected.output_tokens * (2 if self._expected.is_limited else 1)

    def covers(self, output_tokens: int) -> bool:
        """Whether so many tokens of a stream are within what was set aside for its output: nothing is written for them."""
        return self._expected is None or self._counted(output_tokens, self._expected) <= self._expected.output_tokens

    def cover(self, output_tokens: int) -> None:
        """A stream has given so many tokens: if they are more than was set aside for its output, set aside up to a quarter more than that.

        Raises:
            BudgetExceededError: there is no room for more.
        """
        expected = self._expected
        if expected is None or self.covers(output_tokens):
            return
        needed = self._counted(output_tokens, expected) - expected.output_tokens
        more = max(needed, expected.output_tokens // 4, _LEAST_EXTENSION_TOKENS)
        while True:
            try:
                self.extend(usd=to_usd(self._keeper.price_of_output(expected, more)), tokens=more)
                break
            except BudgetExceededError:
                if more == needed:
                    raise
                more = max(needed, more // 4)  # near the end of the room in ever smaller steps, so that all of it is used
        expected.output_tokens += more

    def _counted(self, output_tokens: int, expected: Expected) -> int:
        # A cautious count of characters is no proof that a model exceeds what it was told.
        return output_tokens // 2 if expected.is_limited else output_tokens

    def learn(self, usage: Usage) -> None:
        """What the call really used: the next reservations for such calls go by it."""
        if self._expected is not None and not usage.estimated and not self.cut_short(usage):
            self._keeper.learn(self._expected, usage)

    def cut_short(self, usage: Usage) -> bool:
        """Whether the answer is only as long as there was room for, and says nothing about how long it would have been."""
        return self.max_output_tokens is not None and usage.output_tokens >= self.max_output_tokens

    @property
    def expected_usage(self) -> Usage | None:
        """What was set aside for, by the counted input; None where no budget applies."""
        return None if self._expected is None else self._expected.usage

    def end(self, cost_nano_usd: int | None, tokens: int, *, is_unanswered: bool = False) -> None:
        """As `settle`, in nano-USD.

        Args:
            is_unanswered: nobody saw the answer to its end. What was set aside may have been billed, or more, if more had come.
        """
        cost = None if cost_nano_usd is None else to_usd(cost_nano_usd)
        if is_unanswered:
            cost = None if cost is None else max(cost, to_usd(self._held.nano_usd))
            tokens = max(tokens, self._held.tokens)
        self.settle(cost_usd=cost, tokens=tokens)

    def settle(self, *, cost_usd: Decimal | float | str | None, tokens: int = 0) -> None:
        """What the call really took. Only the first settlement or release counts; a late one lands in the window it was held in.

        Where the store cannot be reached, the settlement waits and is tried again in the background; the hold stays meanwhile.

        Args:
            cost_usd: None where the price is not known: what was held then counts as spent.
            tokens: input and output.
        """
        if self.id is not None:
            nano = -1 if cost_usd is None else checked_amount("cost_usd", to_nano_usd(cost_usd))
            spent = Amounts(nano, checked_amount("tokens", tokens), self._held.requests)
            self._keeper.settle_hold(self.id, spent, later=self.settles_later)

    def release(self) -> None:
        """Nothing was used."""
        if self.id is not None:
            self._keeper.settle_hold(self.id, None, later=self.settles_later)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()  # does nothing after a settlement
