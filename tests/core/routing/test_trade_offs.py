"""What settings of routers save and lose, and how several routers share one promise."""

from __future__ import annotations

import numpy as np
import pytest

from llmthrift_core.routing import Cascade, Example, LearnedRouter, RouteRequest, Tiers
from llmthrift_core.routing.learned.trade_offs import CascadeEvidence, Evidence, Pool, TradeOff, most_saved
from tests.core.routing.workload import labelled

PRICES = {"weak": 0.6, "strong": 12.0}


def test_the_tolerance_goes_where_it_buys_most():
    """A point of quality buys $2 in one pool and $0.10 in the other."""
    dear = Pool(100, [TradeOff(1.0, 0.02, 0.01, 0.0), TradeOff(2.0, 0.03, 0.05, 0.0)])
    cheap = Pool(1_000, [TradeOff(1.0, 0.001, 0.01, 0.0)])
    assert most_saved({"dear": dear, "cheap": cheap}, allowed=1.5) == {"dear": dear.choices[0], "cheap": None}
    assert most_saved({"dear": dear, "cheap": cheap}, allowed=5.0) == {"dear": dear.choices[1], "cheap": None}
    assert most_saved({"dear": dear, "cheap": cheap}, allowed=15.0) == {"dear": dear.choices[1], "cheap": cheap.choices[0]}
    assert most_saved({"dear": dear, "cheap": cheap}, allowed=0.9) == {"dear": None, "cheap": None}


def test_errors_of_several_routers_add_up_in_squares():
    """Two losses of 3 ± 4 and of 3 ± 3: 6 + 5 = 11, not 13."""
    pools = {"a": Pool(100, [TradeOff(1.0, 0.1, 0.03, 0.04)]), "b": Pool(100, [TradeOff(1.0, 0.1, 0.03, 0.03)])}
    assert all(most_saved(pools, allowed=11.0).values())
    assert list(most_saved(pools, allowed=10.9).values()).count(None) == 1


def test_what_loses_nothing_is_taken_and_what_saves_nothing_is_not():
    pools = {"better": Pool(10, [TradeOff(1.0, 0.1, -0.02, 0.0)]), "dearer": Pool(10, [TradeOff(1.0, -0.1, 0.0, 0.0)])}
    assert most_saved(pools, allowed=0.0) == {"better": pools["better"].choices[0], "dearer": None}
    assert most_saved({}, allowed=1.0) == {}


def test_dollars_and_losses_of_a_router_are_those_of_its_choices():
    """Forty prompts: the weak model is right on the first thirty, which the estimates know; it costs a tenth."""
    good = np.repeat([1.0, 0.0], [30, 10])
    observed = np.column_stack([good, np.ones(40)])
    usd = np.tile([0.1, 1.0], (40, 1))
    found = Evidence(observed, observed, usd, reference=1, spread_usd=0.9).trade_offs()
    assert [(round(each.saved_usd, 3), round(each.lost, 3)) for each in found] == [(0.675, 0.0), (0.9, 0.25)]
    assert found[1].standard_error == pytest.approx(np.sqrt(0.25 * 0.75 / 40))
    half = Evidence(observed, observed, usd, reference=1, spread_usd=0.9, share=0.5, kept_elsewhere=0.01).trade_offs()
    assert [(round(each.saved_usd, 4), round(each.lost, 3)) for each in half] == [(0.3375, 0.01), (0.45, 0.135)]


def test_choices_that_few_labels_speak_for_are_none():
    observed = np.column_stack([np.repeat([1.0, np.nan], [19, 21]), np.ones(40)])
    predicted = np.ones((40, 2))
    assert Evidence(predicted, observed, np.tile([0.1, 1.0], (40, 1)), reference=1, spread_usd=0.9).trade_offs() == []


def test_dollars_and_losses_of_a_cascade():
    """Forty answers at $0.1, the last model's at $1: half of them are surely good, half of them wrong."""
    probability = np.concatenate([np.linspace(0.9, 1, 20), np.linspace(0, 0.1, 20)])
    kept = np.repeat([1.0, 0.0], 20)
    evidence = CascadeEvidence(probability, kept, np.ones(40), np.zeros(40, dtype=int), np.array([0.1, 1.0]))
    found = {round(each.setting, 2): each for each in evidence.trade_offs()}
    assert max(found) == 0.5  # with more escalated, fewer than twenty kept answers speak for it
    half, nothing = found[0.5], found[0.0]
    assert half.saved_usd == pytest.approx(0.4)  # 1 - 0.1 for all - 1 for half of them
    assert half.lost == pytest.approx(0.05 / 2)  # as probable, which is more than was judged
    assert (nothing.saved_usd, nothing.lost) == (pytest.approx(0.9), pytest.approx(0.5))
    assert evidence.thresholds(0.5) == (0.9,)
    assert evidence.thresholds(1.0) == (np.inf,)
    assert evidence.thresholds(0.0) == (0.0,)


@pytest.mark.parametrize("sites", [True, False], ids=["call sites", "texts alone"])
def test_a_router_takes_another_weight_and_keeps_it_when_it_is_stored(sites):
    router = LearnedRouter(PRICES, min_quality=0.98).fit(labelled(200, sites=sites))
    held_out = [each for each in labelled(300, seed=7, sites=sites) if each.model == "weak"]

    def share(of: LearnedRouter) -> float:
        return float(np.mean([of.decide(each.prompt, each.call_site).model == "weak" for each in held_out]))

    found = router.evidence.trade_offs()
    assert found[0].saved_usd < found[-1].saved_usd
    router.settle(found[-1].setting)
    assert share(router) > (0.85 if sites else 0.6)  # unlike texts go to the default model where no call site tells
    assert share(LearnedRouter.from_bytes(router.to_bytes())) == share(router)
    before = router.version
    router.settle(None)
    assert share(router) == 0.0
    assert router.version != before
    assert LearnedRouter.from_bytes(router.to_bytes()).evidence is None


def test_a_cascade_takes_other_thresholds_and_asks_no_model_in_vain():
    examples = [
        Example(f"What is {n} + {n}?", "weak", float(n % 3 > 0), answer=f"{n} + {n} = {2 * n}" if n % 3 else "I do not know.")
        for n in range(60)
    ]
    cascade = Cascade(["weak", "strong"]).fit(examples)
    evidence = cascade.evidence([0.1, 1.0])
    request, tiers = RouteRequest("What is 2 + 2?"), Tiers(("weak", "strong"))
    cascade.settle(evidence.thresholds(0.0))
    assert cascade.accepts("What is 3 + 3?", "I do not know.")
    assert cascade.to_policy().decide(request, tiers).tier == "weak"
    cascade.settle(evidence.thresholds(1.0))
    assert cascade.thresholds == (np.inf,)
    restored = Cascade.from_bytes(cascade.to_bytes())
    assert restored.to_policy().decide(request, tiers).tier == "strong"
    assert restored.evidence([0.1, 1.0]) is None
