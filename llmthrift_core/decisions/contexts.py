"""The cost of a context that is sent with every request, or grows with a conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import Plan, counted, drawn_bars
from llmthrift_core.errors import ConfigurationError, UnknownModelError
from llmthrift_core.money import DAYS_PER_MONTH, Number, exact, money, positive

if TYPE_CHECKING:
    from llmthrift_core.display import Drawn
    from llmthrift_core.pricing import PriceCatalog

_MOST_DRAWN: Final = 200  # turns of a chart


@dataclass(frozen=True, repr=False)
class ContextCost(Plan):
    """What so many tokens cost that every request sends.

    Attributes:
        tokens_per_day: sent tokens.
        usd_per_day, usd_per_month: at the price of input; a month has 30 days.
        usd_per_million: the price.
    """

    tokens: int
    requests_per_day: int
    usd_per_million: Decimal
    tokens_per_day: int
    usd_per_day: Decimal
    usd_per_month: Decimal

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """One row."""
        header = ["tokens", "requests a day", "tokens a day", "usd a day", "usd a month"]
        return header, [[self.tokens, self.requests_per_day, self.tokens_per_day, self.usd_per_day, self.usd_per_month]]

    def _drawn(self, alt: Any) -> Drawn:
        """A month, with contexts of half, the same and twice as many tokens."""
        sizes = [(round(self.tokens * share), self.usd_per_month * Decimal(str(share)), share) for share in (0.5, 1, 2)]
        rows = [{"name": f"{size:,} tokens", "high": usd, "kind": "asked" if share == 1 else "otherwise"} for size, usd, share in sizes]
        return drawn_bars(alt, rows, title=f"US dollars a month, {self.requests_per_day:,} requests a day")


@dataclass(frozen=True, repr=False)
class ConversationCost(Plan):
    """What the input of a conversation costs whose every turn sends all turns before.

    Attributes:
        tokens: sent in all turns: turns * fixed_tokens + tokens_per_turn * turns * (turns + 1) / 2.
        tokens_once: if each token were sent once.
        growth: tokens / tokens_once.
        usd, usd_once: what these cost.
        usd_per_month: of `conversations_per_day`; None where that is not given.
        tokens_by_turn: sent up to each turn, the first first; of at most 200 turns that are evenly apart.
    """

    turns: int
    tokens: int
    tokens_once: int
    usd: Decimal
    usd_once: Decimal
    usd_per_month: Decimal | None
    tokens_by_turn: tuple[tuple[int, int], ...] = field(default=(), repr=False)

    @property
    def growth(self) -> float:
        """How many times each token is sent on average."""
        return self.tokens / self.tokens_once

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """With and without resending."""
        return ["history", "input tokens", "usd"], [["sent again", self.tokens, self.usd], ["sent once", self.tokens_once, self.usd_once]]

    def remarks(self) -> list[str]:
        """How much that is."""
        month = [] if self.usd_per_month is None else [f"A month: ${self.usd_per_month:,.2f}"]
        return [
            (
                f"{counted(self.turns, 'turn sends', 'turns send')} {self.growth:.1f} times as much as "
                f"{'it contains' if self.turns == 1 else 'they contain'}."
            ),
            *month,
        ]

    def _drawn(self, alt: Any) -> Drawn:
        """Tokens sent up to each turn, with and without sending the history again."""
        rows: list[dict[str, Any]] = []
        for turn, tokens in self.tokens_by_turn:
            rows.append({"turn": turn, "tokens": tokens, "history": "sent again"})
        rows += [{"turn": turn, "tokens": self.tokens_once * turn / self.turns, "history": "sent once"} for turn in (1, self.turns)]
        up = alt.Y("tokens:Q", title="input tokens so far")
        drawn: Drawn = alt.Chart(alt.Data(values=rows)).mark_line().encode(alt.X("turn:Q"), up, alt.Color("history:N"))
        return drawn.properties(width=560)


def context_cost(
    tokens: Number,
    *,
    requests_per_day: Number,
    usd_per_million: Number | None = None,
    model: str | None = None,
    prices: PriceCatalog | None = None,
) -> ContextCost:
    """What a context of so many tokens costs a day and a month. Billing is linear: each request pays for it again.

    Args:
        tokens: of the context, such as a system prompt.
        usd_per_million: the price of input; or else
        model: whose price of input it is, by `prices`, today.
        prices: None takes the price lists that are installed.

    Raises:
        ConfigurationError: no price, or two, or a number that makes no sense.
        UnknownModelError: no price is known for the model.

    >>> from llmthrift_core.decisions import context_cost
    >>> context_cost(50_000, requests_per_day=10_000, usd_per_million=5).usd_per_day
    Decimal('2500')
    """
    rate = _rate(usd_per_million, model, prices)
    size, requests = exact("tokens", tokens), exact("requests_per_day", requests_per_day)
    per_day = size * requests * rate / 1_000_000
    month = money(per_day * DAYS_PER_MONTH)
    return ContextCost(round(size), round(requests), money(rate), int(size * requests), money(per_day), month)


def conversation_cost(
    *,
    turns: Number,
    tokens_per_turn: Number,
    fixed_tokens: Number = 0,
    usd_per_million: Number | None = None,
    model: str | None = None,
    conversations_per_day: Number | None = None,
    prices: PriceCatalog | None = None,
) -> ConversationCost:
    """What the input of a conversation costs that sends its history with every turn: it grows with the square of the turns.

    Args:
        turns: questions that are asked.
        tokens_per_turn: what a turn adds, its question and its answer.
        fixed_tokens: what every turn sends besides, such as the system prompt and tools.
        usd_per_million, model, prices: as for `context_cost`. A provider's prompt cache makes what is repeated cheaper.
    """
    rate = _rate(usd_per_million, model, prices)
    count, added, fixed = positive("turns", turns), positive("tokens_per_turn", tokens_per_turn), exact("fixed_tokens", fixed_tokens)
    if count.denominator != 1:
        raise ConfigurationError(f"turns must be a whole number, not {turns}")
    sent = count * fixed + added * count * (count + 1) / 2
    once = fixed + added * count
    usd = sent * rate / 1_000_000
    month = None
    if conversations_per_day is not None:
        month = money(usd * exact("conversations_per_day", conversations_per_day) * DAYS_PER_MONTH)
    steps = sorted({max(1, int(count) * step // _MOST_DRAWN) for step in range(1, _MOST_DRAWN + 1)})
    by_turn = tuple((turn, int(turn * fixed + added * turn * (turn + 1) / 2)) for turn in steps)
    return ConversationCost(int(count), int(sent), int(once), money(usd), money(once * rate / 1_000_000), month, by_turn)


def _rate(usd_per_million: Number | None, model: str | None, prices: PriceCatalog | None) -> Fraction:
    if (usd_per_million is None) == (model is None):
        raise ConfigurationError("give either usd_per_million= or model=: the price of a million input tokens, or whose it is")
    if usd_per_million is not None:
        return exact("usd_per_million", usd_per_million)
    from llmthrift_core.pricing import PriceCatalog

    found = (prices or PriceCatalog()).find(str(model)).input_usd_per_million
    if found is None:
        raise UnknownModelError(str(model))
    return Fraction(found)
