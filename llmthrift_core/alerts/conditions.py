"""Conditions of alerts: each reads the state of now, and yields what is to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.alerts.alert import Alert, Notice
from llmthrift_core.alerts.cache_condition import cache_health
from llmthrift_core.alerts.watched import Watched
from llmthrift_core.display import cell, counted, percent, usd
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import DAY_US
from llmthrift_core.reports.escalations import rate_of
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.routing.cascades.escalation import escalation_alert

if TYPE_CHECKING:
    from llmthrift_core.reports.anomalies import Anomaly

Condition = Callable[[Watched, Alert], Iterator[Notice]]
_LEAST_EXCESS_USD: Final = 1.0
_MOST_ESCALATED: Final = 0.3
_ENOUGH_ANSWERS: Final = 100
_LOOK_BACK: Final = timedelta(hours=1)
_MOST_NAMED: Final = 5


def budget(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Shares of limits that were reached, for each spender and window; lower ones are told with the highest."""
    for row in watched.budgets.status():
        limit, spent = row["limit"], row["spent"]
        reached = [share for share in alert.shares if limit and spent >= limit * Decimal(str(share))]
        for share in reached[::-1]:
            resets = "" if row["resets_at"] is None else f"; it resets at {row['resets_at']:%Y-%m-%d %H:%M} UTC"
            amounts = f"{_amount(spent, row['unit'])} of {_amount(limit, row['unit'])}"
            text = f"The budget {cell(row['name'])!r} has reached {share:.0%} of its limit for {_whose(row['scope'])}: {amounts}{resets}."
            window = f"{row['name']} {row['unit']} {row['window_start'].isoformat()} {share:g}"
            scope = {"budget": row["name"], **row["scope"]}
            yield Notice("budget", alert.name, text, watched.at, scope, float(spent), float(limit), window)


def forecast(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Budgets that are expected to be exceeded; with a threshold, a month that is expected to cost more."""
    found = watched.forecast()
    if alert.threshold is not None:
        limit = alert.number(0)
        if float(found.projected_usd) > limit:
            span = f"{usd(found.low_usd)} to {usd(found.high_usd)}"
            text = f"{usd(found.projected_usd)} are expected for the month ({span}), more than {usd(Decimal(str(limit)))}."
            yield Notice("forecast", alert.name, text, watched.at, {}, float(found.projected_usd), limit, f"{found.first_day}")
        return
    for each in found.budgets:
        if each.is_over and each.spent_usd < each.limit_usd:
            scope = {"budget": each.budget, **each.scope}
            window = "" if each.resets_at is None else each.resets_at.isoformat()
            yield Notice("forecast", alert.name, each.sentence, watched.at, scope, float(each.projected_usd), float(each.limit_usd), window)


def anomaly(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Requests of the last hour, and hours and days of today, that took far more than usual."""
    for each in watched.anomalies(since=watched.at - _LOOK_BACK):
        excess = float(each.value_usd - each.expected_usd)
        if excess >= alert.number(_LEAST_EXCESS_USD):
            yield Notice(
                "anomaly", alert.name, each.why, watched.at, each.scope, float(each.value_usd), float(each.expected_usd), _key(each)
            )


def escalations(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Models whose first answers of the last day were rejected too often."""
    most = alert.number(_MOST_ESCALATED)
    for model, sums in _by_model(watched).items():
        rate = rate_of(sums)
        if rate is not None and sums["routed"] >= _ENOUGH_ANSWERS and rate > most:
            text = escalation_alert(f"{cell(model)}, last 24 hours", answers=sums["routed"], rate=rate)
            text = (
                text
                or f"{cell(model)}, last 24 hours: {rate:.0%} of {counted(sums['routed'], 'first answer was', 'first answers were')} "
                f"escalated, more than {most:.0%}."
            )
            yield Notice("escalations", alert.name, text, watched.at, {"model": model}, rate, most, watched.today)


def unpriced(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Calls of the last day without a price."""
    by_model = {model: sums["unpriced"] for model, sums in _by_model(watched).items() if sums["unpriced"] > 0}
    count, most = sum(by_model.values()), alert.number(0)
    if count > most:
        largest = sorted(by_model, key=lambda model: -by_model[model])
        names = ", ".join(cell(model) for model in largest[:_MOST_NAMED]) + (", ..." if len(largest) > _MOST_NAMED else "")
        calls = counted(count, "call of the last 24 hours has no price and is", "calls of the last 24 hours have no price and are")
        text = f"{calls} in no cost: {names}. Set prices with thrift.prices.override(...)."
        yield Notice("unpriced", alert.name, text, watched.at, {}, count, most, watched.today)


def lost_rows(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Rows of this process that could not be stored."""
    health = watched.ledger.health()
    lost, most = health["lost"], alert.number(0)
    if lost > most:
        why = f" ({health['last_error']})" if health["last_error"] else ""
        text = (
            f"{counted(lost, 'call was', 'calls were')} not recorded{why}: costs and budgets miss them. See thrift.health(), and "
            "spool= of Thrift."
        )
        yield Notice("lost_rows", alert.name, text, watched.at, {}, lost, most, f"{watched.process} {watched.today}")


def quality(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Models whose judged answers of the last week are worse than before, with 99% confidence."""
    for row in watched.quality(by="model"):
        if row.drift == "worse" and row.change is not None and -row.change.estimate >= alert.number(0):
            change = f"{row.change.estimate:+.3f} ({row.change.low:+.3f} to {row.change.high:+.3f})"
            text = f"{cell(row.value)} got worse in the last 7 days: {change} of a quality from 0 to 1, now {row.recent_quality:.3f}."
            year, week, _ = watched.at.isocalendar()
            yield Notice(
                "quality", alert.name, text, watched.at, {"model": row.value}, row.change.estimate, alert.number(0), f"{year}-{week}"
            )


def batch(watched: Watched, alert: Alert) -> Iterator[Notice]:
    """Batch jobs that are overdue, and those of which requests failed or expired."""
    for job in watched.batches.jobs():
        name = cell(job.job.name or job.job.id)
        scope = {"job": job.job.id}
        if job.is_overdue:
            text = f"The batch job {name} should have ended by {job.expires_at:%Y-%m-%d %H:%M} UTC, and its provider says nothing."
            yield Notice("batch", alert.name, text, watched.at, scope, None, None, "overdue")
        failed, all_of_it = job.failed + job.expired, job.job.requests
        if all_of_it and failed / all_of_it > alert.number(0):
            text = (
                f"{failed:,} of {counted(all_of_it, 'request')} of the batch job {name} failed or expired ({percent(failed / all_of_it)})."
            )
            yield Notice("batch", alert.name, text, watched.at, scope, failed / all_of_it, alert.number(0), "failed")


CONDITIONS: Final[Mapping[str, Condition]] = {
    "budget": budget,
    "forecast": forecast,
    "anomaly": anomaly,
    "cache_health": cache_health,
    "escalations": escalations,
    "unpriced": unpriced,
    "lost_rows": lost_rows,
    "quality": quality,
    "batch": batch,
}


def _by_model(watched: Watched) -> dict[str, dict[str, int]]:
    watched.ledger.catch_up()
    with watched.database.read() as connection:
        # Whole hours: no row is read.
        since_us = (watched.now_us() - DAY_US) // 3_600_000_000 * 3_600_000_000
        groups = SumsReader(connection, since_us=since_us, until_us=None).by_dimension("model")
    return {str(model): dict(zip(MEASURES, amounts, strict=True)) for model, amounts in groups.items()}


def _key(each: Anomaly) -> str:
    return f"{each.kind} {each.request_id or each.at.isoformat()}"


def _whose(scope: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {cell(value)}" for name, value in scope.items()) or "everybody"


def _amount(amount: Any, unit: str) -> str:
    return usd(Decimal(amount)) if unit == "usd" else f"{amount:,} {unit.replace('_', ' ')}"
