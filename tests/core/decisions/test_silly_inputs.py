"""Numbers that make no sense in a plan: refused by name, whatever they are and wherever they stand. And every plan can be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Final, cast

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.budgets import Group, design
from llmthrift_core.decisions import ApiCost, SelfHosted, advise, build_or_buy, context_cost, conversation_cost, roi, tier_mix, what_if
from llmthrift_core.display import Plan
from llmthrift_core.errors import ConfigurationError

SILLY: Final = [
    math.nan,
    math.inf,
    -1,
    1e300,
    10**400,
    1e-300,
    "1e9999",
    Decimal("sNaN"),
    Decimal("NaN"),
    "3,50",
    "$3",
    True,
    [1],
    b"3",
    "",
]
API: Final = ApiCost(input_usd_per_million=3, output_usd_per_million=15, input_tokens=2_000, output_tokens=500)
NODE: Final[dict[str, Any]] = {"gpus": 2, "usd_per_gpu_hour": "3.5", "requests_per_hour": 800, "operations_usd_per_month": 15_000}
WORK: Final[dict[str, Any]] = {"requests_per_day": 10, "input_tokens": 20, "output_tokens": 5}


def _hosted(name: str, value: Any) -> object:
    return build_or_buy(API, SelfHosted(**{**NODE, name: value}))


def _advised(name: str, value: Any) -> object:
    return advise(**{"kind": "support", "model": "gpt-4o", **WORK, name: value})


PLACES: Final[dict[str, Callable[[Any], object]]] = {
    "input_usd_per_million": lambda x: ApiCost(input_usd_per_million=x, output_usd_per_million=1, input_tokens=1, output_tokens=1),
    "output_tokens": lambda x: ApiCost(input_usd_per_million=1, output_usd_per_million=1, input_tokens=1, output_tokens=x),
    **{name: partial(_hosted, name) for name in NODE},
    "hours_per_month": lambda x: build_or_buy(API, SelfHosted(**NODE), hours_per_month=x),
    "requests": lambda x: build_or_buy(API, SelfHosted(**NODE)).at(x),
    "tokens": lambda x: context_cost(x, requests_per_day=1, usd_per_million=5),
    "requests_per_day": lambda x: context_cost(1, requests_per_day=x, usd_per_million=5),
    "turns": lambda x: conversation_cost(turns=x, tokens_per_turn=1, usd_per_million=5),
    "tokens_per_turn": lambda x: conversation_cost(turns=1, tokens_per_turn=x, usd_per_million=5),
    "conversations_per_day": lambda x: conversation_cost(turns=1, tokens_per_turn=1, conversations_per_day=x, usd_per_million=5),
    "cost of 'a'": lambda x: roi(value={"a": 1}, cost={"a": x}),
    "setup_usd": lambda x: roi(value={"a": 1}, cost={"a": 1}, setup_usd=x),
    "setup_months": lambda x: roi(value={"a": 1}, cost={"a": 1}, setup_months=x),
    "spent_usd": lambda x: tier_mix(spent_usd=x, usd_per_million=5, tiers={"a": (1, 5)}),
    "share of a": lambda x: tier_mix(spent_usd=1, usd_per_million=5, tiers={"a": (x, 5)}),
    "usd_a_month": lambda x: design(usd_a_month=x, usd_per_thousand_tokens=1),
    "usd_per_thousand_tokens": lambda x: design(usd_a_month=1, usd_per_thousand_tokens=x),
    "share of chat": lambda x: design(usd_a_month=1, usd_per_thousand_tokens=1, features={"chat": x}),
    "users of group a": lambda x: design(usd_a_month=1, usd_per_thousand_tokens=1, groups={"a": Group(x, 1)}),
    **{name: partial(_advised, name) for name in ("input_tokens", "latency_seconds", "repeats")},
}


@pytest.mark.parametrize("silly", SILLY, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", PLACES)
def test_a_silly_number_is_refused_by_its_name(place: str, silly: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PLACES[place](silly)
    assert str(caught.value).startswith(place)
    assert len(str(caught.value)) < 500


def test_what_if_refuses_them_too() -> None:
    with Thrift(":memory:") as thrift:
        thrift.ledger.record("gpt-4o", Usage(input_tokens=100, output_tokens=10))
        for silly in SILLY:
            for name in ("output", "cache_ttl_seconds"):
                with pytest.raises(ConfigurationError, match=name):
                    what_if(thrift, **cast("dict[str, Any]", {name: silly}))


def test_units_that_are_easily_mixed_up() -> None:
    with pytest.raises(ConfigurationError, match="at most 744, not 8760; a year has 8,760"):
        build_or_buy(API, SelfHosted(**NODE), hours_per_month=8_760)
    with pytest.raises(ConfigurationError, match=r"repeats must be a share within 0\.\.1, not 65"):
        advise(kind="support", model="gpt-4o", repeats=65, **WORK)
    with pytest.raises(ConfigurationError, match="add up to 100, not to 1"):
        tier_mix(spent_usd=1, usd_per_million=5, tiers={"a": (70, 5), "b": (30, 1)})
    assert "shares are percentages: 50 is one half" in design(usd_a_month=1, usd_per_thousand_tokens=1, features={"a": 0.5}).problems


@pytest.mark.parametrize("large", [10**15, "1e15", 10**14 + 1])
def test_the_largest_numbers_are_reckoned_exactly(large: Any) -> None:
    found = context_cost(large, requests_per_day=large, usd_per_million=large)
    assert Fraction(found.usd_per_month) == Fraction(large) ** 3 * 30 / 1_000_000
    assert build_or_buy(API, SelfHosted(**{**NODE, "operations_usd_per_month": large})).to_text()
    assert conversation_cost(turns=10**6, tokens_per_turn=large, usd_per_million=large).chart().to_dict()


def plans() -> list[Plan]:
    with Thrift(":memory:") as thrift:
        for feature, model in (("chat", "gpt-4o"), (None, "gpt-4o"), ("<b>", "gpt-4o-mini")):
            thrift.ledger.record(model, Usage(input_tokens=1_000, output_tokens=100), feature=feature)
        return [
            build_or_buy(API, SelfHosted(**NODE)),
            build_or_buy(API, SelfHosted(**{**NODE, "usd_per_gpu_hour": 300})),  # never
            build_or_buy(ApiCost.of(thrift, "gpt-4o"), SelfHosted(**NODE)),
            context_cost(2_000, requests_per_day=100_000, usd_per_million=5),
            conversation_cost(turns=1, tokens_per_turn=1, usd_per_million=5),
            conversation_cost(turns=1_000, tokens_per_turn=50, fixed_tokens=100, model="gpt-4o"),
            roi(value={"a": 1, "loss": -2}, cost={"a": 0}),
            tier_mix(spent_usd=47_000, usd_per_million=5, tiers={"small": (0.7, 0.15), "large": (0.3, 5)}, claimed_usd=8_200),
            what_if(thrift, output=1.2, by="feature"),
            advise(thrift),
            advise(kind="code", model="gpt-4o", **WORK),
            design(usd_a_month=30_000, usd_per_thousand_tokens="0.01", features={"chat": 100}, groups={"free": Group(400, 2_000_000)}),
        ]


def test_every_plan_is_a_table_a_page_and_a_chart() -> None:
    for plan in plans():
        header, rows = plan.table()
        assert all(len(row) == len(header) for row in rows)
        assert "<table>" in plan._repr_html_()
        assert "<b>" not in plan._repr_html_()
        drawn = plan.chart().to_dict()
        values = drawn["data"]["values"]
        assert values or not rows
        assert all(math.isfinite(value) for row in values for value in row.values() if not isinstance(value, str))


def test_what_a_chart_shows() -> None:
    rows = build_or_buy(API, SelfHosted(**NODE)).chart().to_dict()["data"]["values"]
    by_side = {(row["side"], row["requests"]): row["usd"] for row in rows}
    assert (by_side["API", 3_456_000], by_side["nodes", 3_456_000]) == (46_656, 45_240)
    rows = tier_mix(spent_usd=47_000, usd_per_million=5, tiers={"s": (0.7, 0.15), "m": (0.25, 3), "l": (0.05, 5)}).chart().to_dict()
    assert rows["data"]["values"][-1]["high"] == 10_387
    talk = conversation_cost(turns=20, tokens_per_turn=500, fixed_tokens=2_000, usd_per_million=1)
    assert talk.chart().to_dict()["data"]["values"][19] == {"turn": 20, "tokens": 145_000, "history": "sent again"}
