"""The pages on what was spent: the start, groups of anything, calls, a single call, runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final, Literal

from llmthrift_core.display import cell, cost_shown, counted, percent, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.reading import RecordedCall
from llmthrift_core.moments import from_us, to_us
from llmthrift_core.reports import columns
from llmthrift_core.reports.forecast import Forecast
from llmthrift_core.reports.found_calls import COSTLY_LOOKED_AT, LOOKED_AT, find_calls
from llmthrift_core.reports.page.charts import stacked_columns
from llmthrift_core.reports.page.review import chart_of
from llmthrift_core.reports.projection import DailyAmount
from llmthrift_core.reports.report import CHOICES, Report, known_tags
from llmthrift_core.reports.top import first_rows
from llmthrift_core.service.dashboard.charts import Line, daily_chart, sum_chart
from llmthrift_core.service.dashboard.view import Block, Chart, Choice, Figure, Figures, Link, Page, Period, Table, Text, href, period_of
from llmthrift_core.thrift import Thrift

Query = Mapping[str, str]
_ROWS: Final = 50
_SHORT: Final = 5
_LOOKED_AT: Final = 5_000
_MOST_COLUMNS: Final = 92
START: Final = """from llmthrift_core import Thrift
from llmthrift_langchain import thrifty

thrift = Thrift("calls.db")
model = thrifty(ChatOpenAI(model="gpt-4o-mini"), thrift)
model.invoke("Hello")"""
_GROUPS: Final = ("model", "feature", "user", "session", "run", "call_site", "provider", "request_type", "prompt_version", "config_version")


def spend(thrift: Thrift, query: Query) -> Page:
    """Where the money goes, at a glance."""
    period = period_of(query, thrift.now_us())
    days = thrift.report(by="day", since=period.since)
    savings, rate = thrift.savings(period.since), thrift.spend_rate()
    total = days.total
    choices = [period.choice("/dashboard/spend")]
    title, lead = "Spend", f"What model calls cost, and where that is going: {period.words}."
    if not total["attempts"] and not total["other_cost_usd"]:
        return Page(title, lead, [_nothing(period)], choices)
    forecast = thrift.forecast("month")
    for_1000 = cell(cost_shown(total["cost_per_1000_requests_usd"], total["unpriced"]))
    without = cell(cost_shown(savings.without_usd, savings.unpriced))
    hour, day = cell(cost_shown(rate.last_hour_usd, rate.unpriced[0])), cell(cost_shown(rate.last_day_usd, rate.unpriced[1]))
    figures = [
        Figure("Spent", cell(cost_shown(total["cost_usd"] + total["other_cost_usd"], total["unpriced"])), _of_what(total)),
        Figure(
            "This month",
            cell(cost_shown(forecast.projected_usd, forecast.unpriced)),
            f"expected; {usd(forecast.low_usd)} to {usd(forecast.high_usd)} in 8 of 10 cases" if forecast.projected_usd else "",
        ),
        Figure("Saved", usd(savings.saved_usd), f"{percent(savings.saved_share)} of {without} without llmthrift", "good"),
        Figure(
            "Requests",
            f"{total['requests']:,}",
            f"{for_1000} for 1,000; hits included",
        ),
        Figure("From the cache", percent(savings.hit_rate), f"{counted(savings.cache_hits, 'request')} that no model answered"),
        Figure(
            "Errors",
            percent(total["error_rate"]),
            f"{total['errors']:,} of {counted(total['attempts'], 'attempt')}",
            _bad(total["error_rate"]),
        ),
        Figure("Last hour", hour, f"{counted(rate.requests_last_hour, 'request')}; {day} in 24 hours"),
    ]
    blocks: list[Block] = [Figures(figures), *_charts(thrift, days, forecast, period)]
    for by, name in (("feature", "By feature"), ("model", "By model"), ("user", "By user")):
        found = first_rows(thrift.database, by, _SHORT, since=period.since, until=None, now_us=thrift.now_us(), with_slow=False)
        if any(row[by] is not None for row in found.rows):
            blocks.append(_grouped(found, period, title=name, narrow=True))
    return Page(title, lead, blocks, choices)


def explorer(thrift: Thrift, query: Query) -> Page:
    """Cost by anything."""
    period = period_of(query, thrift.now_us())
    by = query.get("by", "model")
    names = dict.fromkeys((*_GROUPS, "day", "month", *tags_of(thrift)))
    choices = [
        Choice(
            "Group by", [(name.replace("_", " "), href("/dashboard/explorer", by=name, days=period.days), name == by) for name in names]
        ),
        period.choice("/dashboard/explorer", by=by),
    ]
    title, lead = "Explorer", f"Cost and use by {cell(by).replace('_', ' ')}, {period.words}. A name leads to its calls."
    try:
        found = (
            thrift.report(by, period.since, details=True)
            if by in ("day", "month", "hour")
            else thrift.top(_ROWS, by if by != "call" else "", period.since)
        )
    except ConfigurationError as error:
        return Page(title, lead, [Text("There is no such group", str(error))], choices)
    assert isinstance(found, Report)  # noqa: S101 - only "call" is none
    blocks: list[Block] = []
    if by in ("day", "month", "hour"):
        chart = chart_of(found) if by == "day" else None
        if chart is not None and chart.labels:
            blocks.append(Chart(stacked_columns(chart.title, chart.labels, chart.series), "Amounts by the prices of each call's day."))
    return Page(title, lead, [*blocks, _grouped(found, period)], choices)


def calls(thrift: Thrift, query: Query) -> Page:
    """The calls of one group."""
    period, by, value = period_of(query, thrift.now_us()), query.get("by", ""), query.get("value")
    order: Literal["newest", "cost"] = "newest" if query.get("order") == "newest" else "cost"
    whose = f"{by.replace('_', ' ')} {cell(value)}" if by else "everything"
    same = {"by": by or None, "value": value, "days": period.days}
    orders = Choice(
        "Order",
        [
            ("most expensive", href("/dashboard/calls", **same, order="cost"), order == "cost"),
            ("newest", href("/dashboard/calls", **same, order="newest"), order == "newest"),
        ],
    )
    choices = [period.choice("/dashboard/calls", by=by or None, value=value, order=order), orders]
    thrift.ledger.catch_up()
    since_us = None if period.since is None else to_us(period.since)
    found, is_whole = find_calls(thrift.database, by=by, value=value, since_us=since_us, order=order, limit=_ROWS)
    rows = [_call_row(row) for row in found]
    meaning = f"The first {_ROWS}. A hit costs nothing; an attempt without a price is “unpriced” and in no amount."
    if not is_whole:
        most = "" if order == "newest" else f", and the {COSTLY_LOOKED_AT:,} that cost most and at least a cent,"
        meaning += f" The newest {LOOKED_AT:,} calls until the last of these{most} were looked through."
    header = ["at (UTC)", "call", "model", "feature", "user", "input", "output", "cost", "answered by"]
    table = Table("Calls", header, rows, meaning, words=frozenset({1, 2, 3, 4, 8}), empty="No such call is recorded in this period.")
    return Page(f"Calls of {whose}", f"Single attempts and hits, {period.words}.", [table], choices)


def call(thrift: Thrift, query: Query) -> Page:
    """One call with everything that is recorded of it."""
    request_id = query.get("id", "")
    found = thrift.ledger.calls(request_id=request_id) if request_id else ()
    if not found:
        return Page("Call", "", [Text("There is no such call", "It was never recorded, or it was pruned.")], watches="")
    row = found[0]
    figures = [
        Figure("Cost", usd(row.cost_usd), "by the price of its day" if row.cost_usd is not None else "its model has no price"),
        Figure("Input", f"{row['input_tokens']:,}", f"tokens; {row['cache_read_tokens']:,} from the provider's cache"),
        Figure("Output", f"{row['output_tokens']:,}", f"tokens; {row['reasoning_tokens']:,} of reasoning"),
        Figure("Took", "unknown" if row["latency_seconds"] is None else f"{row['latency_seconds']:.2f} s", "until the answer was whole"),
    ]
    others = thrift.ledger.calls(row["at"] - timedelta(hours=1), row["at"] + timedelta(hours=1), _LOOKED_AT)
    attempts = sorted((each for each in others if each["call_id"] == row["call_id"]), key=lambda each: each["attempt"])
    blocks: list[Block] = [Figures(figures)]
    if len(attempts) > 1:
        header = ["at (UTC)", "call", "model", "feature", "user", "input", "output", "cost", "answered by"]
        meaning = "All attempts of the same request: what failed or was rejected costs, too."
        blocks.append(Table("Attempts", header, [_call_row(each) for each in attempts], meaning, words=frozenset({1, 2, 3, 4, 8})))
    blocks.append(Table("What is recorded", ["field", "value"], list(_fields(row)), "Empty fields are left out.", words=frozenset({1})))
    return Page(f"Call of {cell(row['model'])}", f"{row['at']:%Y-%m-%d %H:%M:%S} UTC", blocks, watches="")


def runs(thrift: Thrift, query: Query) -> Page:
    """The runs that cost most, or one of them as a tree."""
    if run := query.get("run"):
        return _run(thrift, run)
    period = period_of(query, thrift.now_us())
    found = thrift.top(_ROWS, "run", period.since)
    assert isinstance(found, Report)  # noqa: S101 - only "call" is none
    lead = f"Agents and chains, each run as a whole, {period.words}. A name leads to its cost tree."
    table = _grouped(found, period, title="Runs that cost most", leave_out_none=True)
    return Page("Runs", lead, [table], [period.choice("/dashboard/runs")])


def _run(thrift: Thrift, run: str) -> Page:
    found = thrift.run_costs(run)
    rows, depths, whole = [], [], found.total_usd
    for depth, node in islice(found.tree.walk(), 500):
        name: Any = node.label
        if node.request_id is not None and node.kind in ("call", "hit"):
            name = Link(node.label, href("/dashboard/call", id=node.request_id))
        cost: Any = "unpriced" if node.unpriced and node.unpriced == node.calls else node.total_usd
        rows.append(
            [name, node.calls, node.input_tokens, node.output_tokens, cost, percent(float(node.total_usd / whole)) if whole else ""]
        )
        depths.append(depth)
    has_calls = bool(found.tree.children)
    figures = [
        Figure("Cost", usd(found.total_usd), f"{usd(found.cost_usd)} models, {usd(found.other_cost_usd)} other costs"),
        Figure("Calls", f"{found.tree.calls:,}", "attempts and hits"),
        Figure("Tokens", f"{found.tree.input_tokens:,}", f"in; {found.tree.output_tokens:,} out"),
    ]
    tree = Table(
        "Cost tree",
        ["part", "calls", "input", "output", "cost", "of the run"],
        rows if has_calls else [],
        " ".join(["Each line holds what is below it.", *found.notes]),
        depths=depths if has_calls else None,
        empty="No calls are recorded of this run.",
    )
    reasons = [
        [Link(each.model, href("/dashboard/call", id=each.request_id)), each.cost_usd, percent(each.share), "; ".join(each.why)]
        for each in found.costliest
    ]
    why = Table("Its most expensive calls", ["call", "cost", "of the run", "why"], reasons, words=frozenset({3}))
    return Page(f"Run {cell(run)}", "What one run cost, step by step.", [Figures(figures), tree, *([why] if reasons else [])])


def tags_of(thrift: Thrift) -> list[str]:
    """Names of recorded tags that are no name of something else."""
    return [name for name in known_tags(thrift.database) if name not in CHOICES]


def _nothing(period: Period) -> Text:
    if period.since is None:
        return Text("No calls are recorded yet", "Every call of a metered model becomes a row. Two lines begin it:", START)
    return Text("No calls in this period", "Choose a longer one above, or meter a model:", START)


def _charts(thrift: Thrift, days: Report, forecast: Forecast, period: Period) -> Iterator[Block]:
    # The charts are of everything that was spent: a limit of one feature, or of each user, has no place in them.
    of_all = [each for each in thrift.budgets.all() if each.limit_usd is not None and not each.per and not each.match]
    daily: list[Line] = [(each.name, Decimal(str(each.limit_usd))) for each in of_all if each.window == "day"]
    monthly: list[Line] = [(each.name, Decimal(str(each.limit_usd))) for each in of_all if each.window == "month"]
    spent = {row["day"]: row["cost_usd"] + row["other_cost_usd"] for row in days.rows}
    ahead = {day.day: day for day in forecast.daily if day.high_usd > (day.spent_usd or 0)}
    today = from_us(thrift.now_us()).date()
    first = period.since or (min(map(date.fromisoformat, spent)) if spent else today)
    if (today - first).days < _MOST_COLUMNS:
        last = max([today, *ahead])
        shown = []
        for number in range((last - first).days + 1):
            day = first + timedelta(days=number)
            amount = spent.get(day.isoformat(), Decimal(0))
            shown.append(ahead.get(day) or DailyAmount(day, amount if day <= today else None, amount, amount, amount))
        meaning = "A column is what a day cost, a shaded one where a day to come lies in 8 of 10 cases; made from the days before."
        yield Chart(daily_chart(shown, daily), meaning)
    else:
        chart = chart_of(days)
        yield Chart(stacked_columns(chart.title, chart.labels, chart.series), "What was paid for input, output, and everything else.")
    sentences = [budget.sentence for budget in forecast.budgets[:3]]
    meaning = "The line is the month so far; the fan ends where 8 of 10 such months would, and is drawn straight until there."
    yield Chart(sum_chart(forecast, monthly), " ".join([meaning, *sentences, *forecast.notes]))


def _of_what(total: Mapping[str, Any]) -> str:
    if total["unpriced"]:
        return f"{counted(total['unpriced'], 'call has', 'calls have')} no price and are not in it"
    other = f", {usd(total['other_cost_usd'])} other" if total["other_cost_usd"] else ""
    if total["unpriced"] and not total["cost_usd"]:
        return f"{counted(total['unpriced'], 'call has', 'calls have')} no price{other}"
    return f"{usd(total['input_cost_usd'])} input, {usd(total['output_cost_usd'])} output{other}"


def _bad(rate: float | None) -> str:
    return "bad" if rate is not None and rate > 0.05 else ""


def _grouped(found: Report, period: Period, *, title: str = "", narrow: bool = False, leave_out_none: bool = False) -> Table:
    by = found.by
    header, cells, total = (columns.narrow if narrow else columns.detailed)(by, found.rows, found.total)
    rows, shares = [], []
    for row, values in zip(found.rows, cells, strict=True):
        if leave_out_none and row[by] is None:
            continue
        rows.append([_leads_to(by, row[by], period), *values[1:]])
        shares.append(row["share"] if by not in ("day", "month", "hour") else None)
    return Table(
        title or f"By {by.replace('_', ' ')}",
        [header[0].replace("_", " "), *header[1:]],
        rows,
        " ".join(["The bar is the share of the cost; the trend is against as many days before.", *found.notes])
        if by not in ("day", "month", "hour")
        else "The trend is against the row before.",
        total=None if leave_out_none else total,
        shares=shares,
        how=""
        if rows
        else 'from llmthrift_core import attribute\n\nwith attribute(feature="chat", user="ada", run="run-1"):\n    model.invoke("Hello")',
    )


def _leads_to(by: str, value: Any, period: Period) -> Any:
    if by in ("day", "month", "hour"):
        return value
    if by == "run" and value is not None:
        return Link(cell(value), href("/dashboard/runs", run=value))
    return Link(cell(value), href("/dashboard/calls", by=by, value=value, days=period.days))


def _call_row(row: RecordedCall) -> Sequence[Any]:
    how = row["error"] or (f"{row['cache']} cache" if row["cache"] else row["attempt_reason"] or "model")
    cost: Any = row.cost_usd if row.cost_usd is not None else "$0" if row["cache"] else "unpriced"
    name = Link(row["request_id"][:13], href("/dashboard/call", id=row["request_id"]))
    tokens = [row["input_tokens"], row["output_tokens"]]
    return [f"{row['at']:%Y-%m-%d %H:%M:%S}", name, row["model"], row["feature"] or "", row["user"] or "", *tokens, cost, how]


def _fields(row: RecordedCall) -> Iterator[Sequence[Any]]:
    hidden = ("id", "at_us", "latency_us", "lexical_counts", "first_token_us")
    for name, value in row.items():
        if name in hidden or name.endswith("_nano_usd") or value in (None, "", 0, (), {}, False):
            continue
        if name == "run":
            value = Link(cell(value), href("/dashboard/runs", run=value))
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={each}" for key, each in value.items())
        elif isinstance(value, tuple):
            value = "; ".join(f"{tier}: {why}" for tier, why in value)
        yield [name.removesuffix("_usd").replace("_", " "), value]
