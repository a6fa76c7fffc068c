from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.decisions import context_cost, conversation_cost, roi
from llmthrift_core.errors import ConfigurationError, UnknownModelError

TICKETS = {"deflected tickets": 20_000 * Decimal("0.45") * 12, "faster tickets": 6_000}
COSTS = {"api": 8_500, "vector store": 500, "upkeep": 5_000}


def test_contexts() -> None:
    assert context_cost(2_000, requests_per_day=100_000, usd_per_million=5).tokens_per_day == 200_000_000
    found = context_cost(50_000, requests_per_day=10_000, usd_per_million=5)
    assert (found.usd_per_day, found.usd_per_month) == (Decimal(2_500), Decimal(75_000))
    assert context_cost(1_000_000, requests_per_day=1, model="gpt-4o").usd_per_day == Decimal("2.5")
    assert "2,500" in str(found)
    assert found.to_dicts()[0]["usd a month"] == 75_000
    with pytest.raises(ConfigurationError, match="give either usd_per_million= or model="):
        context_cost(1, requests_per_day=1)
    with pytest.raises(UnknownModelError):
        context_cost(1, requests_per_day=1, model="nobody-knows")
    with pytest.raises(ConfigurationError, match="tokens must be at least 0, not -1"):
        context_cost(-1, requests_per_day=1, usd_per_million=5)


@given(turns=st.integers(1, 200), added=st.integers(1, 5_000), fixed=st.integers(0, 5_000))
def test_a_conversation_sends_each_turn_what_was_before(turns: int, added: int, fixed: int) -> None:
    found = conversation_cost(turns=turns, tokens_per_turn=added, fixed_tokens=fixed, usd_per_million=1, conversations_per_day=2)
    by_hand = sum(fixed + added * turn for turn in range(1, turns + 1))
    assert (found.tokens, found.tokens_once) == (by_hand, fixed + added * turns)
    assert found.usd == Decimal(by_hand) / 1_000_000
    assert found.usd_per_month == Decimal(by_hand) * 60 / 1_000_000
    assert found.growth >= 1
    assert f"times as much as {'it contains' if turns == 1 else 'they contain'}" in str(found)


def test_returns_as_published() -> None:
    found = roi(value=TICKETS, cost=COSTS)
    assert (found.value_usd, found.cost_usd, found.net_usd) == (114_000, 14_000, 100_000)
    assert found.percent == pytest.approx(714.2857, abs=1e-4)
    assert found.sensitivity["deflected tickets halved"] == pytest.approx(328.5714, abs=1e-4)
    assert found.sensitivity["all value halved"] == pytest.approx(307.1429, abs=1e-4)
    assert "Return: 714.3%; paid back after 0.00 months." in str(found)
    review = roi(value={"review": 81_000}, cost={"all": 13_500}, setup_usd=30_000, setup_months=2)
    assert review.percent == 500
    assert review.payback_month == pytest.approx(2.4444, abs=1e-4)
    assert "<table>" in review._repr_html_()


def test_what_never_pays_and_what_costs_nothing() -> None:
    loss = roi(value={"little": 1}, cost={"much": 2}, setup_usd=10)
    assert (loss.percent, loss.payback_month) == (-50, None)
    assert "paid back never" in str(loss)
    assert roi(value={"a": 1}, cost={"nothing": 0}).percent is None
    for value, cost, sentence in (
        ({}, {"a": 1}, "must each name at least one amount"),
        ({"a": "lots"}, {"a": 1}, "value of 'a' must be a finite number, not 'lots'"),
        ({"a": 1}, {"b": -1}, "cost of 'b' must be at least 0, not -1"),
        (5, {"a": 1}, "value must be a mapping"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            roi(value=value, cost=cost)  # type: ignore[arg-type]
