"""The spending in a budget's windows before the budget was added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from llmthrift_core.attribution import attribution_of
from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.store import Amounts, KeptWindow
from llmthrift_core.budgets.windows import window_at


class Spent(NamedTuple):
    """What one kind of calls took: those with the same attributes.

    Attributes:
        attributes: by name, as far as they were asked for. tags: all of them.
    """

    attributes: Mapping[str, str | None]
    tags: Mapping[str, str]
    nano_usd: int
    tokens: int
    requests: int


Past = Callable[[Sequence[str], int], Iterable[Spent]]  # (names of attributes and tags, since_us): what was recorded since


def windows_of_past(budget: Budget, past: Past, now_us: int) -> tuple[int, int | None, list[KeptWindow]]:
    """The windows of now as they would be had the budget been there before: their begin and end, and one for each spender."""
    start_us, resets_us = window_at(budget.window, budget.tz, now_us)
    sums: dict[str, Amounts] = {}
    if budget.window != "request":
        for spent in past([*(budget.per or ()), *budget.match], start_us):
            given = {name: value for name, value in spent.attributes.items() if name != "model"}
            scope = Scope(attribution_of(spent.tags, **given), spent.attributes.get("model"))
            if scope.fits(budget):
                before = sums.get(key := scope.key(budget), Amounts())
                sums[key] = Amounts(before.nano_usd + spent.nano_usd, before.tokens + spent.tokens, before.requests + spent.requests)
    return start_us, resets_us, [KeptWindow(key, spent, Amounts(), _overrun(budget, spent)) for key, spent in sums.items()]


def _overrun(budget: Budget, spent: Amounts) -> Amounts:
    over_usd = 0 if budget.limit_nano_usd is None else max(spent.nano_usd - budget.limit_nano_usd, 0)
    return Amounts(over_usd, 0 if budget.limit_tokens is None else max(spent.tokens - budget.limit_tokens, 0))
