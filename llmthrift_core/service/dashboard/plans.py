"""The page on what to decide: what to switch on first, to change, to build, to send, to set aside, and the return on it.

Its figures are those of `llmthrift advise`, `what-if`, `breakeven`, `context`, `budgets design` and `roi`. What nobody but the reader
knows is asked for by forms, which only change the page's address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.budgets import Group, design
from llmthrift_core.decisions import ApiCost, SelfHosted, advise, build_or_buy, context_cost, conversation_cost, roi, what_if
from llmthrift_core.display import counted, percent, usd
from llmthrift_core.errors import ConfigurationError, LLMThriftError
from llmthrift_core.service.dashboard.view import Block, Card, Field, Figure, Figures, Form, Page, Period, Table, Text, period_of
from llmthrift_core.thrift import Thrift

Query = Mapping[str, str]
_PATH: Final = "/dashboard/plans"
_MOST_MODELS: Final = 50
_MONTH_DAYS: Final = 30
_HOSTING: Final = {"gpu_hour": "3.50", "requests_per_hour": "800", "gpus": "2", "operations": "15000"}


def plans(thrift: Thrift, query: Query) -> Page:
    """What to decide."""
    period = period_of(query, thrift.now_us())
    models = [row["model"] for row in thrift.report("model", period.since).rows if row["cost_usd"]][:_MOST_MODELS]
    blocks = _tried("What to switch on first", lambda: _advice(thrift, period))
    if models:
        blocks += [_what_if_form(query, period, models), *_tried("What would have been", lambda: _what_if(thrift, query, period))]
        blocks += [_hosting_form(query, period, models), *_tried("Build or buy", lambda: _hosting(thrift, query, period, models))]
        blocks += [_context_form(thrift, query, period, models), *_tried("What a context costs", lambda: _context(thrift, query))]
        blocks += [_design_form(thrift, query, period), *_tried("Budgets by design", lambda: _design(query))]
    else:
        text = "What-if and build or buy begin with what calls cost, and none with a price is recorded in this period."
        blocks.append(Text("No call to plan with", text, "llmthrift advise --kind support --requests 1000 --input-tokens 2000 ..."))
    blocks += [_roi_form(query, period), *_tried("Return on investment", lambda: _roi(thrift, query))]
    lead = f"What to switch on, to change, to build and to expect, from the calls {period.words}."
    return Page("Plans", lead, blocks, [period.choice(_PATH)], watches="")


def _tried(title: str, make: Callable[[], list[Block]]) -> list[Block]:
    """The blocks; where they cannot be made of what was given, why."""
    try:
        return make()
    except LLMThriftError as error:
        return [Text(title, f"This cannot be told: {error}.")]


def _advice(thrift: Thrift, period: Period) -> list[Block]:
    found = advise(thrift, since=period.since)
    cards: list[Block] = [
        Card(
            f"{place}. {each.lever}",
            f"{usd(each.low_usd)} to {usd(each.high_usd)}",
            f"{each.why}. Takes about {counted(each.hours, 'hour')}. Risk: {each.risk}.",
            f"{percent(each.low_share)} to {percent(each.high_share)} of the cost; basis: {each.basis}.",
            each.code,
        )
        for place, each in enumerate(found.advice, 1)
    ]
    lead = f"{usd(found.spent_usd)} {found.period}. The most for an hour of work comes first; savings overlap, and must not be added."
    unknown = [[note] for note in found.notes]
    notes = [Table("What is not known yet", ["what"], unknown, "Observe mode finds it out, and changes nothing.")] if unknown else []
    return [Text("What to switch on first", lead if cards else f"Nothing stands out. {lead}"), *cards, *notes]


def _what_if_form(query: Query, period: Period, models: list[str]) -> Form:
    return Form(
        "Replay the period",
        _PATH,
        "what-if",
        [
            Field(
                "output", "Answers cost so many times", "such as 1.2; empty: as they did", is_needed=False, value=query.get("output", "")
            ),
            Field("old", "In place of", choices=["", *models], value=query.get("old", "")),
            Field("new", "this model answers", "such as gpt-4o-mini", is_needed=False, value=query.get("new", "")),
            Field("cache_ttl", "Exact answers kept for", "seconds", is_needed=False, value=query.get("cache_ttl", "")),
        ],
        "Give one change: every recorded call is priced again with it, one by one. Of millions of calls that takes a while.",
        asks={"days": period.days},
    )


def _what_if(thrift: Thrift, query: Query, period: Period) -> list[Block]:
    given = {name: text for name in ("output", "old", "new", "cache_ttl") if (text := query.get(name, "").strip())}
    if not given.keys() - {"old"}:
        return []
    model = {given["old"]: given["new"]} if "old" in given and "new" in given else None
    found = what_if(
        thrift, since=period.since, output=given.get("output"), model=model, cache_ttl_seconds=given.get("cache_ttl"), by="model"
    )
    share = found.change_share
    figures = [
        Figure("It cost", usd(found.before_usd), f"{counted(found.attempts, 'attempt')} that have a price before and after"),
        Figure("It would have cost", usd(found.after_usd), found.changed),
        Figure(
            "The difference",
            usd(found.change_usd),
            "less than none is a saving" if share is None else f"{share:+.1%} of what it cost",
            "good" if found.change_usd < 0 else "bad" if found.change_usd > 0 else "",
        ),
    ]
    rows = [[row["model"], row["before_usd"], row["after_usd"], row["change_usd"]] for row in found.rows]
    return [Figures(figures), Table("What would have been", ["model", "before", "after", "change"], rows, " ".join(found.remarks()))]


def _hosting_form(query: Query, period: Period, models: list[str]) -> Form:
    told = {**_HOSTING, **{name: query[name] for name in _HOSTING if query.get(name, "").strip()}}
    return Form(
        "Reckon with these",
        _PATH,
        "breakeven",
        [
            Field("api_model", "Instead of the calls of", choices=models, value=query.get("api_model", "")),
            Field("gpu_hour", "Dollars an hour of a GPU", "assumed, until you say", value=told["gpu_hour"]),
            Field("gpus", "GPUs of a node", value=told["gpus"]),
            Field("requests_per_hour", "Requests an hour", "that a node serves", value=told["requests_per_hour"]),
            Field("operations", "Dollars a month", "people and tools", value=told["operations"]),
        ],
        "An API against one's own GPUs. What a request costs at the API is what the ledger's calls of the model cost.",
        asks={"days": period.days},
    )


def _hosting(thrift: Thrift, query: Query, period: Period, models: list[str]) -> list[Block]:
    told = {**_HOSTING, **{name: query[name].strip() for name in _HOSTING if query.get(name, "").strip()}}
    model = query.get("api_model", "") or models[0]
    hosted = SelfHosted(
        gpus=int(told["gpus"]) if told["gpus"].isdecimal() else 0,
        usd_per_gpu_hour=told["gpu_hour"],
        requests_per_hour=told["requests_per_hour"],
        operations_usd_per_month=told["operations"],
    )
    found = build_or_buy(ApiCost.of(thrift, model, since=period.since), hosted)
    always = "never" if found.always_from_requests is None else f"{found.always_from_requests:,}"
    figures = [
        Figure("A request at the API", usd(found.api_usd_per_request), f"as calls of {model} cost here, on average"),
        Figure("On a full node", usd(found.self_hosted_usd_per_request), "without people and tools; a node is seldom full"),
        Figure("A node serves", f"{found.capacity_per_month:,}", f"requests a month, for {usd(found.node_usd_per_month)}"),
        Figure("Usual break-even", f"{found.naive_break_even_requests:,}", "requests a month: one node and operations by the API's price"),
        Figure("Own nodes always win from", always, "requests a month, with as many nodes as they take"),
    ]
    header, rows = found.table()
    meaning = "What costs less at which volume, with as many nodes as it needs. " + " ".join(found.remarks()[2:])
    return [Figures(figures), Table("Build or buy", header, rows, meaning, words=frozenset({2}))]


def _context_form(thrift: Thrift, query: Query, period: Period, models: list[str]) -> Form:
    days = len(thrift.report("day", period.since).rows)
    usual = str(round(thrift.report("model", period.since).total["requests"] / max(days, 1)))
    return Form(
        "Reckon the context",
        _PATH,
        "context",
        [
            Field("context_model", "At the price of", choices=models, value=query.get("context_model", "")),
            Field("tokens", "Tokens that every request sends", "such as a system prompt", value=query.get("tokens", "")),
            Field(
                "requests",
                "Requests a day",
                "as recorded, until you say",
                value=query.get("requests") or usual,
            ),
            Field("turns", "Turns of a conversation", "that sends its history again", is_needed=False, value=query.get("turns", "")),
            Field("turn_tokens", "Tokens that a turn adds", is_needed=False, value=query.get("turn_tokens", "")),
        ],
        "What a context costs a day and a month: each request pays for it again. With turns, requests are conversations.",
        asks={"days": period.days},
    )


def _context(thrift: Thrift, query: Query) -> list[Block]:
    if not (tokens := query.get("tokens", "").strip()):
        return []
    model, requests = query.get("context_model", ""), query.get("requests", "").strip()
    if not (turns := query.get("turns", "").strip()):
        found = context_cost(tokens, requests_per_day=requests, model=model, prices=thrift.prices)
        figures = [
            Figure("A day", usd(found.usd_per_day), f"{found.tokens_per_day:,} tokens at {usd(found.usd_per_million)} a million"),
            Figure("A month", usd(found.usd_per_month), "of 30 days; a provider's prompt cache makes what is repeated cheaper"),
        ]
        return [Figures(figures)]
    added = query.get("turn_tokens", "").strip() or "500"
    talk = conversation_cost(
        turns=turns, tokens_per_turn=added, fixed_tokens=tokens, model=model, conversations_per_day=requests, prices=thrift.prices
    )
    header, rows = talk.table()
    return [Table("What a conversation costs", header, rows, " ".join(talk.remarks()))]


def _design_form(thrift: Thrift, query: Query, period: Period) -> Form:
    month = period_of({"days": str(_MONTH_DAYS)}, thrift.now_us())
    rows = thrift.report("feature", month.since)
    spent, tokens = rows.total["cost_usd"], rows.total["input_tokens"] + rows.total["output_tokens"]
    shares = {str(row["feature"]): round(float(row["cost_usd"] / spent) * 100) for row in rows.rows if row["feature"]} if spent else {}
    told = {
        "budget": query.get("budget") or f"{spent:.2f}",
        "price": query.get("price") or (f"{spent / tokens * 1000:.6f}" if tokens else ""),
        "features": query.get("features") or ", ".join(f"{name}={share}" for name, share in shares.items() if share),
    }
    return Form(
        "Divide the budget",
        _PATH,
        "design",
        [
            Field("budget", "Dollars a month", "as the last 30 days cost, until you say", value=told["budget"]),
            Field("price", "Dollars a thousand tokens", "as the last 30 days cost", value=told["price"]),
            Field("features", "Features", "their shares in percent: chat=50, search=30", is_needed=False, value=told["features"]),
            Field("groups", "Users", "free=400x2000000: users by tokens a day", is_needed=False, value=query.get("groups", "")),
        ],
        "A month's money over features and groups of users, and what does not add up.",
        asks={"days": period.days, "design": "yes"},
    )


def _design(query: Query) -> list[Block]:
    if not query.get("design"):
        return []
    groups = {}
    for name, given in _pairs(query.get("groups", "")).items():
        users, _, tokens = given.partition("x")
        if not (users.strip().isdecimal() and tokens.strip().isdecimal()):
            raise ConfigurationError(f"a group is NAME=USERSxTOKENS, such as free=400x2000000, not {name}={given}")
        groups[name] = Group(int(users), int(tokens))
    found = design(
        usd_a_month=query.get("budget", "").strip(),
        usd_per_thousand_tokens=query.get("price", "").strip(),
        features=_pairs(query.get("features", "")),
        groups=groups,
    )
    header, rows = found.table()
    return [Table("Budgets by design", header, rows, " ".join(found.remarks()) or "It adds up.")]


def _pairs(given: str) -> dict[str, str]:
    """Of "name=value, name=value"."""
    found = {}
    for each in filter(None, (part.strip() for part in given.split(","))):
        name, sign, value = each.partition("=")
        if not sign or not name.strip():
            raise ConfigurationError(f"write NAME=VALUE, with commas between, not {each!r}")
        found[name.strip()] = value.strip()
    return found


def _roi_form(query: Query, period: Period) -> Form:
    return Form(
        "Work out the return",
        _PATH,
        "roi",
        [
            Field("value", "Dollars a month of saved work", value=query.get("value", "")),
            Field("revenue", "of further revenue", is_needed=False, value=query.get("revenue", "")),
            Field("other", "Other dollars a month", "vector store, GPUs, upkeep", is_needed=False, value=query.get("other", "")),
            Field("setup", "Dollars before there is value", is_needed=False, value=query.get("setup", "")),
            Field("setup_months", "Months until there is value", is_needed=False, value=query.get("setup_months", "")),
        ],
        f"Value against cost. What the calls of the last {_MONTH_DAYS} days cost is the cost of a month.",
        asks={"days": period.days},
    )


def _roi(thrift: Thrift, query: Query) -> list[Block]:
    if not (value := query.get("value", "").strip()):
        return []
    month = period_of({"days": str(_MONTH_DAYS)}, thrift.now_us())
    spent: Decimal = thrift.report("model", month.since).total["cost_usd"]
    found = roi(
        value={"saved work": value, **({"revenue": revenue} if (revenue := query.get("revenue", "").strip()) else {})},
        cost={"calls": spent, "the rest": query.get("other", "").strip() or "0"},
        setup_usd=query.get("setup", "").strip() or "0",
        setup_months=query.get("setup_months", "").strip() or "0",
    )
    back = "never" if found.payback_month is None else f"{found.payback_month:.1f} months"
    figures = [
        Figure(
            "Return", _percents(found.percent), "of what is paid a month: value less cost, by cost", "good" if found.net_usd > 0 else "bad"
        ),
        Figure("Net a month", usd(found.net_usd), f"{usd(found.value_usd)} of value, {usd(found.cost_usd)} of cost"),
        Figure("Paid back", back, "until the net has paid for the set-up, from its beginning"),
    ]
    rows: list[list[Any]] = [[name, _percents(share)] for name, share in found.sensitivity.items()]
    meaning = "The return, if one thing were otherwise. A plan that stands only as it is does not stand."
    return [Figures(figures), Table("Return on investment", ["if", "return"], rows, meaning)]


def _percents(share: float | None) -> str:
    return "nothing is paid" if share is None else f"{share:,.0f}%"
