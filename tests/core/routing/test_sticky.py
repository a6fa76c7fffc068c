"""A session keeps its model unless a change is worth more than the cached prefix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError, NoModelQualifiesError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.routing import Bounded, Bounds, Capabilities, RouteDecision, RouteRequest, Sticky, Tiers

TIERS = Tiers(("small", "large"))
MODELS = {"small": "little", "large": "big"}


class Scripted:
    """Decides what it is told to."""

    version = "scripted"

    def __init__(self) -> None:
        self.decision = RouteDecision("large", "scripted")

    def says(self, tier: str, **expected: float) -> None:
        self.decision = RouteDecision(tier, "scripted", qualities=expected, expected_quality=expected.get(tier))

    def decide(self, request: RouteRequest, tiers: Tiers) -> RouteDecision:
        return self.decision if self.decision.tier in tiers.names else RouteDecision(tiers.names[-1], "scripted")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def catalog() -> PriceCatalog:
    catalog = PriceCatalog()
    catalog.override("little", input_usd_per_million=1, output_usd_per_million=4, cache_read_usd_per_million="0.1")
    catalog.override(
        "big", input_usd_per_million=3, output_usd_per_million=15, cache_read_usd_per_million="0.3", cache_write_usd_per_million="3.75"
    )
    return catalog


def request(prefix_tokens: int, session: str | None = "s1", **attributes: str) -> RouteRequest:
    return RouteRequest("x" * 400, input_chars=4 * prefix_tokens + 400, attribution=attribution_of(session=session, **attributes))


def test_a_cheaper_model_is_not_worth_a_long_prefix(catalog: PriceCatalog) -> None:
    policy = Scripted()
    sticky = Sticky(policy, MODELS, catalog=catalog, answer_tokens=100)
    assert sticky.decide(request(20_000), TIERS).tier == "large"
    policy.says("small")
    kept = sticky.decide(request(20_000), TIERS)
    # big, cached: 20,000 * 0.3 + 100 * 3 + 100 * 15 = 7,800; little, cold: 20,100 * 1 + 100 * 4 = 20,500 millionths
    assert kept.tier == "large"
    assert kept.expected_cost_usd == pytest.approx(0.0078)
    assert kept.reason == "large is in use: small would cost 0.021 USD, large 0.0078 USD with its cached prefix"
    assert ("small", "not worth a change") in kept.rejected
    # prefix of 1,100: big 330 + 300 + 1,500 = 2,130; little 1,200 + 400 = 1,600 millionths
    assert sticky.decide(request(1_100), TIERS).tier == "small"


def test_what_a_model_does_not_cache_is_not_priced_as_cached() -> None:
    """Claude Haiku 4.5 keeps no prefix below 4,096 tokens, Sonnet 4.5 from 1,024 on."""
    policy = Scripted()
    sticky = Sticky(
        policy, {"small": "claude-haiku-4-5", "large": "claude-sonnet-4-5"}, catalog=PriceCatalog(), answer_worth_usd=0.0, answer_tokens=300
    )
    policy.says("small", small=0.9, large=0.9)
    sticky.decide(request(3_000), TIERS)
    policy.says("large", small=0.9, large=0.9)
    kept = sticky.decide(request(3_000), TIERS)
    assert kept.expected_cost_usd == pytest.approx((3_000 * 1 + 100 * 1 + 300 * 5) / 1e6)  # nothing was cached
    kept = sticky.decide(request(5_000), TIERS)
    assert kept.expected_cost_usd == pytest.approx((5_000 * 0.1 + 100 * 1 + 300 * 5) / 1e6)


@pytest.mark.parametrize(
    ("new", "old", "stays_from"),
    [
        # input, cached, written, output in dollars per million; 300 * (old output - new output) / (new written - old cached)
        ((0.15, 0.075, None, 0.6), (2.5, 1.25, None, 10), None),  # gpt-4o-mini, gpt-4o: 0.15 < 1.25
        ((0.25, 0.025, None, 2), (1.25, 0.125, None, 10), 19_200),  # gpt-5-mini, gpt-5: 300 * 8 / 0.125
        ((1, 0.1, 1.25, 5), (3, 0.3, 3.75, 15), 3_158),  # claude-haiku-4-5, claude-sonnet-4-5: 300 * 10 / 0.95
    ],
)
def test_from_which_prefix_a_session_stays_with_the_dearer_model(new, old, stays_from) -> None:
    catalog = PriceCatalog()
    for name, (sent, cached, written, made) in (("little", new), ("big", old)):
        catalog.override(
            name,
            input_usd_per_million=sent,
            output_usd_per_million=made,
            cache_read_usd_per_million=cached,
            cache_write_usd_per_million=written,
        )
    for tokens in (int((stays_from or 1_000_000) * share) for share in (0.9, 1.1)):
        policy = Scripted()
        sticky = Sticky(policy, MODELS, catalog=catalog)
        who = attribution_of(session="s1")
        sticky.decide(RouteRequest("Go", input_chars=4 * tokens, attribution=who), TIERS)
        policy.says("small")
        found = sticky.decide(RouteRequest("Go", input_chars=4 * tokens, attribution=who), TIERS).tier
        assert found == ("large" if stays_from is not None and tokens > stays_from else "small")


def test_a_short_prefix_is_not_cached_by_providers(catalog: PriceCatalog) -> None:
    policy = Scripted()
    dear_answers = Sticky(policy, MODELS, catalog=catalog, answer_tokens=0)
    dear_answers.decide(request(1_000), TIERS)
    policy.says("small")
    # 1,100 tokens: big 3,300, little 1,100; had the prefix been cached, big would have cost 300 + 300
    assert dear_answers.decide(request(1_000), TIERS).tier == "small"


def test_a_stronger_model_is_taken_where_its_worth_is_not_known_or_enough(catalog: PriceCatalog) -> None:
    for worth, expected, tier in (
        (None, {"small": 0.5, "large": 0.9}, "large"),
        (0.1, {}, "large"),
        (1.0, {"small": 0.5, "large": 0.9}, "large"),  # 0.4 USD better, about 0.08 USD more
        (0.1, {"small": 0.5, "large": 0.9}, "small"),  # 0.04 USD better
    ):
        policy = Scripted()
        sticky = Sticky(policy, MODELS, catalog=catalog, answer_worth_usd=worth)
        policy.says("small")
        sticky.decide(request(20_000), TIERS)
        policy.says("large", **expected)
        assert sticky.decide(request(20_000), TIERS).tier == tier


def test_what_belongs_together(catalog: PriceCatalog) -> None:
    policy = Scripted()
    sticky = Sticky(policy, MODELS, catalog=catalog)
    sticky.decide(request(20_000, user="ada"), TIERS)
    policy.says("small")
    assert sticky.decide(request(20_000, user="ada"), TIERS).tier == "large"
    for other in (request(20_000), request(20_000, session=None), request(20_000, user="ada", call_site="title"), request(20_000, "s2")):
        assert sticky.decide(other, TIERS).tier == "small"
    assert sticky.decide(request(20_000, None, run="r"), TIERS).tier == "small"


def test_a_prefix_that_the_provider_forgot_binds_nobody(catalog: PriceCatalog) -> None:
    policy, clock = Scripted(), Clock()
    sticky = Sticky(policy, MODELS, catalog=catalog, clock=clock, cache_seconds=300)
    sticky.decide(request(20_000), TIERS)
    policy.says("small")
    clock.now = 299
    assert sticky.decide(request(20_000), TIERS).tier == "large"
    clock.now = 599
    assert sticky.decide(request(20_000), TIERS).tier == "large"
    clock.now = 900
    assert sticky.decide(request(20_000), TIERS).tier == "small"


def test_the_maximum_tier_and_bounds_win(catalog: PriceCatalog) -> None:
    policy = Scripted()
    sticky = Sticky(Bounded(policy, Bounds({"large": Capabilities(images=False)})), MODELS, catalog=catalog)
    sticky.decide(request(20_000), TIERS)
    assert sticky.decide(request(20_000), TIERS.at_most("small")).tier == "small"
    sticky.decide(request(20_000, "s3"), TIERS)
    picture = request(20_000, "s3")
    picture.has_images = True
    assert sticky.decide(picture, TIERS).tier == "small"
    with pytest.raises(NoModelQualifiesError):
        sticky.decide(picture, Tiers(("large",)))


def test_without_prices_the_model_stays_unless_a_stronger_one_is_asked_for(catalog: PriceCatalog) -> None:
    policy = Scripted()
    sticky = Sticky(policy, {"small": "nobody knows this 1", "large": "nobody knows this 2"}, catalog=catalog)
    sticky.decide(request(5_000), TIERS)
    policy.says("small")
    kept = sticky.decide(request(5_000), TIERS)
    assert (kept.tier, kept.expected_cost_usd) == ("large", None)
    assert "no price is known" in kept.reason
    sticky.decide(request(5_000, "s2"), TIERS)
    policy.says("large")
    assert sticky.decide(request(5_000, "s2"), TIERS).tier == "large"


def test_memory_is_bounded(catalog: PriceCatalog) -> None:
    policy = Scripted()
    sticky = Sticky(policy, MODELS, catalog=catalog, most_sessions=2)
    for session in ("a", "b", "c"):
        sticky.decide(request(20_000, session), TIERS)
    policy.says("small")
    assert [sticky.decide(request(20_000, session), TIERS).tier for session in ("c", "b", "a")] == ["large", "large", "small"]


def test_versions_tell_configurations_apart(catalog: PriceCatalog) -> None:
    assert len({Sticky(Scripted(), MODELS, answer_worth_usd=worth).version for worth in (None, 1.0)} | {Sticky(None, MODELS).version}) == 3


@pytest.mark.parametrize(
    "options",
    [{"models": {}}, {"models": {"small": 1.0}}, {"answer_worth_usd": float("nan")}, {"cache_seconds": -1}, {"most_sessions": 0}],
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigurationError):
        Sticky(None, **{"models": MODELS, **options})


@settings(max_examples=60)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(TIERS.names), st.sampled_from(TIERS.names), st.integers(0, 300_000), st.booleans()), max_size=12
    )
)
def test_every_decision_is_an_allowed_tier(steps):
    catalog = PriceCatalog()
    catalog.override("little", input_usd_per_million=0, output_usd_per_million=0)
    policy = Scripted()
    sticky = Sticky(policy, MODELS, catalog=catalog)
    for wanted, most, prefix, told in steps:
        policy.says(wanted, **({"small": 0.1, "large": 0.2} if told else {}))
        allowed = TIERS.at_most(most)
        assert sticky.decide(request(prefix), allowed).tier in allowed.names
