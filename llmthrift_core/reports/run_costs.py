"""`RunCosts`: what one run cost, as a tree of its agents, tools and calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from html import escape
from typing import Any, Final, cast

from sqlalchemy import func, select

from llmthrift_core.display import Printed, cell, counted, percent, plain_table, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.repair import clean_name
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.cost_tree import CostNode, Row, tree_of
from llmthrift_core.reports.costly_calls import CostlyCall, costly_calls
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls, other_costs, run_of_calls, run_of_costs

_HEADER: Final = ("run", "calls", "input", "output", "cost", "other costs", "share")
_OF_CALLS: Final = (
    "request_id",
    "at_us",
    "model",
    "provider",
    "attempt_reason",
    "run_id",
    "parent_id",
    "path",
    "input_tokens",
    "output_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "web_searches",
    "cache",
    "error",
    "escalated",
)
_MONEY: Final = ("cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd")
_OF_COSTS: Final = ("request_id", "at_us", "kind", "cost_nano_usd", "path")
_MOST_LINES: Final = 200  # of a tree for people
_INDENT: Final = "  "


@dataclass(frozen=True, repr=False)
class RunCosts(Printed):
    """One run: its agents, tools and nested agents as a tree, and its most expensive calls with the reasons.

    Attributes:
        run: its name, or its trace where it was given none.
        tree: the whole run; each node sums up what is below it.
        costliest: the most expensive calls, most expensive first.
        notes: what a reader should know about the numbers.
    """

    run: str
    tree: CostNode
    costliest: tuple[CostlyCall, ...]
    notes: tuple[str, ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """All priced model calls."""
        return self.tree.cost_usd

    @property
    def other_cost_usd(self) -> Decimal:
        """What is no model call, such as a tool that `record_cost` booked."""
        return self.tree.other_cost_usd

    @property
    def total_usd(self) -> Decimal:
        """Both together."""
        return self.tree.total_usd

    def to_dicts(self) -> list[dict[str, Any]]:
        """The tree as rows, from the top down: depth, and the attributes of a node."""
        return [
            {
                "depth": depth,
                "name": node.name,
                "kind": node.kind,
                "within": list(node.within),
                "request_id": node.request_id,
                "note": node.note,
                "calls": node.calls,
                "unpriced": node.unpriced,
                "input_tokens": node.input_tokens,
                "output_tokens": node.output_tokens,
                "cost_usd": node.cost_usd,
                "other_cost_usd": node.other_cost_usd,
                "total_usd": node.total_usd,
            }
            for depth, node in self.tree.walk()
        ]

    def to_text(self) -> str:
        """The tree, indented, and the most expensive calls."""
        if not self.tree.children:
            return "\n".join([f"No calls are recorded of the run {cell(self.run)}.", *self.notes])
        lines = [plain_table(_HEADER, [[_INDENT * depth + label, *rest] for depth, label, *rest in self._lines()])]
        if self.costliest:
            lines += ["", "The most expensive calls"]
        for number, call in enumerate(self.costliest, 1):
            lines.append(
                f"{number}. {cell(call.model)}, {usd(call.cost_usd)}, {percent(call.share)} of the model calls ({cell(call.request_id)})"
            )
            lines += [f"   {cell(reason)}" for reason in call.why]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        if not self.tree.children:
            return f"<p>{escape(self.to_text())}</p>"
        rows = []
        for depth, label, *rest in self._lines():
            numbers = "".join(f'<td style="text-align:right">{escape(cell(value))}</td>' for value in rest)
            rows.append(f'<tr><td style="text-align:left;padding-left:{0.5 + 1.25 * depth}em">{escape(label)}</td>{numbers}</tr>')
        head = "".join(f'<th style="text-align:{"right" if place else "left"}">{name}</th>' for place, name in enumerate(_HEADER))
        costly = "".join(
            f"<li>{escape(cell(call.model))}, {usd(call.cost_usd)}, {percent(call.share)} of the model calls"
            f"<ul>{''.join(f'<li>{escape(cell(reason))}</li>' for reason in call.why)}</ul></li>"
            for call in self.costliest
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table><ol>{costly}</ol>{notes}"

    def _lines(self) -> list[list[Any]]:
        """Depth, label and figures of every node that is shown."""
        whole = self.total_usd
        found: list[list[Any]] = []
        for depth, node in self.tree.walk():
            if len(found) == _MOST_LINES:
                found.append([0, f"... and {sum(1 for _ in self.tree.walk()) - _MOST_LINES:,} more lines in to_dicts()", *[""] * 6])
                break
            cost: Any = "unpriced" if node.unpriced and node.unpriced == node.calls else node.cost_usd
            is_cost = node.kind == "cost"
            found.append(
                [
                    depth,
                    cell(node.label),
                    "" if is_cost else node.calls,
                    "" if is_cost else node.input_tokens,
                    "" if is_cost else node.output_tokens,
                    "" if is_cost else cost,
                    node.other_cost_usd if node.other_cost_usd else "",
                    "" if not whole or (cost == "unpriced" and not node.total_usd) else percent(float(node.total_usd / whole)),
                ]
            )
        return found


def run_costs(database: Database, prices: PriceCatalog, run: str, *, costliest: int = 5) -> RunCosts:
    """Read what one run cost. The time depends on the run, not on the ledger.

    Args:
        run: the name that was given with `attribute(run=...)`, else the trace: `run` and `trace_id` of its rows.
        costliest: how many of the most expensive calls are explained.

    Raises:
        ConfigurationError: no run is given.
        StorageError: the database cannot be read.
    """
    if not isinstance(run, str) or not run:
        raise ConfigurationError(f"run must be the name or the trace id of a run, not {run!r}; report(by='run') lists them")
    name = clean_name(run)
    rows, costs = _rows(database, name)
    notes = []
    if unpriced := sum(row["cost_nano_usd"] is None for row in rows):
        notes.append(
            f"{counted(unpriced, 'call has no price and is', 'calls have no price and are')} in no amount; `llmthrift prices "
            "backfill` prices them once a price is set."
        )
    if pruned_until_us(database) is not None:
        notes.append("Calls that were pruned are missing here.")
    costly = costly_calls(rows, most=costliest, tier_of=cache(prices.tier))  # a run has few models and many calls
    return RunCosts(name, tree_of(name, rows, costs), costly, tuple(notes))


def _rows(database: Database, run: str) -> tuple[Sequence[Row], Sequence[Row]]:
    money = [func.coalesce(calls.c[name], adjustments.c[name]).label(name) for name in _MONEY]
    of_calls = (
        select(*(calls.c[name] for name in _OF_CALLS), *money)
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .where(run_of_calls == run, run_of_calls.is_not(None))  # the index has no rows without a run, which the second term tells
        .order_by(calls.c.at_us, calls.c.id)
    )
    of_costs = (
        select(*(other_costs.c[name] for name in _OF_COSTS))
        .where(run_of_costs == run, run_of_costs.is_not(None))
        .order_by(other_costs.c.at_us, other_costs.c.id)
    )
    with database.read() as connection:
        found = connection.execute(of_calls).mappings().all(), connection.execute(of_costs).mappings().all()
    return cast("tuple[Sequence[Row], Sequence[Row]]", found)
