"""The state of budgets, in words and rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llmthrift_core.budgets.scopes import scope_of
from llmthrift_core.budgets.store import Amounts, BudgetStore, KeptWindow, Moved, Part
from llmthrift_core.budgets.windows import window_at
from llmthrift_core.display import counted
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_usd

if TYPE_CHECKING:
    from datetime import datetime

    from llmthrift_core.budgets.budget import Budget


_UNUSED: Final = KeptWindow("{}", Amounts(), Amounts(), Amounts())


class Alert(NamedTuple):
    """A share of a limit was reached. Amounts are US dollars, tokens, requests or tool calls, as `unit` says."""

    budget: str
    scope: Mapping[str, str | None]
    share: float
    unit: str
    spent: Decimal | int
    limit: Decimal | int
    resets_at: datetime | None


def status(store: BudgetStore, budgets: Sequence[Budget], now_us: int, scope: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One row per budget, spender and unit in the windows that `now_us` falls in."""
    rows: list[dict[str, Any]] = []
    for budget in budgets:
        start_us, resets_us = window_at(budget.window, budget.tz, now_us)
        is_one = scope is not None and all(name in scope for name in budget.per or ())
        windows = store.windows(budget.name, start_us, scope_of(scope).key(budget) if scope is not None and is_one else None)
        for window in windows:
            spender = json.loads(window.scope)
            if _wanted(spender, budget, scope):
                rows += rows_of(budget, spender, start_us, resets_us, window, now_us)
        if not windows and (scope is None or not budget.per or budget.window == "request"):
            rows += rows_of(budget, {}, start_us, resets_us, _UNUSED, now_us)
    return rows


def exceeded(budget: Budget, part: Part, wanted: Amounts, spent: Amounts, reserved: Amounts, why: str = "") -> BudgetExceededError:
    """The refusal of a budget, with its figures and what to do.

    Args:
        why: how the size of the request came about.
    """
    scope = json.loads(part.scope)
    whose = ", ".join(f"{name}={value}" for name, value in scope.items()) or "everybody"
    resets_at = None if part.resets_us is None else from_us(part.resets_us)
    when = f"; it resets at {resets_at:%Y-%m-%d %H:%M} UTC" if resets_at is not None else ""
    if budget.limit_usd is not None:
        text = f"spent ${to_usd(spent.nano_usd).normalize():f}, reserved ${to_usd(reserved.nano_usd).normalize():f}, "
        text += f"requested ${to_usd(wanted.nano_usd).normalize():f} of ${Decimal(budget.limit_usd).normalize():f}"
    elif budget.limit_tokens is not None:
        text = (
            f"spent {spent.tokens:,}, reserved {reserved.tokens:,}, requested {wanted.tokens:,} of {counted(budget.limit_tokens, 'token')}"
        )
    elif budget.limit_tool_calls is not None:
        text = f"made {spent.tokens:,}, asked for {wanted.tokens:,} more of {counted(budget.limit_tool_calls, 'tool call')}"
    else:
        text = f"made {spent.requests:,}, under way {reserved.requests:,} of {counted(budget.limit_requests or 0, 'request')}"
    has_usd, has_tokens, has_requests = (getattr(budget, f"limit_{unit}") is not None for unit in ("usd", "tokens", "requests"))
    return BudgetExceededError(
        f"budget {budget.name!r} refuses the call of {whose}: {text}{when}{f'; {why}' if why else ''}",
        budget=budget.name,
        limit_usd=Decimal(budget.limit_usd) if budget.limit_usd is not None else None,
        spent_usd=to_usd(spent.nano_usd) if has_usd else None,
        reserved_usd=to_usd(reserved.nano_usd) if has_usd else None,
        requested_usd=to_usd(wanted.nano_usd) if has_usd else None,
        limit_tokens=budget.limit_tokens,
        spent_tokens=spent.tokens if has_tokens else None,
        reserved_tokens=reserved.tokens if has_tokens else None,
        requested_tokens=wanted.tokens if has_tokens else None,
        limit_requests=budget.limit_requests,
        limit_tool_calls=budget.limit_tool_calls,
        spent_requests=spent.requests if has_requests else None,
        reserved_requests=reserved.requests if has_requests else None,
        spent_tool_calls=None if budget.limit_tool_calls is None else spent.tokens,
        requested_tool_calls=None if budget.limit_tool_calls is None else wanted.tokens,
        scope=scope,
        resets_at=resets_at,
        on_exceed=budget.on_exceed,
    )


def alert_of(budget: Budget, moved: Moved) -> Alert | None:
    """The highest share of a limit that was reached and not told yet."""
    best: Alert | None = None
    if budget.limit_seconds is not None:
        return None  # its window keeps a moment, of which shares mean nothing
    for unit, limit, spent in _units(budget, moved.spent):
        for share in budget.alert_at:  # the lowest first
            if not limit or spent < limit * _exactly(share):
                break
            if round(share * 1000) > moved.alerted and (best is None or share > best.share):
                resets_at = None if moved.resets_us is None else from_us(moved.resets_us)
                best = Alert(budget.name, json.loads(moved.scope), share, unit, spent, limit, resets_at)
    return best


@lru_cache(maxsize=256)
def _exactly(share: float) -> Decimal:
    return Decimal(str(share))


def _units(budget: Budget, amounts: Amounts) -> Iterator[tuple[str, Decimal | int, Decimal | int]]:
    if budget.limit_usd is not None:
        yield "usd", Decimal(budget.limit_usd), to_usd(amounts.nano_usd)
    if budget.limit_tokens is not None:
        yield "tokens", budget.limit_tokens, amounts.tokens
    if budget.limit_requests is not None:
        yield "requests", budget.limit_requests, amounts.requests
    if budget.limit_tool_calls is not None:
        yield "tool_calls", budget.limit_tool_calls, amounts.tokens
    if budget.limit_seconds is not None:
        yield "seconds", Decimal(str(budget.limit_seconds)), Decimal(amounts.tokens).scaleb(-3)


def rows_of(
    budget: Budget, scope: dict[str, Any], start_us: int, resets_us: int | None, window: KeptWindow, now_us: int
) -> Iterator[dict[str, Any]]:
    """One row for each unit that the budget limits."""
    if budget.limit_seconds is not None:  # the window keeps the moment of the first call, in milliseconds
        passed_ms = max(now_us // 1000 - window.spent.tokens, 0) if window.spent.tokens else 0
        window = window._replace(spent=Amounts(tokens=passed_ms), reserved=Amounts(), overrun=Amounts())
    for (unit, limit, used), (_, _, held), (_, _, over) in zip(
        _units(budget, window.spent), _units(budget, window.reserved), _units(budget, window.overrun), strict=True
    ):
        yield {
            "name": budget.name,
            "scope": scope,
            "window": budget.window,
            "window_start": from_us(start_us),
            "resets_at": None if resets_us is None else from_us(resets_us),
            "unit": unit,
            "limit": limit,
            "spent": used,
            "reserved": held,
            "remaining": max(limit - used - held, type(limit)(0)),
            "overrun": over,
            "on_exceed": budget.on_exceed,
        }


def _wanted(spender: Mapping[str, str | None], budget: Budget, scope: Mapping[str, Any] | None) -> bool:
    if scope is None:
        return True
    return all(scope.get(name) == value for name, value in (*spender.items(), *budget.match.items()) if name in scope)
