"""`OptimizationReport`: what could be saved, the largest amount first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from itertools import chain
from typing import Any, Final

from llmthrift_core.display import Printed, cell, counted, spent_on, usd
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.optimizations import caching, failures, models, prompts, shortening
from llmthrift_core.reports.optimizations.figures import MOST_CALLS, Figures, read_figures
from llmthrift_core.reports.optimizations.opportunity import Opportunity
from llmthrift_core.storage.database import Database

KINDS: Final = (
    "premium_models",
    "low_hit_rate",
    "system_prompt",
    "tool_schemas",
    "unbounded_output",
    "escalations",
    "fallback_spike",
    "retry_spike",
    "reasoning_without_answers",
    "unused_cache_entries",
    "broken_prefix_cache",
    "missed_prefixes",
    "shortening_losses",
    "model_retired_or_repriced",
    "cheaper_seller",
)


@dataclass(frozen=True, repr=False)
class OptimizationReport(Printed):
    """What could be saved. The amounts of two opportunities must not be added: what a cache answers needs no cheaper model.

    Attributes:
        opportunities: the largest potential first.
        spent_usd: what the model calls of the period cost.
        requests: of the period.
        unpriced: calls without a price, which no amount includes.
        notes: what a reader should know about the numbers.
    """

    opportunities: tuple[Opportunity, ...]
    spent_usd: Decimal
    requests: int
    unpriced: int = 0
    notes: tuple[str, ...] = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """The opportunities as dicts."""
        return [each.to_dict() for each in self.opportunities]

    def __iter__(self) -> Iterator[Opportunity]:
        return iter(self.opportunities)

    def __len__(self) -> int:
        return len(self.opportunities)

    def to_text(self) -> str:
        """Each opportunity with its range, what was assumed, how to take it, and calls that show it."""
        if not self.requests:
            return "\n".join(["No calls are recorded in this period.", *self.notes])
        lines = [spent_on(self.spent_usd, self.requests, self.unpriced)]
        if not self.opportunities:
            lines.append("Nothing stands out that could be saved.")
        for number, each in enumerate(self.opportunities, 1):
            lines += ["", f"{number}. {each.kind}: {_amount(each)}", f"   {cell(each.description)}"]
            lines.append(f"   Assumed ({each.basis}): {each.assumed}.")
            lines += [f"   > {line}" for line in each.how.splitlines()]
            if each.evidence:
                lines.append(f"   Shown by {', '.join(map(cell, each.evidence[:3]))}{', ...' if len(each.evidence) > 3 else ''}")
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    def _repr_html_(self) -> str:
        if not self.opportunities:
            return f"<p>{escape(self.to_text())}</p>"
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(each.kind)}</td>'
            f'<td style="text-align:right">{escape(usd(each.potential_savings_usd))}</td>'
            f'<td style="text-align:right">{escape(usd(each.low_usd))} to {escape(usd(each.high_usd))}</td>'
            f'<td style="text-align:left">{escape(cell(each.description))}<br>Assumed ({escape(each.basis)}): {escape(each.assumed)}.'
            f"<pre>{escape(each.how)}</pre></td></tr>"
            for each in self.opportunities
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        head = "".join(f"<th>{name}</th>" for name in ("kind", "could save", "range", "what, and how"))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"


def optimizations(
    database: Database, prices: PriceCatalog, *, since: Moment | None, until: Moment | None, now_us: int
) -> OptimizationReport:
    """Look for what could be saved in [since, until).

    Counts and amounts are of the whole period; what only single calls tell comes from its newest ones.

    Raises:
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    since_us, until_us = None if since is None else to_us(since), None if until is None else to_us(until)
    figures = read_figures(database, prices, since_us=since_us, until_us=until_us, now_us=now_us)
    found = sorted(_found(database, figures), key=lambda each: (-each.potential_savings_usd, -each.high_usd, KINDS.index(each.kind)))
    return OptimizationReport(tuple(found), to_usd(figures.cost), figures.total["requests"], figures.total["unpriced"], _notes(figures))


def _found(database: Database, figures: Figures) -> Iterator[Opportunity]:
    if not figures.attempts:
        return iter(())
    return chain(
        models.premium_models(figures),
        models.repriced_models(figures),
        models.cheaper_sellers(figures),
        caching.low_hit_rate(figures),
        caching.broken_prefix_caches(figures),
        caching.missed_prefixes(figures),
        caching.unused_entries(database, figures),
        prompts.system_prompts(figures),
        prompts.tool_schemas(figures),
        prompts.unbounded_output(figures),
        prompts.reasoning_without_answers(figures),
        shortening.shortening_losses(database, figures),
        failures.escalations(figures),
        failures.fallback_spikes(figures),
        failures.retry_spikes(figures),
    )


def _notes(figures: Figures) -> tuple[str, ...]:
    notes = []
    if unpriced := figures.total["unpriced"]:
        notes.append(f"{counted(unpriced, 'call has no price and is', 'calls have no price and are')} in no amount.")
    if figures.attempts > MOST_CALLS:
        notes.append(f"What only single calls tell comes from the newest {MOST_CALLS:,} of {counted(figures.attempts, 'call')}.")
    return tuple(notes)


def _amount(each: Opportunity) -> str:
    if not each.high_usd:
        return "no amount"
    return f"{usd(each.potential_savings_usd)}, {usd(each.low_usd)} to {usd(each.high_usd)}"
