"""The pages on what somebody should look at: opportunities, alerts and anomalies, health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from llmthrift_core.alerts.alert import ON, Alert, shown
from llmthrift_core.display import cell, percent, usd
from llmthrift_core.moments import from_us
from llmthrift_core.service.dashboard.view import Block, Card, Figure, Figures, Link, Page, Table, Text, href, period_of
from llmthrift_core.thrift import Thrift

Query = Mapping[str, str]
_ALERT: Final = """from llmthrift_core import Alert

thrift.alerts.add(Alert(on="budget", to=["https://hooks.example.com/llm"]))"""
_MOST: Final = 50
_LATELY: Final = timedelta(days=1)


def opportunities(thrift: Thrift, query: Query) -> Page:
    """What could be saved, and how."""
    period = period_of(query, thrift.now_us())
    found, seen = thrift.optimizations(period.since), thrift.observed(period.since)
    blocks: list[Block] = []
    for each in found:
        calls = [Link(f"call {place}", href("/dashboard/call", id=request_id)) for place, request_id in enumerate(each.evidence[:5], 1)]
        amount = f"{usd(each.potential_savings_usd)} ({usd(each.low_usd)} to {usd(each.high_usd)})" if each.high_usd else ""
        blocks.append(
            Card(each.kind.replace("_", " "), amount, each.description, f"Assumed ({each.basis}): {each.assumed}.", each.how, calls)
        )
    if not blocks:
        known = (
            "Nothing stands out that could be saved." if found.requests else "Opportunities come from recorded calls, and there are none."
        )
        blocks = [Text("Nothing to take", f"{known} A longer period may show more.")]
    levers = [
        [
            each.name,
            "unknown" if each.saved_usd is None else usd(each.saved_usd),
            "" if each.low_usd is None else f"{usd(each.low_usd)} to {usd(each.high_usd)}",
            each.assumed,
        ]
        for each in seen.levers
    ]
    meaning = "With LLMTHRIFT_OBSERVE=1 traffic is metered and not changed, and each lever tells what it would have saved."
    blocks.append(
        Table(
            "What observe mode found",
            ["lever", "would have saved", "range", "assumed, or what to do"],
            levers,
            meaning,
            words=frozenset({3}),
        )
    )
    lead = f"What could be saved with the code that takes it, {period.words}. The amounts overlap and must not be added."
    return Page("Opportunities", lead, blocks, [period.choice("/dashboard/opportunities")])


def alerts(thrift: Thrift, query: Query) -> Page:
    """What is unusual, and who is told."""
    added = thrift.alerts.list()
    found = thrift.anomalies()
    # What was unusual is looked up once, for both tables.
    recent = [each for each in found if each.at >= from_us(thrift.now_us()) - _LATELY]
    notices = thrift.alerts.look([Alert(on=on) for on in ON if on != "anomaly"])  # type: ignore[arg-type]
    told = [[each.on.replace("_", " "), each.text] for each in notices] + [["anomaly", each.why] for each in recent]
    unusual = []
    for anomaly in found[:_MOST]:
        kind: Any = anomaly.kind
        if anomaly.request_id is not None:
            kind = Link("request", href("/dashboard/call", id=anomaly.request_id))
        when = f"{anomaly.at:%Y-%m-%d}" if anomaly.kind == "day" else f"{anomaly.at:%Y-%m-%d %H:%M}"
        unusual.append([kind, when, anomaly.value_usd, anomaly.expected_usd, anomaly.why])
    watched = [[alert.name, alert.on, ", ".join(map(shown, alert.to)) or "nobody"] for alert in added]
    blocks: list[Block] = [
        Figures(
            [
                Figure("To look at now", f"{len(told):,}", "with the usual thresholds", "bad" if told else ""),
                Figure("Unusual", f"{len(found):,}", "requests, hours and days of the last 90 days"),
                Figure("Watched for", f"{len(added):,}", "alerts that this process was given"),
            ]
        ),
        Table(
            "To look at now",
            ["kind", "what"],
            told[:_MOST],
            "Looked up as this page was drawn; nobody was told.",
            words=frozenset({1}),
            empty="Nothing: budgets, forecast, caches and rows are as they should be.",
        ),
        Table(
            "Anomalies",
            ["what", "when (UTC)", "took", "usual", "why"],
            unusual,
            "A request of ten times its feature's mean; an hour or day far above the same ones before. The newest first.",
            words=frozenset({1, 4}),
            empty="Nothing took far more than usual.",
        ),
        Table(
            "Who is told",
            ["alert", "on", "to"],
            watched,
            "Alerts live in the process that adds them; `llmthrift alerts check` tells from a cron job.",
            words=frozenset({1, 2}),
            empty="This process watches for nothing. A program that runs, or the service's file, adds alerts:",
            how="" if watched else _ALERT,
        ),
    ]
    return Page("Alerts", "What somebody should look at, and what was unusual.", blocks)


def health(thrift: Thrift, query: Query) -> Page:
    """Whether everything is recorded."""
    found = thrift.health()
    status, ledger = str(found.get("status", "unknown")), found.get("ledger", {})
    waits = ledger.get("pending", ledger.get("queued"))
    total = thrift.report().total
    figures = [
        Figure("Status", status, "of this process and its database", "good" if status == "ok" else "bad"),
        Figure("Rows lost", f"{ledger.get('lost', 0):,}", "calls that could not be recorded", "bad" if ledger.get("lost") else ""),
        Figure("Without a price", f"{total['unpriced']:,}", "calls that are in no amount; `llmthrift prices backfill` mends it"),
        Figure("Estimated", f"{total['estimated']:,}", "rows whose tokens the provider did not tell"),
    ]
    if waits is not None:
        figures.append(Figure("Waiting", f"{waits:,}", "rows to be written"))
    notes = [[text] for text in found.get("alerts", ())]
    rows = [[name, value] for name, value in _flat({name: value for name, value in found.items() if name not in ("alerts", "status")})]
    blocks: list[Block] = [
        Figures(figures),
        Table("Notes", ["what"], notes, "What the parts say of themselves.", empty="No part complains."),
        Table("All of it", ["part", "value"], rows, "As `/health` of the service tells it to machines.", words=frozenset({1})),
    ]
    return Page("Health", "Whether every call is recorded and priced.", blocks)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(each, f"{name} · {key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value, 1):
            yield from _flat(each, f"{name} {place}")
    elif value is not None:
        yield name.replace("_", " "), percent(value) if name.endswith("_rate") and isinstance(value, float) else cell(value)
