"""What a router decided, for the row of an attempt in the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.routing.unfailing import version_of

if TYPE_CHECKING:
    from llmthrift_core.request import RouteUse
    from llmthrift_core.routing import RouteDecision


def explain(record: CallRecord, route: RouteUse, tier: str | None, decision: RouteDecision | None, confidence: float | None) -> None:
    """Note which tier was called, why, and what was expected of it; nothing where there was one model, such as that of `thrifty`.

    What a policy of the user's gets wrong, such as a quality above 1, is left unknown: it is not worth the row.

    Args:
        tier: of the attempt. Fallbacks, and the baseline in observe mode, are not what the decision expected anything of.
        confidence: of the policy in the attempt's answer, 0 to 1; None where it did not look.
    """
    if len(route.models) < 2:
        return
    record.tier = tier
    record.confidence = _share(confidence)
    if decision is None:
        return
    record.route_reason = decision.reason
    if decision.rejected:
        record.rejected = _pairs(decision.rejected)
    if decision.tier == tier:
        record.expected_quality = _share(decision.expected_quality)
        record.expected_cost_nano_usd = _nano_usd(decision.expected_cost_usd)


def with_configuration(attribution: Attribution, route: RouteUse) -> Attribution:
    """The attribution of a routed call: its configuration is the policy's version, where the user named none."""
    if attribution.config_version is not None:
        return attribution
    return attribution.over(Attribution(config_version=version_of(route.policy)))


def _pairs(rejected: Iterable[tuple[str, str]]) -> str | None:
    try:
        return json.dumps([(str(tier), str(why)) for tier, why in rejected])
    except (TypeError, ValueError):
        return None


def _share(given: float | None) -> float | None:
    try:
        share = None if given is None else float(given)
    except (TypeError, ValueError):
        return None
    return share if share is not None and 0 <= share <= 1 else None


def _nano_usd(usd: float | None) -> int | None:
    try:
        return None if usd is None else round(float(usd) * 1e9)
    except (TypeError, ValueError, OverflowError):  # no number, not a number, infinite
        return None
