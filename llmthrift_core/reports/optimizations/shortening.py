"""Findings about shorter prompts that lose money or quality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from llmthrift_core.display import counted, usd
from llmthrift_core.money import to_usd
from llmthrift_core.reports.optimizations import lines
from llmthrift_core.reports.optimizations.figures import Figures
from llmthrift_core.reports.optimizations.opportunity import Estimate, Opportunity, opportunity
from llmthrift_core.reports.shortening_losses import ShorteningFigures, read_shortening, steps_of
from llmthrift_core.storage.database import Database

_ENOUGH: Final = 20  # calls
_CONFIDENCE: Final = 0.95


def shortening_losses(database: Database, figures: Figures) -> Iterator[Opportunity]:
    """Policies that cost more in broken prefixes than they saved, or whose answers are worse, by call site, with their steps."""
    if not figures.newest or not figures.total["shortened_tokens"]:
        return
    since_us = min(row.at_us for row in figures.newest)
    until_us = max(row.at_us for row in figures.newest) + 1
    with database.read() as connection:
        found = read_shortening(connection, since_us=since_us, until_us=until_us)
    for each in found:
        if each.calls >= _ENOUGH and (each.saved_nano_usd < 0 or _is_worse(each)):
            lost = max(0, -each.saved_nano_usd)
            yield opportunity(
                "shortening_losses",
                _said(each),
                Estimate(float(lost), 0.0, 2.0 * lost),
                evidence=each.request_ids,
                how=lines.UNSHORTENED,
                basis="ledger",
                assumed="without shorter prompts nothing else would change",
            )


def _is_worse(found: ShorteningFigures) -> bool:
    return bool(found.quality.units) and bool(found.plain.units) and found.quality_difference(_CONFIDENCE).high < 0


def _said(found: ShorteningFigures) -> str:
    where = found.call_site or "calls without a call site"
    text = f"Shorter prompts of {where}: {steps_of(found.tokens)} in {counted(found.calls, 'call')}"
    if found.saved_nano_usd < 0:
        text += f" lost {usd(to_usd(-found.saved_nano_usd))}: they broke prefixes in the provider's cache"
    if _is_worse(found):
        limits = found.quality_difference(_CONFIDENCE)
        worse = f"{-limits.estimate:.3f} ({-limits.high:.3f} to {-limits.low:.3f})"
        text += f"{';' if found.saved_nano_usd < 0 else ':'} their answers are worse by {worse}"
    return text + "."
