"""Bounds keep models from requests that they cannot serve, or that would cost too much."""

from __future__ import annotations

import pytest

from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing import (
    Bounded,
    Bounds,
    Capabilities,
    Complexity,
    RouteRequest,
    Rule,
    Tiers,
    contains,
    fallback_order,
    has_tools,
)

TIERS = Tiers(("small", "medium", "large"))


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (RouteRequest("x"), None),
        (RouteRequest("x", has_tools=True), "has no tools"),
        (RouteRequest("x", has_images=True), "has no images"),
        (RouteRequest("x", structured=True), "has no structured output"),
        (RouteRequest("x" * 2_000), None),
        (RouteRequest("x" * 2_008), "a context of 1,000 tokens, about 1,002 are needed"),
        (RouteRequest("x", input_chars=4_000), "a context of 1,000 tokens, about 1,500 are needed"),
    ],
)
def test_what_a_model_lacks(request_: RouteRequest, why: str | None) -> None:
    able = Capabilities(tools=False, images=False, structured=False, context_tokens=1_000)
    assert able.lacks(request_) == why
    assert Capabilities().lacks(request_) is None


def test_the_first_choice_is_within_the_bounds() -> None:
    policy = Bounded(lambda request: "small", Bounds({"small": Capabilities(images=False)}))
    assert policy.decide(RouteRequest("x"), TIERS).tier == "small"
    decision = policy.decide(RouteRequest("x", has_images=True), TIERS)
    assert decision.tier == "large"  # what a function gets wrong goes to the strongest
    assert ("small", "has no images") in decision.rejected


def test_fallbacks_are_within_the_bounds_too() -> None:
    policy = Bounded(Complexity(), Bounds({"large": Capabilities(tools=False)}))
    left = policy.allowed(RouteRequest("x", has_tools=True), TIERS)
    assert fallback_order(left, "small") == ("medium",)
    assert Complexity().allowed(RouteRequest("x"), TIERS) is TIERS


def test_a_call_may_cost_so_much() -> None:
    # 4,000 characters are 1,000 tokens; with an answer of 1,000 tokens: 0.002 and 0.02 USD
    bounds = Bounds(max_usd_per_call=0.01, prices={"small": 1.0, "medium": 10.0}, answer_tokens=1_000)
    left = bounds.allowed(RouteRequest("x" * 4_000), TIERS)
    assert left.names == ("small",)
    assert dict(bounds.rejected(RouteRequest("x" * 4_000), TIERS)) == {
        "medium": "about 0.02 USD, more than 0.01 USD a call",
        "large": "no price, and a call may cost at most 0.01 USD",
    }


def test_nobody_able_is_a_refusal_with_the_reasons() -> None:
    bounds = Bounds({name: Capabilities(images=False) for name in TIERS.names})
    with pytest.raises(NoModelQualifiesError, match="small: has no images; medium: has no images") as refused:
        Bounded(None, bounds).decide(RouteRequest("x", has_images=True), TIERS)
    assert [name for name, _ in refused.value.rejected] == list(TIERS.names)


def test_bounds_hold_for_rules_and_the_maximum_tier() -> None:
    rules = [Rule("tools", has_tools() | contains("urgent"), use="large", priority=1)]
    policy = Bounded(rules, Bounds({"small": Capabilities(tools=False)}))
    assert policy.decide(RouteRequest("x", has_tools=True), TIERS.at_most("medium")).tier == "medium"
    with pytest.raises(NoModelQualifiesError):
        policy.decide(RouteRequest("x", has_tools=True), TIERS.at_most("small"))


def test_versions_tell_bounds_apart() -> None:
    made = [
        Bounds(),
        Bounds({"small": Capabilities(tools=False)}),
        Bounds({"small": Capabilities(images=False)}),
        Bounds(max_usd_per_call=1, prices={"small": 1}),
        Bounds(max_usd_per_call=1, prices={"small": 2}),
        Bounds(max_usd_per_call=2, prices={"small": 2}),
    ]
    assert len({Bounded(None, bounds).version for bounds in made}) == len(made)
    assert Bounded(None, Bounds()).version == Bounded(None, Bounds()).version


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_usd_per_call": 0.0, "prices": {"a": 1}}, "positive number"),
        ({"max_usd_per_call": float("nan"), "prices": {"a": 1}}, "positive number"),
        ({"max_usd_per_call": 1.0}, "go together"),
        ({"prices": {"a": 1}}, "go together"),
        ({"max_usd_per_call": 1.0, "prices": {"a": "no such model 77"}}, "has no price"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Bounds(**options)
