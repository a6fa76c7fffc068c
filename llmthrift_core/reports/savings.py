"""`SavingsReport`: what was spent, what each lever saved, and what it would have cost without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from time import time
from typing import Any, Final

from llmthrift_core.display import Printed, cell, cost_shown, counted, percent, plain_table
from llmthrift_core.errors import UnknownModelError
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.reports.report import report, row_of
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage

_PARTS: Final = (
    "input_cost_usd", "output_cost_usd", "fees_usd", "retry_cost_usd", "fallback_cost_usd", "retries", "fallbacks", "cache_saved_usd",
    "routing_saved_usd", "shortening_saved_usd", "prefix_saved_usd", "prefix_lost_usd", "prefix_unread_usd",
    "batch_saved_usd", "escalated_cost_usd",
    "escalated", "other_cost_usd", "requests", "cache_hits", "unpriced",
)  # fmt: skip
_SMALLEST_FEE_USD: Final = Decimal("0.000001")  # what rounding leaves is not worth a line
_COSTLIEST: Final = 10
# Priced to learn the rates of a model: below the prompt lengths from which some models charge more.
_SAMPLE_TOKENS: Final = 1_000


@dataclass(frozen=True, repr=False)
class SavingsReport(Printed):
    """Savings of a period. Nothing is counted twice: a hit saves the price of the model that had answered, routing the
    difference between that model and the one that would have answered without the router; then the shorter prompt, the provider's
    prompt cache and its batch rate are taken away one after another, at the prices of the model that would have answered.

    Attributes:
        spent_usd: the cost of all priced model calls: input_cost_usd + output_cost_usd + fees_usd.
        input_cost_usd, output_cost_usd, fees_usd: what was sent, what was generated, and what is billed beside tokens, such as searches.
        retry_cost_usd, fallback_cost_usd: of attempts that repeated a failed one, on the same model or on another; in spent_usd.
        retries, fallbacks: how many these were.
        other_cost_usd: recorded costs that are not model calls; not in spent_usd.
        cache_saved_usd: what the hits would have cost.
        routing_saved_usd: the baseline's price minus the cost, over all routed calls; negative where routing cost more.
        shortening_saved_usd: by shorter prompts, priced with the provider's prompt cache in force; negative where they broke a prefix.
        prefix_saved_usd: by the provider's prompt cache, whoever asked for it: against the plain input price. Negative where writing
            cost more than reading saved.
        prefix_lost_usd: what prefixes cost that could have been read from that cache and were not; in spent_usd.
        prefix_unread_usd: what writes to that cache cost that expired before anything read them; in spent_usd, and taken off
            prefix_saved_usd.
        batch_saved_usd: by the provider's batch rate.
        escalated_cost_usd: what the answers cost that cascades rejected; in spent_usd, and taken off routing_saved_usd.
        escalated: how many these were.
        requests, cache_hits, unpriced: counts. An unpriced call is in no amount.
        observed_cache_usd, observed_routing_usd, observed_shortening_usd, observed_prefix_usd: in observe mode, what each would have saved.
        baseline: the model to compare with, or None.
        baseline_usd: an estimate of what all requests, hits included, would have cost on the baseline at today's price.
        costliest_call_sites: at most ten rows of `report(by="call_site")`.
    """

    spent_usd: Decimal
    input_cost_usd: Decimal
    output_cost_usd: Decimal
    fees_usd: Decimal
    retry_cost_usd: Decimal
    fallback_cost_usd: Decimal
    retries: int
    fallbacks: int
    other_cost_usd: Decimal
    cache_saved_usd: Decimal
    routing_saved_usd: Decimal
    shortening_saved_usd: Decimal
    prefix_saved_usd: Decimal
    prefix_lost_usd: Decimal
    prefix_unread_usd: Decimal
    batch_saved_usd: Decimal
    escalated_cost_usd: Decimal
    escalated: int
    requests: int
    cache_hits: int
    unpriced: int
    observed_cache_usd: Decimal
    observed_routing_usd: Decimal
    observed_shortening_usd: Decimal
    observed_prefix_usd: Decimal
    baseline: str | None
    baseline_usd: Decimal | None
    costliest_call_sites: tuple[Mapping[str, Any], ...]

    @property
    def saved_usd(self) -> Decimal:
        """Saved by the cache, routing, shorter prompts, the provider's prompt cache and batches."""
        by_us = self.cache_saved_usd + self.routing_saved_usd + self.shortening_saved_usd
        return by_us + self.prefix_saved_usd + self.batch_saved_usd

    @property
    def without_usd(self) -> Decimal:
        """What the same requests would have cost at once, in full, at plain prices, on the model that would have answered."""
        return self.spent_usd + self.saved_usd

    @property
    def saved_share(self) -> float | None:
        """saved_usd / without_usd; None where nothing was spent or saved."""
        return float(self.saved_usd / self.without_usd) if self.without_usd else None

    @property
    def hit_rate(self) -> float | None:
        """cache_hits / requests; None without requests."""
        return self.cache_hits / self.requests if self.requests else None

    @property
    def observed_usd(self) -> Decimal:
        """What all of it would have saved in observe mode."""
        return self.observed_cache_usd + self.observed_routing_usd + self.observed_shortening_usd + self.observed_prefix_usd

    def to_dict(self) -> dict[str, Any]:
        """Every figure by name, without the call sites."""
        return {name: getattr(self, name) for name in _FIGURES}

    def to_text(self) -> str:
        """All of it as text."""
        lines = plain_table(["savings", ""], self._lines())
        if self.observed_usd and self.costliest_call_sites:
            rows = [[row["call_site"], row["requests"], row["cost_usd"]] for row in self.costliest_call_sites]
            lines += "\n\n" + plain_table(["costliest call sites", "requests", "cost"], rows)
        return lines

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(cell(value))}</td></tr>" for name, value in self._lines())
        return f"<table><tbody>{rows}</tbody></table>"

    def _lines(self) -> list[tuple[str, Any]]:
        lines: list[tuple[str, Any]] = [
            ("spent", cost_shown(self.spent_usd, self.unpriced)),
            ("  on input", cost_shown(self.input_cost_usd, self.unpriced)),
            ("  on output", cost_shown(self.output_cost_usd, self.unpriced)),
            ("saved by the cache", self.cache_saved_usd),
            ("saved by routing", self.routing_saved_usd),
            *((name, amount) for name, amount in self._discounts() if amount),
            ("without llmthrift", cost_shown(self.without_usd, self.unpriced)),
            ("saved", percent(self.saved_share)),
            ("requests", f"{self.requests:,}"),
            ("answered from the cache", percent(self.hit_rate)),
        ]
        if self.fees_usd >= _SMALLEST_FEE_USD:
            lines.insert(3, ("  on searches and other fees", self.fees_usd))
        if self.prefix_lost_usd:
            lines.append(("lost by misses of the provider's prompt cache", self.prefix_lost_usd))
        if self.prefix_unread_usd:
            lines.append(("lost by writes to it that nobody read", self.prefix_unread_usd))
        if self.retries:
            lines.append((f"spent on {self.retries:,} retries", self.retry_cost_usd))
        if self.fallbacks:
            lines.append((f"spent on {self.fallbacks:,} fallbacks", self.fallback_cost_usd))
        if self.escalated:
            lines.append((f"spent on {counted(self.escalated, 'answer')} that cascades rejected", self.escalated_cost_usd))
        if self.other_cost_usd:
            lines.append(("other costs", self.other_cost_usd))
        if self.observed_usd:
            lines.append(("observed: the cache would have saved", self.observed_cache_usd))
            lines.append(("observed: routing would have saved", self.observed_routing_usd))
            if self.observed_shortening_usd:
                lines.append(("observed: shorter prompts would have saved", self.observed_shortening_usd))
            if self.observed_prefix_usd:
                lines.append(("observed: the provider's prompt cache would have saved", self.observed_prefix_usd))
        if self.baseline is not None:
            lines.append((f"all on {self.baseline} (estimate)", "unknown" if self.baseline_usd is None else self.baseline_usd))
        if self.unpriced:
            lines.append(("calls without a price, in no amount", f"{self.unpriced:,}"))
        return lines

    def _discounts(self) -> list[tuple[str, Decimal]]:
        return [
            ("saved by shorter prompts", self.shortening_saved_usd),
            ("saved by the provider's prompt cache", self.prefix_saved_usd),
            ("saved by batches", self.batch_saved_usd),
        ]


_FIGURES: Final = (
    "spent_usd",
    "input_cost_usd",
    "output_cost_usd",
    "fees_usd",
    "retry_cost_usd",
    "fallback_cost_usd",
    "retries",
    "fallbacks",
    "cache_saved_usd",
    "routing_saved_usd",
    "shortening_saved_usd",
    "prefix_saved_usd",
    "prefix_lost_usd",
    "prefix_unread_usd",
    "batch_saved_usd",
    "escalated_cost_usd",
    "escalated",
    "saved_usd",
    "without_usd",
    "saved_share",
    "requests",
    "cache_hits",
    "hit_rate",
    "unpriced",
    "other_cost_usd",
    "observed_cache_usd",
    "observed_routing_usd",
    "observed_shortening_usd",
    "observed_prefix_usd",
    "baseline",
    "baseline_usd",
)


def savings(
    database: Database,
    prices: PriceCatalog,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    baseline: str | None = None,
    now_us: int | None = None,
) -> SavingsReport:
    """Sum up the savings of [since, until), from what is committed.

    Args:
        baseline: compare with what every request would have cost on this model. An estimate from the sums of tokens, at
            the base price: surcharges for long prompts apply per call and are left out.
        now_us: the time of the baseline's price; None is now.

    Raises:
        UnknownModelError: the baseline has no price.
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        reader = SumsReader(
            connection,
            since_us=None if since is None else to_us(since),
            until_us=None if until is None else to_us(until),
            whole_before_us=pruned_us,
        )
        amounts = reader.total()
    total = row_of("total", "total", amounts)
    sums = dict(zip(MEASURES, amounts, strict=True))
    sites = report(database, by="call_site", since=since, until=until)
    return SavingsReport(
        spent_usd=total["cost_usd"],
        **{name: total[name] for name in _PARTS},
        observed_cache_usd=to_usd(sums["observed_cache_nano_usd"]),
        observed_routing_usd=to_usd(sums["observed_routing_nano_usd"]),
        observed_shortening_usd=to_usd(sums["observed_shortening_nano_usd"]),
        observed_prefix_usd=to_usd(sums["observed_prefix_nano_usd"]),
        baseline=baseline,
        baseline_usd=None if baseline is None else _all_on(baseline, sums, prices, now_us),
        costliest_call_sites=tuple(sites.rows[:_COSTLIEST]),
    )


def _all_on(model: str, sums: Mapping[str, int], prices: PriceCatalog, now_us: int | None) -> Decimal:
    at_us = int(time() * 1e6) if now_us is None else now_us

    def rate(usage: Usage) -> Decimal:
        priced = prices.price(usage, model, None, at_us)
        if priced is None:
            raise UnknownModelError(model)
        return Decimal(priced.nano_usd) / _SAMPLE_TOKENS

    cached = sums["cache_read_tokens"]
    written = sums["cache_write_tokens"]
    plain = sums["input_tokens"] + sums["saved_input_tokens"] - cached - written
    nano_usd = (
        plain * rate(Usage(input_tokens=_SAMPLE_TOKENS))
        + cached * rate(Usage(input_tokens=_SAMPLE_TOKENS, cache_read_tokens=_SAMPLE_TOKENS))
        + written * rate(Usage(input_tokens=_SAMPLE_TOKENS, cache_write_tokens=_SAMPLE_TOKENS))
        + (sums["output_tokens"] + sums["saved_output_tokens"]) * rate(Usage(output_tokens=_SAMPLE_TOKENS))
    )
    return to_usd(round(nano_usd))
