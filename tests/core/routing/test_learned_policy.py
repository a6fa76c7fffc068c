"""A fitted router decides for tiers of the same names, within what the caller allows."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmthrift_core.attribution import attribution_of
from llmthrift_core.routing import LearnedPolicy, LearnedRouter, RouteRequest, RoutingPolicy, Rule, Rules, Tiers, as_policy, contains
from tests.core.routing.workload import labelled

TIERS = Tiers(("weak", "strong"))


@pytest.fixture(scope="module")
def policy() -> LearnedPolicy:
    return LearnedPolicy(LearnedRouter({"weak": 0.6, "strong": 12.0}, "strong", 0.9).fit(labelled(150, sites=True)))


def request(question: str, site: str | None = None) -> RouteRequest:
    return RouteRequest(question, attribution=attribution_of(call_site=site))


def test_it_decides_as_the_router_does(policy: LearnedPolicy) -> None:
    assert isinstance(policy, RoutingPolicy)
    assert policy.version == policy.router.version
    easy = policy.decide(request("Please translate the word of case 12, again", "support"), TIERS)
    hard = policy.decide(request("Please prove the theorem of case 12, again", "research"), TIERS)
    assert (easy.tier, hard.tier) == ("weak", "strong")
    assert set(hard.qualities) == {"weak", "strong"}
    assert hard.qualities["strong"] > hard.qualities["weak"]
    assert hard.expected_cost_usd is not None


def test_it_abstains_on_a_new_call_site_and_keeps_to_the_maximum_tier(policy: LearnedPolicy) -> None:
    new = request("Please translate the word of case 12, again", "elsewhere")
    assert policy.decide(new, TIERS).tier == "strong"
    assert policy.decide(new, TIERS.at_most("weak")).tier == "weak"


def test_tiers_that_the_router_does_not_know_go_to_the_strongest(policy: LearnedPolicy, caplog: pytest.LogCaptureFixture) -> None:
    fresh = LearnedPolicy(policy.router)
    assert [fresh.decide(request("x"), Tiers(("cheap", "dear"))).tier for _ in range(2)] == ["dear", "dear"]
    assert caplog.text.count("none of the tiers cheap, dear") == 1
    assert fresh.decide(request("x"), Tiers(("weak", "unknown"))).tier == "weak"


def test_a_router_given_as_a_policy_becomes_one(policy: LearnedPolicy) -> None:
    made = as_policy(policy.router)
    assert isinstance(made, LearnedPolicy)
    assert made.router is policy.router


def test_it_is_the_default_of_rules(policy: LearnedPolicy) -> None:
    rules = Rules([Rule("legal", contains("contract"), use="strong")], default=policy)
    assert rules.decide(request("Read the contract", "support"), TIERS).tier == "strong"
    assert rules.decide(request("Please translate the word of case 12, again", "support"), TIERS).tier == "weak"


@settings(max_examples=40)
@example(question="a" * 1_000_000, site="support", most="strong")
@given(
    question=st.one_of(st.text(max_size=200), st.sampled_from(["", "\ud800"])),
    site=st.one_of(st.none(), st.sampled_from(["support", "research", "other"])),
    most=st.sampled_from(["weak", "strong"]),
)
def test_every_decision_is_an_allowed_tier(policy: LearnedPolicy, question: str, site: str | None, most: str) -> None:
    allowed = TIERS.at_most(most)
    assert policy.decide(request(question, site), allowed).tier in allowed.names
