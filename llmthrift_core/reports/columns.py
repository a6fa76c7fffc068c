"""The columns of a report that people see: few by default, more where there is room or something to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.display import cost_shown, percent

Row = Mapping[str, Any]

_SHOWN: Final = ("requests", "cache_hits", "input_tokens", "output_tokens", "cost_usd", "saved_usd")
# Shown where there is room.
_SHOWN_IF_WIDE: Final = ("input_cost_usd", "output_cost_usd")
# Shown only where some row has them.
_SHOWN_IF_ANY: Final = (
    "errors",
    "retries",
    "retry_cost_usd",
    "fallbacks",
    "fallback_cost_usd",
    "escalated",
    "escalation_rate",
    "unpriced",
    "estimated",
    "other_cost_usd",
)
_DETAILS: Final = ("requests", "cost_usd", "share", "cost_per_1000_requests_usd", "cost_per_answer_usd")
_DETAILS_IF_ANY: Final = (
    "trend",
    "input_cost_usd",
    "output_cost_usd",
    "fees_usd",
    "retry_cost_usd",
    "fallback_cost_usd",
    "escalated_cost_usd",
    "other_cost_usd",
    "saved_usd",
    "error_rate",
    "mean_latency_seconds",
    "p95_latency_seconds",
    "unpriced",
)
_NARROW: Final = ("requests", "cost_usd", "cost_per_1000_requests_usd", "cost_per_answer_usd", "input_cost_usd", "output_cost_usd")
_NARROW_IF_ANY: Final = ("trend", "other_cost_usd", "saved_usd", "error_rate", "p95_latency_seconds")
_HEADERS: Final = {
    "cost_per_1000_requests_usd": "per 1,000",
    "cost_per_answer_usd": "per answer",
    "input_cost_usd": "on input",
    "output_cost_usd": "on output",
    "fees_usd": "on fees",
    "retry_cost_usd": "on retries",
    "fallback_cost_usd": "on fallbacks",
    "escalated_cost_usd": "on rejected",
    "error_rate": "errors",
    "mean_latency_seconds": "mean s",
    "p95_latency_seconds": "p95 s",
}
_RARE: Final = ("other_cost_usd", "saved_usd", "retry_cost_usd", "fallback_cost_usd", "escalated_cost_usd")
_SPENT: Final = (
    "cost_usd", "input_cost_usd", "output_cost_usd", "cost_per_request_usd", "cost_per_1000_requests_usd", "cost_per_answer_usd",
)  # fmt: skip
_SHARES: Final = ("escalation_rate", "error_rate", "share")
_SMALLEST_FEE_USD: Final = Decimal("0.000001")  # what rounding leaves is not worth a column


def plain(by: str, rows: Sequence[Row], total: Row, *, more: bool) -> tuple[list[str], list[list[Any]], list[Any]]:
    """Header, rows and total with the usual columns; `more`: and those for wide lines."""
    shown = [by, *_SHOWN, *(_SHOWN_IF_WIDE if more else ()), *(name for name in _SHOWN_IF_ANY if total[name])]
    header = [name.removesuffix("_usd").replace("_", " ") for name in shown]
    return header, [_cells(row, shown) for row in rows], _cells(total, shown)


def detailed(by: str, rows: Sequence[Row], total: Row) -> tuple[list[str], list[list[Any]], list[Any]]:
    """Header, rows and total with all that says where the money went, and what answers cost and how they did."""
    some = [name for name in _DETAILS_IF_ANY if any(_is_worth_a_column(name, row[name]) for row in (total, *rows))]
    shown = [by, *_DETAILS, *some]
    header = [_HEADERS.get(name, name.removesuffix("_usd").replace("_", " ")) for name in shown]
    return header, [_cells(row, shown, empty_if_zero=_RARE) for row in rows], _cells(total, shown, empty_if_zero=_RARE)


def narrow(by: str, rows: Sequence[Row], total: Row) -> tuple[list[str], list[list[Any]], list[Any]]:
    """Header, rows and total with those details that have room on a sheet of paper."""
    some = [name for name in _NARROW_IF_ANY if any(_is_worth_a_column(name, row[name]) for row in (total, *rows))]
    shown = [by, *_NARROW, *some]
    header = [_HEADERS.get(name, name.removesuffix("_usd").replace("_", " ")) for name in shown]
    return header, [_cells(row, shown, empty_if_zero=_RARE) for row in rows], _cells(total, shown, empty_if_zero=_RARE)


def _is_worth_a_column(name: str, value: Any) -> bool:
    if name == "fees_usd":
        return bool(abs(value) >= _SMALLEST_FEE_USD)
    return value is not None if name == "trend" else bool(value)


def _cells(row: Row, shown: Sequence[str], *, empty_if_zero: Sequence[str] = ()) -> list[Any]:
    return ["" if name in empty_if_zero and not row[name] else _cell(row, name) for name in shown]


def _cell(row: Mapping[str, Any], name: str) -> Any:
    value = row[name]
    if name in _SHARES:
        return "" if value is None else percent(value)
    if name == "trend":
        return "" if value is None else f"{value:+.0%}"
    if value is None and name != next(iter(row)):
        return ""
    return cost_shown(value, row["unpriced"]) if name in _SPENT else value
