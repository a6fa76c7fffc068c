"""The pages on what saves and bounds: caches, routing, budgets, experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.cache.semantic.stored import activity
from llmthrift_core.display import cell, counted, percent, usd
from llmthrift_core.quality.experiment_results import ExperimentResults
from llmthrift_core.quality.experiments import Experiment, names_of_experiments
from llmthrift_core.reports.page.charts import stacked_columns
from llmthrift_core.reports.page.review import chart_of
from llmthrift_core.service.dashboard.view import Block, Chart, Code, Figure, Figures, Page, Table, Text, period_of
from llmthrift_core.statistics import Interval
from llmthrift_core.thrift import Thrift

Query = Mapping[str, str]
_MOST_SPENDERS: Final = 200
_MOST_HOLDS: Final = 100
_NEAR: Final = 0.8  # of a limit
_BUDGET: Final = """from llmthrift_core import Budget

thrift.budgets.add(Budget(limit_usd=10, window="day", per="user"))"""
_CACHE: Final = """from llmthrift_langchain import thrifty

model = thrifty(model, thrift, cache=True)"""
_ROUTER: Final = """from llmthrift_langchain import ChatRouter

model = ChatRouter({"simple": small, "complex": large}, thrift)"""
_EXPERIMENT: Final = """from llmthrift_core.quality import Experiment

experiment = Experiment(thrift, "shorter-prompt", arms={"now": 0.5, "shorter": 0.5})
with experiment.assigned(user) as arm:
    ..."""


def cache(thrift: Thrift, query: Query) -> Page:
    """What the three kinds of caching save."""
    period = period_of(query, thrift.now_us())
    savings, stored, did = thrift.savings(period.since), thrift.cache.stats(), activity(thrift.database, None)
    models = thrift.report("model", period.since)
    total = models.total
    read, sent = total["cache_read_tokens"], total["input_tokens"]
    figures = [
        Figure("Saved by answers kept", usd(total["cache_saved_usd"]), "what the hits would have cost", "good"),
        Figure(
            "Hit rate", percent(savings.hit_rate), f"{savings.cache_hits:,} of {counted(savings.requests, 'request')}, exact and by meaning"
        ),
        Figure("Saved by providers' caches", usd(total["prefix_saved_usd"]), "reads at less than the price of input; writes taken off"),
        Figure("Prefixes read", percent(read / sent) if sent else "unknown", f"{read:,} of {counted(sent, 'input token')}"),
        Figure("Lost to missed prefixes", usd(total["prefix_lost_usd"]), "what could have been read and was paid in full"),
    ]
    blocks: list[Block] = [Figures(figures)]
    if not savings.cache_hits:
        blocks.append(Text("No answer came from a cache", "Requests that come again word for word need no model:", _CACHE))
    lookups = did["exact_hits"] + did["semantic_hits"] + did["misses"]
    rows: list[list[Any]] = [
        ["exact, entries now", stored["entries"], f"{counted(stored['stored_hits'] or 0, 'hit')} of these entries, in all processes"],
        ["exact, bytes", stored["size_bytes"] if "size_bytes" in stored else stored.get("bytes"), "of prompts' hashes and answers"],
        ["by meaning, looked up", int(lookups), "questions that were compared with earlier ones"],
        ["by meaning, answered", int(did["semantic_hits"]), "a similar question's answer served"],
        ["by meaning, held back", int(did["guarded"]), "similar, but another number, name or denial"],
        ["by meaning, expected wrong", f"{did['expected_wrong']:.1f}", "of those answered, as its shadow checks tell"],
        ["by meaning, shadow checks", int(did["shadow_checks"]), f"for {usd(Decimal(int(did['shadow_nano_usd'])) / 10**9)}"],
    ]
    blocks.append(
        Table("Answers kept", ["what", "count", "meaning"], rows, "Since the ledger began, whatever the period.", words=frozenset({2}))
    )
    prefixes = [
        [
            row["model"],
            row["cache_hits"],
            row["cache_saved_usd"],
            row["cache_read_tokens"],
            row["cache_write_tokens"],
            row["prefix_saved_usd"],
            row["prefix_lost_usd"],
        ]
        for row in models.rows
    ]
    meaning = "Writes can cost more than plain input, so that a prefix which is never read again loses money."
    header = ["model", "hits", "saved by hits", "tokens read", "tokens written", "saved by prefixes", "lost by misses"]
    blocks.append(Table("By model", header, prefixes, meaning))
    days = thrift.report("day", period.since)
    if days.rows and savings.saved_usd:
        chart = chart_of(days)
        kept = {row["day"]: row for row in days.rows}
        names = {"answers kept": "cache_saved_usd", "providers' caches": "prefix_saved_usd"}
        zero = Decimal(0)
        series = {name: [kept[day][key] if day in kept else zero for day in chart.labels] for name, key in names.items()}
        if chart.labels and len(chart.labels[0]) == 10 and any(map(any, series.values())):  # months have no rows here
            drawn = stacked_columns("Saved by caches, by day", chart.labels, series)
            blocks.insert(1, Chart(drawn, "What hits and reads would have cost besides. Negative days count as none here."))
    return Page(
        "Caching", f"Answers that were kept, and prefixes that providers kept, {period.words}.", blocks, [period.choice("/dashboard/cache")]
    )


def routing(thrift: Thrift, query: Query) -> Page:
    """Which model answers, and whether that is good."""
    period = period_of(query, thrift.now_us())
    found, scores = thrift.report("model", period.since), thrift.quality("model", period.since)
    total = found.total
    figures = [
        Figure("Saved by routing", usd(total["routing_saved_usd"]), "against the router's default model; escalations taken off", "good"),
        Figure("Routed", f"{total['routed']:,}", f"of {counted(total['requests'], 'request')}"),
        Figure("Rejected first answers", percent(total["escalation_rate"]), f"{total['escalated']:,}, paid for and not kept"),
        Figure("Paid for rejected answers", usd(total["escalated_cost_usd"]), "is in the cost, too"),
    ]
    quality = {row.value: row for row in scores.rows}
    rows = []
    for row in found.rows:
        score = quality.get(row["model"])
        good = "" if score is None else f"{score.quality.estimate:.2f} ({score.quality.low:.2f} to {score.quality.high:.2f})"
        rate = "" if row["escalation_rate"] is None else percent(row["escalation_rate"])
        judged, change = (0, "") if score is None else (score.judged, score.drift or "")
        rows.append([row["model"], row["routed"], rate, row["cost_per_1000_requests_usd"], row["routing_saved_usd"], good, judged, change])
    meaning = "Quality is the mean of what was judged (0 to 1) within limits of 95%; a model that nobody judged has none."
    header = ["model", "routed", "rejected", "per 1,000", "saved", "quality", "judged", "lately"]
    blocks: list[Block] = [Figures(figures), Table("Quality against cost", header, rows, meaning, how="" if rows else _ROUTER)]
    if not total["routed"] and rows:
        blocks.insert(1, Text("No request was routed", "A router sends easy requests to a cheaper model:", _ROUTER))
    versions = [
        [name, each.version, "active" if each.active else "", f"{each.created_at:%Y-%m-%d %H:%M}", each.note or ""]
        for name in thrift.routers.names()
        for each in thrift.routers.versions(name)[:5]
    ]
    empty = "No fitted router is kept. `llmthrift route fit` makes one of judged answers."
    blocks.append(
        Table(
            "Kept routers",
            ["router", "version", "in force", "saved at", "note"],
            versions,
            "The newest five.",
            words=frozenset({4}),
            empty=empty,
        )
    )
    return Page(
        "Routing",
        f"Which model answered, what that saved, and how good it was, {period.words}.",
        blocks,
        [period.choice("/dashboard/routing")],
    )


def budgets(thrift: Thrift, query: Query) -> Page:
    """Limits, and what is set aside for calls under way."""
    rows, shares, near = [], [], 0
    status = sorted(thrift.budgets.status(), key=lambda row: -(_used(row) or 0.0))
    for row in status:
        share = _used(row)
        near += share is not None and share >= _NEAR
        whose = ", ".join(f"{name} {cell(value)}" for name, value in row["scope"].items()) or "everybody"
        resets = "never" if row["resets_at"] is None else f"{row['resets_at']:%Y-%m-%d %H:%M}"
        used = "unknown" if share is None else percent(share)
        amounts = [row["limit"], row["spent"], row["reserved"], row["remaining"]]
        rows.append([row["name"], whose, row["window"], _unit(row["unit"]), *amounts, used, resets, row["on_exceed"]])
        shares.append(share)
    held = thrift.budgets.holds()
    figures = [
        Figure("Budgets", f"{len({row['name'] for row in status}):,}", f"{len(status):,} counted apart"),
        Figure("Near or over", f"{near:,}", f"at {_NEAR:.0%} of their limit or more", "bad" if near else ""),
        Figure("Set aside now", usd(sum((row["usd"] for row in held), Decimal(0))), f"for {counted(len(held), 'call')} under way"),
    ]
    header = ["budget", "whose", "window", "in", "limit", "spent", "set aside", "left", "used", "resets (UTC)", "when full"]
    meaning = "The fullest first. Money is set aside before a call and settled after it, so that many calls at once cannot overspend."
    table = Table(
        "Limits",
        header,
        rows[:_MOST_SPENDERS],
        meaning + (f" {_MOST_SPENDERS} of {len(rows):,} are shown." if len(rows) > _MOST_SPENDERS else ""),
        shares=shares[:_MOST_SPENDERS],
        marks_full=True,
        words=frozenset({1, 2, 3, 10}),
        empty="No budget is set. One refuses, waits, or takes a cheaper model before a limit is passed:",
        how="" if rows else _BUDGET,
    )
    holds = Table(
        "Calls under way",
        ["hold", "since (UTC)", "set aside", "tokens", "budgets", "ends by itself (UTC)"],
        [
            [
                Code(row["id"][:13]),
                f"{row['created_at']:%H:%M:%S}",
                row["usd"],
                row["tokens"],
                ", ".join(row["budgets"]),
                f"{row['expires_at']:%H:%M:%S}",
            ]
            for row in held[:_MOST_HOLDS]
        ],
        "What is set aside for a call that never ends comes back at the time in the last column.",
        words=frozenset({4}),
        empty="Nothing is set aside now.",
    )
    return Page("Budgets", "What may be spent, what is left, and what is under way.", [Figures(figures), table, holds], watches="budgets")


def experiments(thrift: Thrift, query: Query) -> Page:
    """Arms beside each other."""
    blocks: list[Block] = [_experiment(Experiment.named(thrift, name).results()) for name in names_of_experiments(thrift.database)]
    if not blocks:
        text = "An experiment assigns users, sessions or requests to arms, and tells when one of them costs less and is as good:"
        blocks = [Text("No experiment is kept", text, _EXPERIMENT)]
    return Page("Experiments", "What a change costs and whether answers stay as good, with intervals.", blocks)


def _experiment(found: ExperimentResults) -> Table:
    rows = [
        [
            arm.name,
            arm.units,
            arm.requests,
            _interval(arm.cost_per_request_usd, "${:.4g}"),
            arm.judged,
            _interval(arm.quality, "{:.2f}"),
            "" if arm.saving is None else _interval(arm.saving, "{:.0%}"),
            arm.verdict or "control",
            " ".join(arm.reasons),
        ]
        for arm in found.arms
    ]
    header = ["arm", f"{found.unit}s", "requests", "per request", "judged", "quality", "saves", "verdict", "why"]
    meaning = f"Since {found.since:%Y-%m-%d}; in brackets limits of {found.confidence:.0%}. {' '.join(found.notes)}"
    return Table(found.name, header, rows, meaning, words=frozenset({7, 8}))


def _interval(value: Interval, form: str) -> str:
    if not math.isfinite(value.estimate):
        return ""
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return form.format(value.estimate)
    return f"{form.format(value.estimate)} ({form.format(value.low)} to {form.format(value.high)})"


def _used(row: Mapping[str, Any]) -> float | None:
    return float(row["spent"] + row["reserved"]) / float(row["limit"]) if row["limit"] else None


def _unit(unit: str) -> str:
    return {"usd": "US dollars", "tool_calls": "tool calls"}.get(unit, unit)
