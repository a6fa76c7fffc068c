"""The cheapest model that meets what is required, or a refusal with the figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError, LLMThriftError, NoModelQualifiesError
from llmthrift_core.routing import Profile, Profiles, RouteRequest, Tiers

TIERS = Tiers(("small", "medium", "large"))
KNOWN = {
    "small": Profile({"triage": 0.95, "*": 0.6}, cost_usd=0.001, latency_seconds=0.4),
    "medium": Profile(0.85, cost_usd=0.01, latency_seconds=3.0),
    "large": Profile(0.97, cost_usd=0.02, latency_seconds=1.5),
}


def asked(**attributes: str) -> RouteRequest:
    return RouteRequest("Which?", attribution=attribution_of(**attributes))


@pytest.mark.parametrize(
    ("required", "latency", "attributes", "tier"),
    [
        (0.5, None, {}, "small"),
        (0.8, None, {}, "medium"),
        (0.9, None, {}, "large"),
        (0.9, None, {"request_type": "triage"}, "small"),
        (0.9, None, {"request_type": "unknown"}, "large"),
        (0.8, 2.0, {}, "large"),
    ],
)
def test_the_cheapest_that_qualifies(required: float, latency: float | None, attributes: dict[str, str], tier: str) -> None:
    decision = Profiles(KNOWN, required_quality=required, max_latency_seconds=latency).decide(asked(**attributes), TIERS)
    assert decision.tier == tier
    assert decision.expected_quality == KNOWN[tier].quality_of(attributes.get("request_type"))
    assert decision.expected_cost_usd == KNOWN[tier].cost_usd
    assert {name for name, _ in decision.rejected} == set(TIERS.names) - {tier}


def test_the_task_may_be_another_attribute() -> None:
    policy = Profiles({"small": Profile({"search": 0.9})}, required_quality=0.8, task="feature")
    assert policy.decide(asked(feature="search"), TIERS).tier == "small"
    with pytest.raises(NoModelQualifiesError, match=r"quality 0.8 for feature .chat..*small: quality not known"):
        policy.decide(asked(feature="chat"), TIERS)


def test_costs_decide_only_where_all_are_known() -> None:
    dear_first = {"small": Profile(0.9, cost_usd=5.0), "large": Profile(0.9, cost_usd=1.0)}
    assert Profiles(dear_first, required_quality=0.8).decide(asked(), TIERS).tier == "large"
    unknown = {"small": Profile(0.9, cost_usd=5.0), "large": Profile(0.9)}
    assert Profiles(unknown, required_quality=0.8).decide(asked(), TIERS).tier == "small"


def test_none_is_a_refusal_with_the_figures_or_the_strongest() -> None:
    with pytest.raises(NoModelQualifiesError) as refused:
        Profiles(KNOWN, required_quality=0.99, max_latency_seconds=2).decide(asked(), TIERS)
    assert refused.value.required == "quality 0.99 within 2 s"
    assert refused.value.rejected == (("small", "quality 0.6"), ("medium", "quality 0.85"), ("large", "quality 0.97"))
    strongest = Profiles(KNOWN, required_quality=0.99, on_none="strongest")
    assert strongest.decide(asked(), TIERS).tier == "large"
    assert strongest.decide(asked(), TIERS.at_most("medium")).tier == "medium"
    assert strongest.decide(asked(), Tiers(("new", "newer"))).tier == "newer"


def test_versions_tell_profiles_apart() -> None:
    versions = {Profiles(KNOWN, required_quality=required).version for required in (0.8, 0.9)}
    versions.add(Profiles({**KNOWN, "small": Profile(0.1)}, required_quality=0.8).version)
    assert len(versions) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Profile(1.2), "within 0..1"),
        (lambda: Profile(float("nan")), "within 0..1"),
        (lambda: Profile({"a": -0.1}), "task 'a'"),
        (lambda: Profile(0.5, cost_usd=float("nan")), "cost_usd"),
        (lambda: Profile(0.5, latency_seconds=-1), "latency_seconds"),
        (lambda: Profiles({}, required_quality=0.5), "at least one"),
        (lambda: Profiles(KNOWN, required_quality=2), "required_quality"),
        (lambda: Profiles(KNOWN, required_quality=0.5, max_latency_seconds=0), "max_latency_seconds"),
        (lambda: Profiles(KNOWN, required_quality=0.5, task="tags"), "task must be one of"),
        (lambda: Profiles(KNOWN, required_quality=0.5, on_none="shrug"), "on_none"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


@given(
    qualities=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=3, max_size=3),
    costs=st.lists(st.one_of(st.none(), st.floats(0, 10)), min_size=3, max_size=3),
    required=st.floats(0, 1),
    on_none=st.sampled_from(["refuse", "strongest"]),
    most=st.sampled_from(TIERS.names),
)
def test_every_decision_is_an_allowed_tier_or_a_refusal(qualities, costs, required, on_none, most):
    profiles = {name: Profile(q, cost_usd=c) for name, q, c in zip(TIERS.names, qualities, costs, strict=True)}
    allowed = TIERS.at_most(most)
    try:
        decision = Profiles(profiles, required_quality=required, on_none=on_none).decide(asked(), allowed)
    except LLMThriftError:
        assert on_none == "refuse"
        return
    assert decision.tier in allowed.names
    if on_none == "refuse":
        assert decision.expected_quality is not None
        assert decision.expected_quality >= required
