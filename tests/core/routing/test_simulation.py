"""Simulations on traffic whose best routing is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Cascade, Complexity, Example, LearnedRouter, Traffic, as_policy, simulate
from llmthrift_core.routing.models import ModelPrices
from tests.core.routing.workload import HARD, labelled

MODELS = {"strong": 12.0, "weak": 0.6}
PRICES = ModelPrices.of(MODELS, None)


def traffic(count: int = 200, **options: object) -> Traffic:
    return Traffic.of(labelled(count, **options), PRICES)  # type: ignore[arg-type]


def knows(request) -> str:
    """Sends what is hard to the strong model."""
    return "strong" if any(task in request.question for task in HARD) else "weak"


def rows(report) -> dict[str, object]:
    return {row.name: row for row in report.rows}


def test_traffic_keeps_what_every_model_answered():
    examples = labelled(50, noise=0)
    extra = [Example("only one model answered", "weak", 1.0), Example("somebody else", "other", 1.0)]
    found = Traffic.of([*examples, *extra], PRICES)
    assert found.models == ("weak", "strong")
    assert found.quality.shape == found.usd.shape == (50, 2)
    assert found.partial == (extra[0],)
    assert found.sites is None
    # 4 characters a token, 100 tokens where no answer is known
    tokens = len(found.prompts[0]) / 4 + 100
    assert found.usd[0] == pytest.approx([tokens * 0.6e-6, tokens * 12e-6])


def test_answers_are_priced_by_their_length():
    examples = [Example(f"prompt {n:02}", model, 1.0, answer="x" * (4_000 if n else 400)) for n in range(40) for model in MODELS]
    examples.append(Example("prompt 99", "weak", 1.0))
    examples.append(Example("prompt 99", "strong", 1.0))
    found = Traffic.of(examples, PRICES)
    assert found.usd[0, 1] == pytest.approx((9 / 4 + 100) * 12e-6)
    assert found.usd[1, 0] == pytest.approx((9 / 4 + 1_000) * 0.6e-6)
    usual = round(np.mean([400, *[4_000] * 39])) / 4
    assert found.usd[40, 0] == pytest.approx((9 / 4 + usual) * 0.6e-6)


def test_no_prompt_is_learned_from_and_judged_by():
    examples = [Example(f"prompt {n % 45}", model, 1.0, call_site=f"site {n // 45}") for n in range(90) for model in MODELS]
    examples += [Example(f"prompt {n}", "weak", 0.0, call_site="elsewhere") for n in range(45)]
    found = Traffic.of(examples, PRICES)
    for seed in range(3):
        learn, judge = found.parts(0.4, seed)
        assert len(learn) + len(judge) == 90
        known = {example.prompt for example in found.examples(learn, judge)}
        assert known.isdisjoint({found.prompts[row] for row in judge})
        assert Counter(example.call_site for example in found.examples(learn, judge))["elsewhere"] == 18


def test_a_policy_that_knows_does_as_well_as_the_oracle():
    report = simulate(traffic(noise=0), lambda seed: as_policy(knows), name="knows", seeds=3)
    found = rows(report)
    policy = found["the policy"]
    assert policy.quality == found["oracle"].quality == found["always strong"].quality == 1.0
    assert found["random"].quality < 0.9
    assert not found["random"].is_noise
    assert found["oracle"].is_noise
    assert found["always strong"].is_noise
    assert found["oracle"].usd_per_thousand == pytest.approx(policy.usd_per_thousand, rel=0.02)
    assert found["oracle"].usd_per_thousand <= policy.usd_per_thousand
    assert found["always weak"].shares == (1.0, 0.0)
    assert found["always weak"].policy_gain == pytest.approx(1 - found["always weak"].quality)
    assert policy.apgr is None
    assert "the policy" not in report.curves
    assert report.curves["oracle"][0].quality == pytest.approx(found["always weak"].quality)
    assert report.curves["oracle"][-1].usd_per_thousand == pytest.approx(found["always strong"].usd_per_thousand)
    text = str(report)
    assert "within the noise: oracle" in text
    assert "knows" in text
    assert "o oracle" in report.curve_text()


def test_a_policy_that_knows_nothing_is_noise_beside_random():
    blind = as_policy(lambda request: "weak" if len(request.question) % 2 else "strong")
    report = simulate(traffic(noise=0.3), lambda seed: blind, name="blind")
    assert rows(report)["random"].is_noise


def test_a_learned_router_is_fitted_anew_for_each_split():
    made = []

    def make(seed: int) -> LearnedRouter:
        made.append(LearnedRouter(MODELS, min_quality=0.95, seed=seed))
        return made[-1]

    report = simulate(traffic(sites=True), make, name="learned", seeds=3, learn_share=0.6)
    found = rows(report)
    assert len({router.version for router in made}) == 3
    assert report.judged == 80
    assert report.min_quality == 0.95
    assert report.unfitted == 0
    assert found["the policy"].quality > found["random"].quality
    assert found["the policy"].apgr > 0.65 > found["random"].apgr
    assert "0.95 of strong's quality was promised and kept in" in str(report)
    assert found["the policy"].usd_per_thousand < found["always strong"].usd_per_thousand


def test_the_default_model_is_the_reference():
    report = simulate(traffic(), lambda seed: LearnedRouter(MODELS, "weak", seed=seed), name="learned", seeds=2)
    assert report.reference == "weak"
    assert rows(report)["always weak"].relative_quality == 1.0
    assert report.target_met == 2


def test_too_little_to_learn_from_is_said():
    report = simulate(traffic(40), lambda seed: LearnedRouter(MODELS, seed=seed), name="learned", seeds=2, learn_share=0.25)
    assert report.unfitted == 2
    assert "In 2 of 2 splits there was too little to learn from" in str(report)
    assert rows(report)["the policy"].shares == (0.0, 1.0)


def test_a_cascade_pays_for_every_answer():
    def answers(example: Example) -> Example:
        text = "I'm sorry, but I cannot help with that." if example.quality == 0 and example.model == "weak" else "The result is 7."
        return Example(example.prompt, example.model, example.quality, answer=text)

    found = Traffic.of([answers(each) for each in labelled(200, noise=0)], PRICES)
    report = simulate(found, lambda seed: Cascade(["weak", "strong"], seed=seed), name="cascade", seeds=2)
    policy, weak, strong = (rows(report)[name] for name in ("the policy", "always weak", "always strong"))
    assert policy.quality == 1.0
    assert policy.escalated == policy.shares[1]
    assert 1 - weak.quality <= policy.escalated < 1.05 - weak.quality
    assert weak.usd_per_thousand < policy.usd_per_thousand < weak.usd_per_thousand + strong.usd_per_thousand
    assert report.curves["the policy"][-1].usd_per_thousand == pytest.approx(weak.usd_per_thousand + strong.usd_per_thousand)


def test_complexity_is_ranked_by_its_score():
    report = simulate(traffic(), lambda seed: Complexity(), name="complexity", seeds=2)
    assert rows(report)["the policy"].apgr is not None
    assert report.min_quality is None
    assert "promised" not in str(report)


def test_what_cannot_be_simulated():
    one_model = [Example(f"prompt {n}", "weak", 1.0) for n in range(60)]
    with pytest.raises(ConfigurationError, match=r"only 0 of 60 prompts have a judged answer of every model \(weak 60, strong 0\)"):
        Traffic.of(one_model, PRICES)
    found = traffic(60)
    with pytest.raises(ConfigurationError, match="a cascade judges answers, and the answer of 'weak'"):
        simulate(found, lambda seed: _Fitted(["weak", "strong"]), name="cascade")
    with pytest.raises(ConfigurationError, match="the cascade asks 'tiny', which is not one of the models weak, strong"):
        simulate(found, lambda seed: _Fitted(["tiny", "strong"]), name="cascade")
    with pytest.raises(ConfigurationError, match="reference 'huge' is not one of the models"):
        simulate(found, lambda seed: LearnedRouter({"weak": 1.0, "huge": 9.0}), name="learned")
    for options in ({"seeds": 0}, {"learn_share": 1.0}):
        with pytest.raises(ConfigurationError, match="seeds must be at least 1"):
            simulate(found, lambda seed: Complexity(), name="complexity", **options)


class _Fitted(Cascade):
    """A cascade whose examples had answers, unlike the traffic."""

    def fit(self, examples):
        return self


def test_the_chart_holds_every_curve():
    report = simulate(traffic(sites=True), lambda seed: LearnedRouter(MODELS, seed=seed), name="my router", seeds=2)
    curves, decided = report.chart().to_dict()["layer"]
    assert {row["routing"] for row in curves["data"]["values"]} == {
        "my router",
        "random",
        "length (longest to strong)",
        "shortest to strong",
        "call-site table",
        "oracle",
    }
    assert len(curves["data"]["values"]) == 6 * 21
    assert decided["data"]["values"][0]["quality"] == report.rows[0].quality
