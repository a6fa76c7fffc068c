"""Findings about calls that are made again: escalations, fallbacks, retries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llmthrift_core.display import counted, percent
from llmthrift_core.reports.escalations import rate_of
from llmthrift_core.reports.optimizations import lines
from llmthrift_core.reports.optimizations.figures import Figures, Sums
from llmthrift_core.reports.optimizations.opportunity import Estimate, Opportunity, opportunity

_MOST_ESCALATED: Final = 0.3
_ENOUGH_ROUTED: Final = 20
_SPIKE: Final = 0.05  # of the attempts of a day
_TIMES: Final = 3.0  # the share of the days before
_ENOUGH: Final = 20  # attempts of a day


def escalations(figures: Figures) -> Iterator[Opportunity]:
    """Cheap models whose answers are rejected more often than in three of ten requests."""
    for model, sums in sorted(figures.models.items()):
        rate = rate_of(sums)
        if rate is None or sums["routed"] < _ENOUGH_ROUTED or rate <= _MOST_ESCALATED:
            continue
        lost = sums["escalated_cost_nano_usd"]
        yield opportunity(
            "escalations",
            f"{percent(rate)} of {counted(sums['routed'], 'first answer')} of {model} were rejected and asked for again: above "
            f"{_MOST_ESCALATED:.0%} a cascade hardly pays.",
            Estimate(float(lost), lost * (1 - _MOST_ESCALATED / rate), float(lost)),
            evidence=[row.request_id for row in figures.newest if row.escalated and row.model == model],
            how=lines.CASCADE,
            basis="ledger",
            assumed="rejected answers would not have been asked for; the low end brings the rate down to 30%",
        )


def retry_spikes(figures: Figures) -> Iterator[Opportunity]:
    """Days with many retries."""
    yield from _spikes(figures, "retry", "retries", "retry_cost_nano_usd", lines.RETRIES)


def fallback_spikes(figures: Figures) -> Iterator[Opportunity]:
    """Days on which another model often had to answer."""
    yield from _spikes(figures, "fallback", "fallbacks", "fallback_cost_nano_usd", lines.FALLBACKS)


def _spikes(figures: Figures, reason: str, count: str, cost: str, how: str) -> Iterator[Opportunity]:
    """A day counts that has a share above 5% which is three times that of all other days, or where there are no others."""
    days = [(day, sums) for day, sums in figures.days if sums["attempts"] >= _ENOUGH]
    worst: list[tuple[float, str, Sums]] = []
    all_made, all_again = sum(sums["attempts"] for _, sums in days), sum(sums[count] for _, sums in days)
    for day, sums in days:
        others_made, others = all_made - sums["attempts"], all_again - sums[count]
        usual = others / others_made if others_made else 0.0
        share = sums[count] / sums["attempts"]
        if share > _SPIKE and share >= _TIMES * usual:
            worst.append((share, day, sums))
    if not worst:
        whole = figures.total[count] / figures.attempts if figures.attempts else 0.0
        if figures.attempts < _ENOUGH or whole <= _SPIKE:
            return
        text = f"{percent(whole)} of all attempts are {count}, every day."
        paid = figures.total[cost]
    else:
        share, day, _ = max(worst, key=lambda item: item[:2])
        more = f" and {counted(len(worst) - 1, 'other day')}" if len(worst) > 1 else ""
        text = f"{percent(share)} of the attempts of {day}{more} were {count}, far above the other days."
        paid = sum(sums[cost] for _, _, sums in worst)
    yield opportunity(
        f"{reason}_spike",
        text,
        Estimate(float(paid), 0.0, float(paid)),
        evidence=[row.request_id for row in figures.newest if row.attempt_reason == reason],
        how=how,
        basis="ledger",
        assumed=f"what these {count} cost; an answer that came by one may have been worth it",
    )
