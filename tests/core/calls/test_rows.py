"""What the ledger keeps of a router's decision, on every kind of database."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.attribution import attribution_of
from llmthrift_core.cache import CachePolicy, digest
from llmthrift_core.calls.request import (
    CacheUse,
    Request,
    Response,
    RouteUse,
)
from llmthrift_core.routing import Bounded, Bounds, Capabilities, Profile, Profiles, RouteDecision, RouteRequest, Tiers

USAGE = Usage(input_tokens=1000, output_tokens=200)
MODELS = {"weak": ("gpt-4o-mini", "openai"), "strong": ("gpt-4o", "openai")}


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url) as opened:
        yield opened


@dataclass
class Deciding:
    """A user's own policy, which may be wrong about anything."""

    given: dict[str, Any] = field(default_factory=dict)
    version: str = "v1"

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        return RouteDecision(**{"tier": "weak", "reason": "because", **self.given})


def routed(policy: Any, **options: Any) -> Request:
    use = RouteUse(policy, Tiers(("weak", "strong")), RouteRequest("q"), MODELS, "strong")
    return Request(route=use, **options)


def rows(thrift: Thrift) -> list[Any]:
    return sorted(thrift.ledger.calls(), key=lambda row: row.attempt)


def test_what_a_policy_expected_and_did_not_choose(any_thrift: Thrift) -> None:
    profiles = {"weak": Profile(0.5, cost_usd=0.0001), "strong": Profile(0.95, cost_usd=0.0025)}
    policy = Bounded(Profiles(profiles, required_quality=0.9), Bounds({"weak": Capabilities(context_tokens=100_000)}))
    any_thrift.begin(routed(policy)).finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    decided = policy.decide(RouteRequest("q"), Tiers(("weak", "strong")))
    assert (row.tier, row.model, row.expected_quality, row.expected_cost_usd) == ("strong", "gpt-4o", 0.95, Decimal("0.0025"))
    assert row.rejected == decided.rejected
    assert [tier for tier, _ in row.rejected] == ["weak"]
    assert (row.confidence, row.escalated, row.config_version) == (None, False, policy.version)


def test_a_tier_that_was_rejected_is_told_with_the_reason(any_thrift: Thrift) -> None:
    odd = (("strong", 'costs "too" much; für ä\0\ud800'), ("medium", "no images"))
    any_thrift.begin(routed(Deciding({"rejected": odd, "expected_quality": 0.0, "expected_cost_usd": 0.0}))).finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    assert row.rejected == odd
    assert (row.expected_quality, row.expected_cost_usd) == (0.0, 0)  # zero is zero, not unknown


@pytest.mark.parametrize(
    "wrong",
    [
        {"expected_quality": math.nan, "expected_cost_usd": math.nan},
        {"expected_quality": 1.5, "expected_cost_usd": math.inf},
        {"expected_quality": "high", "expected_cost_usd": "cheap"},
        {"rejected": (1, 2)},
        {"rejected": ("only a name",)},
    ],
)
def test_what_a_policy_gets_wrong_is_unknown_and_the_row_is_kept(any_thrift: Thrift, wrong: dict[str, Any]) -> None:
    any_thrift.begin(routed(Deciding(wrong))).finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    assert (row.tier, row.route_reason, row.cost_nano_usd) == ("weak", "because", 270_000)
    assert (row.expected_quality, row.expected_cost_usd, row.rejected) == (None, None, ())
    assert any_thrift.health()["failures"] == {}
    assert any_thrift.health()["ledger"]["lost"] == 0


def test_a_row_that_has_to_be_bent_keeps_its_figures(any_thrift: Thrift) -> None:
    tier = "we\0ak\ud800"
    request = routed(Deciding({"tier": tier, "expected_quality": 0.5, "expected_cost_usd": 1e200}))
    assert request.route is not None
    request.route.tiers = Tiers((tier, "strong"))
    request.route.models = {tier: MODELS["weak"], "strong": MODELS["strong"]}
    call = any_thrift.begin(request)
    call.confidence = 1
    call.finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    assert (row.tier, row.expected_quality, row.confidence, row.cost_nano_usd) == ("weak?", 0.5, 1.0, 270_000)
    assert row.expected_cost_usd > 1_000_000  # as much as a column holds


def test_a_fallback_is_another_tier_of_which_nothing_was_expected(any_thrift: Thrift) -> None:
    call = any_thrift.begin(routed(Deciding({"expected_quality": 0.75})))
    call.attempt("strong", "gpt-4o", "openai", reason="fallback", error=TimeoutError())
    call.finish(Response(usage=USAGE))
    first, second = rows(any_thrift)
    assert (first.tier, first.error, first.expected_quality) == ("weak", "TimeoutError", 0.75)
    assert (second.tier, second.error, second.expected_quality) == ("strong", None, None)
    (weak,) = [row for row in any_thrift.report(by="model") if row["model"] == "gpt-4o-mini"]
    (strong,) = [row for row in any_thrift.report(by="model") if row["model"] == "gpt-4o"]
    assert (weak["routed"], strong["routed"], strong["escalation_rate"]) == (0, 1, 0.0)


def test_a_model_without_a_price_says_why_it_was_chosen_too(any_thrift: Thrift) -> None:
    request = routed(Deciding({"expected_quality": 0.5}))
    assert request.route is not None
    request.route.models = {"weak": ("my-own-model", None), "strong": MODELS["strong"]}
    any_thrift.begin(request).finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    assert (row.cost_nano_usd, row.tier, row.route_reason, row.expected_quality) == (None, "weak", "because", 0.5)


def test_nothing_is_routed_by_a_hit_or_without_a_router(any_thrift: Thrift) -> None:
    use = CacheUse(digest("default", b"key"), CachePolicy(), bytes.decode)
    any_thrift.begin(routed(Deciding(), cache=use)).finish(Response(usage=USAGE, payload=lambda: b"answer"))
    hit = any_thrift.begin(routed(Deciding(), cache=use))
    assert hit.hit is not None
    hit.finish_hit()
    any_thrift.begin(Request("gpt-4o")).finish(Response(usage=USAGE))
    any_thrift.ledger.record("gpt-4o", USAGE)
    tiers = [(row.cache, row.tier, row.route_reason, row.expected_quality, row.rejected) for row in any_thrift.ledger.calls(order="oldest")]
    assert tiers == [(None, "weak", "because", None, ()), *[("exact", None, None, None, ())], *[(None, None, None, None, ())] * 2]
    total = any_thrift.report().total
    assert (total["requests"], total["routed"], total["escalated"], total["escalation_rate"]) == (4, 1, 0, 0.0)
    assert "escalat" not in str(any_thrift.report())


def test_in_observe_mode_the_tier_is_the_one_that_answered(any_thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    any_thrift.begin(routed(Deciding({"expected_quality": 0.5}))).finish(Response(usage=USAGE))
    (row,) = rows(any_thrift)
    assert (row.tier, row.model, row.route_reason, row.expected_quality) == ("strong", "gpt-4o", "because", None)


def test_an_erased_user_leaves_the_decision_and_the_sums(any_thrift: Thrift) -> None:
    call = any_thrift.begin(routed(Deciding(), attribution=attribution_of(user="ada")))
    call.confidence = 0.25
    call.attempt("strong", "gpt-4o", "openai", reason="escalation", rejected=Response(usage=USAGE))
    call.finish(Response(usage=USAGE))
    assert any_thrift.report(by="user").to_dicts()[0]["escalated"] == 1
    before = any_thrift.report(by="model").to_dicts()
    any_thrift.erase(user="ada")
    (row,) = any_thrift.report(by="user")
    assert (row["user"], row["routed"], row["escalated"], row["escalation_rate"]) == (None, 1, 1, 1.0)
    assert any_thrift.report(by="model").to_dicts() == before
    first, second = rows(any_thrift)
    assert (first.user, first.confidence, first.escalated) == (None, 0.25, True)
    assert (second.confidence, second.escalated) == (None, False)
