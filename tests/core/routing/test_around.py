"""Policies around policies hand on all that the one inside is able to do."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.routing import (
    Bounded,
    Bounds,
    Capabilities,
    Cascade,
    CascadePolicy,
    Complexity,
    PolicyWrapper,
    Review,
    RouteDecision,
    RouteRequest,
    RoutingPolicy,
    Rule,
    Rules,
    Sticky,
    Tiers,
    as_policy,
    contains,
)

TIERS = Tiers(("weak", "strong"))
REFUSED = "I'm sorry, but I cannot help with that."
BLIND = Bounds({"weak": Capabilities(images=False)})
IMAGE = RouteRequest("What is this?", has_images=True)


class Able(RoutingPolicy):
    """Does everything otherwise than by default."""

    version = "able"
    waits = reviews = reviews_wait = holds_streams = True

    def __init__(self) -> None:
        self.begun = 0

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        return RouteDecision("able", "")

    def in_force(self) -> RoutingPolicy:
        self.begun += 1
        return Able()

    def allowed(self, request: RouteRequest, tiers: Tiers) -> Tiers:
        return Tiers(("able",))

    def review(
        self, request: RouteRequest, tier: str, answer: str, tiers: Tiers, context: Mapping[str, Any] | None = None
    ) -> Review | None:
        return Review(0.5)


def around(policy: RoutingPolicy) -> dict[str, PolicyWrapper]:
    return {
        "sticky": Sticky(policy, {"weak": "gpt-4o-mini"}),
        "bounded": Bounded(policy, Bounds()),
        "rules": Rules([], default=policy),
        "cascade": CascadePolicy(Cascade(["weak", "strong"]), first=policy),
    }


def test_each_ability_is_handed_on() -> None:
    abilities = {name for name in vars(RoutingPolicy) if not name.startswith("_")} - {"version"}
    assert abilities <= vars(PolicyWrapper).keys()
    for name, policy in around(Able()).items():
        assert (policy.waits, policy.reviews, policy.holds_streams) == (True, True, True), name
        assert policy.allowed(IMAGE, TIERS).names == ("able",), name
        assert policy.decide(IMAGE, TIERS).tier == "able", name
        if name != "cascade":  # which reviews itself
            assert policy.reviews_wait, name
            assert policy.review(IMAGE, "weak", "", TIERS) == Review(0.5), name


def test_each_is_pinned_for_a_call_and_keeps_its_version() -> None:
    for name, policy in around(Able()).items():
        pinned = policy.in_force()
        assert pinned is not policy, name
        assert type(pinned) is type(policy)
        assert isinstance(pinned, PolicyWrapper)
        assert pinned.policy is not policy.policy
        assert pinned.version == policy.version
    for name, policy in around(Complexity()).items():
        assert policy.in_force() is policy, name


def test_bounds_hold_wherever_they_stand() -> None:
    bounded = Bounded(Complexity(), BLIND)
    for name, policy in around(bounded).items():
        assert policy.allowed(IMAGE, TIERS).names == ("strong",), name
        assert policy.allowed(RouteRequest("What is this?"), TIERS) is TIERS, name


def test_bounds_of_a_default_are_not_those_of_a_rule() -> None:
    rules = Rules([Rule("cheap", contains("this"), use="weak")], default=Bounded(Complexity(), BLIND))
    assert rules.allowed(IMAGE, TIERS) is TIERS
    assert rules.decide(IMAGE, TIERS).tier == "weak"
    nothing_is_left = Tiers(("weak",))
    assert rules.allowed(IMAGE, nothing_is_left) is nothing_is_left
    with pytest.raises(NoModelQualifiesError):
        rules.allowed(RouteRequest("And that?", has_images=True), nothing_is_left)


def test_a_default_reviews_what_it_decided_and_nothing_else() -> None:
    rules = Rules([Rule("cheap", contains("thanks"), use="weak")], default=Cascade(["weak", "strong"]))
    assert rules.reviews
    found = rules.review(RouteRequest("What is 12 * 12?"), "weak", REFUSED, TIERS)
    assert found is not None
    assert found.next is not None
    assert found.next.tier == "strong"
    assert rules.review(RouteRequest("Thanks"), "weak", REFUSED, TIERS) is None


def test_copies_of_a_cascade_for_a_call_count_together() -> None:
    policy = CascadePolicy(Cascade(["weak", "strong"]), first=Able())
    for answer in (REFUSED, "12 * 12 = 144"):
        policy.in_force().review(RouteRequest("What is 12 * 12?"), "weak", answer, TIERS)
    assert policy.escalation_rate == 0.5


def test_an_object_that_decides_is_a_policy_without_further_abilities() -> None:
    class Own:
        version = "1"

        def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
            return RouteDecision(tiers.names[0], "own")

    policy = as_policy(Own())
    assert (policy.version, policy.decide(IMAGE, TIERS).tier) == ("1", "weak")
    assert (policy.waits, policy.reviews, policy.in_force()) == (False, False, policy)

    class Reviewing(Own):
        def review(self, *_: object) -> None: ...

    with pytest.raises(ConfigurationError, match="Reviewing has review: to be used, it must inherit from RoutingPolicy"):
        as_policy(Reviewing())


def test_a_deep_copy_of_a_router_shares_what_its_policy_remembers() -> None:
    for policy in (Sticky(Complexity(), {"small": "gpt-4o-mini", "large": "gpt-4o"}), CascadePolicy(Cascade(["small", "large"]))):
        assert deepcopy({"policy": policy})["policy"] is policy
