"""Adaptive routing follows what answers turned out to be worth, and explores within its dollars."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.attribution import attribution_of
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Adaptive, RouteRequest, Tiers

TIERS = Tiers(("small", "medium", "large"))


@dataclass
class Score:
    quality: float
    weight: float
    cost_usd: float | None = None


class Table:
    """Scores as they are written into it."""

    def __init__(self, **scores: Score) -> None:
        self.scores: dict[tuple[str, str | None], Score] = {(tier, None): score for tier, score in scores.items()}

    def score(self, tier: str, call_site: str | None) -> Score | None:
        return self.scores.get((tier, call_site))


class Forgetting(Table):
    """Exponentially weighted means of what is told, as feedback would give them."""

    def tell(self, tier: str, quality: float, cost_usd: float) -> None:
        old = self.scores.get((tier, None), Score(0.0, 0.0))
        weight = old.weight * 0.99 + 1
        self.scores[tier, None] = Score((old.quality * old.weight * 0.99 + quality) / weight, weight, cost_usd)


def at(site: str | None = None) -> RouteRequest:
    return RouteRequest("x", attribution=attribution_of(call_site=site))


def test_the_best_worth_wins() -> None:
    table = Table(small=Score(0.6, 900, 0.001), medium=Score(0.9, 900, 0.004), large=Score(0.93, 900, 0.02))
    decision = Adaptive(table).decide(at(), TIERS)
    # 0.6 - 0.017 - 0.005; 0.9 - 0.017 - 0.02; 0.93 - 0.1
    assert decision.tier == "medium"
    assert decision.score == pytest.approx(0.9 - 0.5 / 30 - 0.1 * 0.2)
    assert decision.qualities == {"small": 0.6, "medium": 0.9, "large": 0.93}
    assert decision.expected_cost_usd == 0.004
    assert Adaptive(table, cost_weight=0).decide(at(), TIERS).tier == "large"
    assert Adaptive(table, cost_weight=1).decide(at(), TIERS).tier == "medium"
    assert Adaptive(table, quality_weight=0).decide(at(), TIERS).tier == "small"
    assert Adaptive(table, cost_weight=0).decide(at(), TIERS.at_most("small")).tier == "small"


def test_few_answers_are_no_evidence() -> None:
    for scores in (
        Table(),
        Table(small=Score(1.0, 19.0, 0.001)),
        Table(small=Score(math.nan, 900, 0.001)),
        Table(small=Score(7, 900, 0.0)),
    ):
        decision = Adaptive(scores).decide(at(), TIERS)
        assert (decision.tier, decision.reason) == ("large", "the strongest; too few judged answers")
    one = Adaptive(Table(small=Score(0.99, 900, 0.001)), costs_usd={"large": 0.02}, cost_weight=0.2).decide(at(), TIERS)
    assert one.tier == "small"


def test_a_call_site_is_judged_by_itself_where_it_can_be() -> None:
    table = Table(small=Score(0.3, 900, 0.001), large=Score(0.9, 900, 0.02))
    table.scores["small", "triage"] = Score(0.9, 900, 0.001)
    table.scores["small", "new"] = Score(0.9, 3, 0.001)
    policy = Adaptive(table)
    assert [policy.decide(at(site), TIERS).tier for site in ("triage", "new", None)] == ["small", "large", "large"]


def test_a_model_that_got_worse_is_noticed() -> None:
    table, chance = Forgetting(), random.Random(0)
    policy = Adaptive(table, explore_usd_per_day=1.0, costs_usd={"small": 0.001, "large": 0.01}, seed=1)
    tiers = Tiers(("small", "large"))
    true = {"small": 0.95, "large": 0.95}
    shares = []
    for period in range(3):
        true["small"] = (0.95, 0.3, 0.3)[period]
        chosen = []
        for _ in range(1_500):
            tier = policy.decide(at(), tiers).tier
            table.tell(tier, float(chance.random() < true[tier]), 0.001 if tier == "small" else 0.01)
            chosen.append(tier)
        shares.append(chosen[-500:].count("small") / 500)
    assert shares[0] > 0.85
    assert shares[2] < 0.15


def test_exploring_stays_within_its_dollars_each_day() -> None:
    now = [0.0]
    table = Table(large=Score(0.9, 900, 0.02))
    policy = Adaptive(table, explore_usd_per_day=0.05, explore_share=1.0, costs_usd={"small": 0.01, "medium": 0.011}, clock=lambda: now[0])
    for _ in range(2):
        tiers = [policy.decide(at(), TIERS).tier for _ in range(50)]
        assert tiers.count("small") == 5
        assert tiers.count("large") == 45
        now[0] += 86_400


def test_a_tier_without_a_known_cost_is_not_explored() -> None:
    policy = Adaptive(Table(large=Score(0.9, 900, 0.02)), explore_usd_per_day=100, explore_share=1.0)
    assert {policy.decide(at(), TIERS).tier for _ in range(50)} == {"large"}


def test_the_seed_decides_when_to_explore() -> None:
    def run(seed: int) -> list[str]:
        policy = Adaptive(Table(), explore_usd_per_day=100, explore_share=0.3, costs_usd={"small": 0.01}, seed=seed)
        return [policy.decide(at(), TIERS).tier for _ in range(60)]

    assert run(1) == run(1) != run(2)


def test_versions_tell_options_apart() -> None:
    made = {Adaptive(Table(), cost_weight=weight).version for weight in (0.1, 0.2)} | {Adaptive(Table(), costs_usd={"a": 1}).version}
    assert len(made) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"quality_weight": -1},
        {"cost_weight": math.nan},
        {"explore_usd_per_day": math.inf},
        {"explore_share": 1.1},
        {"costs_usd": {"small": -0.1}},
    ],
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Adaptive(Table(), **options)


@given(
    rows=st.lists(st.tuples(st.floats(), st.floats(), st.one_of(st.none(), st.floats())), min_size=3, max_size=3),
    share=st.floats(0, 1),
    most=st.sampled_from(TIERS.names),
)
def test_every_decision_is_an_allowed_tier(rows, share, most):
    table = Table(**{name: Score(*row) for name, row in zip(TIERS.names, rows, strict=True)})
    allowed = TIERS.at_most(most)
    policy = Adaptive(table, explore_usd_per_day=1, explore_share=share, costs_usd={"small": 0.1}, seed=0)
    assert policy.decide(at(), allowed).tier in allowed.names
