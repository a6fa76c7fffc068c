"""What is spent without a hold, and what was spent before a budget was there."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.budgets import Budgets
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.spending import Spent
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.pricing import PriceCatalog


def _status(thrift_or_budgets):
    budgets = getattr(thrift_or_budgets, "budgets", thrift_or_budgets)
    return [(row["scope"], row["spent"], row["reserved"], row["overrun"]) for row in budgets.status()]


def test_a_recorded_cost_is_spent_in_every_budget_that_applies():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_usd="0.6", per="run", name="each"))
        thrift.budgets.add(Budget(limit_usd=5, match={"team": "search"}, name="team"))
        thrift.record_cost("tool", usd="0.5", run="job", tags={"team": "search"})
        with attribute(run="job"):
            with pytest.raises(BudgetExceededError):
                thrift.budgets.reserve(estimate_usd="0.2")
            thrift.record_cost("tool", usd="0.2", request_id="once")
            thrift.record_cost("tool", usd="0.2", request_id="once")
        assert _status(thrift) == [({"run": "job"}, Decimal("0.7"), 0, Decimal("0.2")), ({}, Decimal("0.5"), 0, 0)]


def test_costs_are_spent_where_they_arose_and_beyond_the_limit_too(budgets, clock):
    budgets.add(Budget(limit_usd=1, window="day"))
    yesterday = int((clock.now - 86_400) * 1e6)
    budgets.spend(Scope(), nano_usd=3 * 10**9, spending_id="a", at_us=yesterday)
    budgets.spend(Scope(), nano_usd=5 * 10**9, spending_id="b")
    budgets.spend(Scope(), nano_usd=5 * 10**9, spending_id="b")
    assert _status(budgets) == [({}, 5, 0, 5)]
    clock.now -= 86_400
    assert _status(budgets) == [({}, 3, 0, 3)]


def _metered(thrift: Thrift, **who: str) -> None:
    request = Request(model="gpt-4o-mini", provider="openai", attribution=Attribution(**who))
    thrift.begin(request).finish(Response(usage=Usage(input_tokens=1_000_000, output_tokens=10)))


def test_budgets_that_warn_hear_of_what_is_only_metered_and_others_say_that_they_do_not(caplog):
    with Thrift(":memory:") as thrift:
        told = []
        thrift.budgets.on_alert(told.append)
        thrift.budgets.add(Budget(limit_usd="0.3", window="day", per="user", on_exceed="warn"))
        thrift.budgets.add(Budget(limit_usd=1, name="strict"))
        with caplog.at_level(logging.WARNING, "llmthrift"):
            for _ in range(2):
                _metered(thrift, user="ada")
                thrift.flush()
        assert _status(thrift) == [({}, 0, 0, 0), ({"user": "ada"}, Decimal("0.300012"), 0, 0)]
        assert [(alert.share, alert.scope) for alert in told] == [(0.95, {"user": "ada"})]
        assert sum("'strict' does not hold back" in record.getMessage() for record in caplog.records) == 1


def test_a_budget_knows_what_the_ledger_has_of_its_window():
    now = datetime(2026, 3, 11, 15, tzinfo=UTC).timestamp()
    with Thrift(":memory:", clock=lambda: now) as thrift:
        for at, user in (("2026-03-10T23:59:59", "ada"), ("2026-03-11T00:00:00", "ada"), ("2026-03-11T09:00", "ben")):
            thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000), at=at, user=user, tags={"team": user[0]})
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000), cache="exact", user="ada")
        thrift.record_cost("tool", "0.05", user="ada")
        thrift.budgets.add(Budget(limit_usd="0.1", window="day", per="user", name="1"))
        thrift.budgets.add(Budget(limit_usd=9, limit_tokens=10**7, limit_requests=9, match={"team": "a"}, name="2"))
        thrift.budgets.add(Budget(limit_usd=9, window="month", per="model", name="3"), count_past=False)
        assert _status(thrift)[:2] == [
            ({"user": "ada"}, Decimal("0.2"), 0, Decimal("0.1")),
            ({"user": "ben"}, Decimal("0.15"), 0, Decimal("0.05")),
        ]
        assert [(row["unit"], row["spent"]) for row in thrift.budgets.status()[2:5]] == [
            ("usd", Decimal("0.3")),
            ("tokens", 2_000_000),
            ("requests", 2),
        ]
        assert _status(thrift)[5:] == [({}, 0, 0, 0)]  # of the last one, nobody spent yet
        with pytest.raises(BudgetExceededError):
            thrift.budgets.reserve(estimate_usd="0.01", scope={"user": "ben"})


def test_what_is_settled_after_a_budget_was_added_counts_once():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_usd=9, name="before"))
        request = Request(model="gpt-4o-mini", provider="openai", outgoing=lambda tier: Outgoing(10), max_output_tokens=lambda tier: 10)
        for name in ("a", "b"):
            thrift.begin(request).finish(Response(usage=Usage(input_tokens=1_000_000)))
            thrift.budgets.add(Budget(limit_usd=9, name=name))
            thrift.budgets.add(Budget(limit_usd=8, name=name))  # replaced: what was spent stays
        assert [spent for _, spent, *_ in _status(thrift)] == [Decimal("0.30")] * 3


def test_the_past_begins_windows_in_every_store(store, clock):
    def past(names, since_us):
        return [
            Spent({"user": "ada"}, {}, 2 * 10**9, 7, 1),
            Spent({"user": "ada"}, {}, 10**9, 3, 1),
            Spent({"user": None}, {}, 10**8, 1, 1),
        ]

    budgets = Budgets(store, PriceCatalog(), clock=clock, new_id=iter("abcdef").__next__, past=past)
    budgets.add(Budget(limit_usd=5, limit_tokens=9, window="day", per="user"))
    hold = budgets.reserve(estimate_usd=2, scope={"user": "ada"})
    hold.settle(cost_usd=1)
    assert _status(budgets) == [
        ({"user": "ada"}, 4, 0, 0),
        ({"user": "ada"}, 10, 0, 1),
        ({"user": None}, Decimal("0.1"), 0, 0),
        ({"user": None}, 1, 0, 0),
    ]
    assert budgets.remove("usd and tokens per user a day")
    assert budgets.status() == []


def test_limits_a_day_a_month_and_a_request_in_one_call():
    with Thrift(":memory:") as thrift:
        added = thrift.budgets.add_limits(daily_usd=2, monthly_usd="30", per_request_usd=0.5, per="user")
        assert [(budget.window, budget.limit_usd, budget.per) for budget in added] == [
            ("day", 2, ("user",)),
            ("month", 30, ("user",)),
            ("request", Decimal("0.5"), ("user",)),
        ]
        assert len(thrift.budgets.all()) == 3
        with pytest.raises(BudgetExceededError):
            thrift.budgets.reserve(estimate_usd="0.6", scope={"user": "ada"})
        with pytest.raises(ConfigurationError, match="daily_usd="):
            thrift.budgets.add_limits()
