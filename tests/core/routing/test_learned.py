"""The learned router finds what is known of a synthetic workload, abstains elsewhere, and survives bad input."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.routing import Example, LearnedRouter
from tests.core.routing.workload import labelled, prompts

PRICES = {"weak": 0.6, "strong": 12.0}


@pytest.fixture(scope="module")
def router() -> LearnedRouter:
    return LearnedRouter(PRICES, "strong", 0.95).fit(labelled(400))


@pytest.fixture(scope="module")
def sited() -> LearnedRouter:
    return LearnedRouter(PRICES, "strong", 0.95).fit(labelled(400, sites=True))


def test_easy_prompts_go_to_the_cheap_model_and_hard_ones_to_the_strong(router: LearnedRouter) -> None:
    chosen = Counter((hard, router.decide(prompt).model) for prompt, hard in prompts(300, seed=7))
    assert chosen[True, "strong"] > 0.97 * (chosen[True, "strong"] + chosen[True, "weak"])
    assert chosen[False, "weak"] > 0.7 * (chosen[False, "strong"] + chosen[False, "weak"])


def test_two_hundred_labels_rank_prompts_by_gain() -> None:
    router = LearnedRouter(PRICES, "strong").fit(labelled(200, noise=0.2))
    gains = {hard: [router.gain(prompt) for prompt, is_hard in prompts(200, seed=3) if is_hard is hard] for hard in (True, False)}
    assert np.mean(gains[True]) - np.mean(gains[False]) > 0.2


def test_a_decision_says_what_it_expects(router: LearnedRouter) -> None:
    decision = router.decide(next(prompt for prompt, hard in prompts(300, seed=7) if not hard and router.decide(prompt).model == "weak"))
    assert decision.tier == decision.model == "weak"
    assert decision.expected_quality is not None
    assert decision.expected_quality > 0.7
    assert decision.expected_cost_usd is not None
    assert 0 < decision.expected_cost_usd < 1e-3
    assert "learned from 400 prompts" in decision.reason
    assert [name for name, _ in decision.rejected] == ["strong"]


def test_answers_tell_how_long_they_are() -> None:
    examples = [
        Example(each.prompt, each.model, each.quality, answer="x" * (400 if each.model == "strong" else 4)) for each in labelled(60)
    ]
    router = LearnedRouter({"weak": 1.0, "strong": 1e6}, "strong", 1.0).fit(examples)
    prompt = "never seen before: 01234567890123456789"
    assert router.decide(prompt).expected_cost_usd == pytest.approx(len(prompt) / 4 + 100)


def test_a_workload_that_only_the_strong_model_masters_goes_to_it() -> None:
    examples = [Example(prompt, model, float(model == "strong")) for prompt, _ in prompts(100) for model in PRICES]
    router = LearnedRouter(PRICES, "strong").fit(examples)
    assert {router.decide(prompt).model for prompt, _ in prompts(50, seed=5)} == {"strong"}


def test_a_workload_that_both_master_goes_to_the_cheap_one() -> None:
    router = LearnedRouter(PRICES, "strong").fit([Example(prompt, model, 1.0) for prompt, _ in prompts(200) for model in PRICES])
    assert Counter(router.decide(prompt).model for prompt, _ in prompts(100, seed=5))["weak"] > 60


def test_unseen_call_sites_go_to_the_default(sited: LearnedRouter) -> None:
    easy = next(prompt for prompt, hard in prompts(20, seed=9) if not hard)
    assert sited.decide(easy, "support").model == "weak"
    decision = sited.decide(easy, "somewhere else")
    assert decision.model == "strong"
    assert "'somewhere else' has no examples" in decision.reason
    assert sited.gain(easy, "somewhere else") == sited.gain(easy)


def test_outliers_go_to_the_default(router: LearnedRouter) -> None:
    decision = router.decide("Напишите, пожалуйста, стихотворение о зиме")
    assert decision.model == "strong"
    assert "unlike the examples" in decision.reason


def test_before_fit_everything_goes_to_the_default() -> None:
    router = LearnedRouter(PRICES)
    assert router.decide("anything").model == "strong"
    assert router.gain("anything") == 0.0
    assert not router.fitted


@pytest.mark.parametrize("count", [0, 1, 9, 19])
def test_too_few_examples_are_no_reason_to_guess(count: int) -> None:
    router = LearnedRouter(PRICES, "strong").fit(labelled(count))
    assert not router.fitted
    assert "too few examples" in router.decide("Please greet the customer").reason


def test_examples_of_other_models_are_left_out(router: LearnedRouter, caplog: pytest.LogCaptureFixture) -> None:
    other = LearnedRouter(PRICES, "strong", 0.95).fit([*labelled(400), Example("x", "retired", 1.0)])
    assert "1 example of another model is left out: retired" in caplog.text
    assert other.version == router.version
    with pytest.raises(ConfigurationError, match="no example is of one of the models weak, strong; found retired"):
        other.fit([Example("x", "retired", 1.0)])


@pytest.mark.parametrize("quality", [math.nan, math.inf, -0.1, 1.01, None, "good"])
def test_a_quality_that_is_none_is_named_and_nothing_is_lost(quality: object) -> None:
    router = LearnedRouter(PRICES, "strong", 0.95).fit(labelled(60))
    before = router.version
    with pytest.raises(ConfigurationError, match=r"quality of example 120 \(model 'weak'\) must lie within 0..1"):
        router.fit([*labelled(60), Example("x", "weak", quality)])  # type: ignore[arg-type]
    assert router.version == before


def test_prompts_must_be_text() -> None:
    with pytest.raises(ConfigurationError, match="prompt of example 0 must be text, not int"):
        LearnedRouter(PRICES).fit([Example(3, "weak", 1.0)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({}, "models must map names to prices"),
        ({"weak": None}, "price of 'weak' must be US dollars"),
        ({"weak": -1.0}, "price of 'weak' must be"),
        ({"weak": math.nan}, "price of 'weak' must be"),
        ({"weak": "no such model at all"}, "'weak' has no price"),
        ({"": 1.0}, "name must be text"),
    ],
)
def test_prices_must_be_prices(models: dict[str, float | str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LearnedRouter(models)


def test_models_can_be_priced_by_name() -> None:
    catalog = PriceCatalog()
    catalog.override("house-model", input_usd_per_million=4, output_usd_per_million=8)
    router = LearnedRouter({"a": "house-model", "b": 1.0}, catalog=catalog)
    assert router.default == "a"
    assert router.decide("x" * 400).expected_cost_usd == pytest.approx((100 * 4 + 100 * 8) / 1e6)


@pytest.mark.parametrize("share", [0, -1, 1.01, math.nan, True, "high"])
def test_min_quality_is_a_share(share: object) -> None:
    with pytest.raises(ConfigurationError, match="min_quality must be a share"):
        LearnedRouter(PRICES, min_quality=share)  # type: ignore[arg-type]


def test_the_default_must_be_a_model() -> None:
    with pytest.raises(ConfigurationError, match="default='medium' is not one of the models weak, strong"):
        LearnedRouter(PRICES, "medium")


def test_labels_of_the_cheap_model_alone_are_held_against_a_perfect_default() -> None:
    good = LearnedRouter(PRICES, "strong", 0.9).fit([Example(prompt, "weak", 1.0) for prompt, _ in prompts(200)])
    poor = LearnedRouter(PRICES, "strong", 1.0).fit([Example(prompt, "weak", 0.5) for prompt, _ in prompts(200)])
    asked = [prompt for prompt, _ in prompts(50, seed=4)]
    assert Counter(good.decide(prompt).model for prompt in asked)["weak"] > 25
    assert Counter(poor.decide(prompt).model for prompt in asked) == {"strong": 50}


def test_incomplete_rows_route_as_complete_ones_do() -> None:
    kept = [example for place, example in enumerate(labelled(600)) if place % 3]
    router = LearnedRouter(PRICES, "strong", 0.95).fit(kept)
    chosen = Counter((hard, router.decide(prompt).model) for prompt, hard in prompts(200, seed=7))
    assert chosen[True, "strong"] > 20 * chosen[True, "weak"]
    assert chosen[False, "weak"] > chosen[False, "strong"]


def test_rows_that_contradict_each_other_meet_in_the_middle() -> None:
    examples = labelled(100)
    router = LearnedRouter(PRICES, "strong").fit(examples + [Example(each.prompt, each.model, 1 - each.quality) for each in examples])
    assert abs(router.gain(examples[0].prompt)) < 0.02


def test_a_model_with_too_few_labels_is_never_chosen() -> None:
    extra = [Example(prompt, "free", 1.0) for prompt, _ in prompts(19)]
    router = LearnedRouter({**PRICES, "free": 0.0}, "strong", 0.9).fit([*labelled(300), *extra])
    decisions = [router.decide(prompt) for prompt, _ in prompts(100, seed=2)]
    assert "free" not in {decision.model for decision in decisions}
    assert ("free", "too few examples") in [pair for decision in decisions for pair in decision.rejected]


def test_names_teach_nothing(sited: LearnedRouter) -> None:
    renamed = [
        Example(each.prompt, {"weak": "zeta", "strong": "alpha"}[each.model], each.quality, call_site=f"x{each.call_site}")
        for each in labelled(400, sites=True)
    ]
    other = LearnedRouter({"zeta": 0.6, "alpha": 12.0}, "alpha", 0.95).fit(renamed)
    for prompt, hard in prompts(60, seed=11):
        site = "research" if hard else "support"
        assert {"zeta": "weak", "alpha": "strong"}[str(other.decide(prompt, f"x{site}").model)] == sited.decide(prompt, site).model
        assert other.gain(prompt) == pytest.approx(sited.gain(prompt), abs=1e-6)


def test_a_cheaper_price_never_routes_less_to_a_model() -> None:
    examples = labelled(200, noise=0.2)
    shares = []
    for usd in (11.0, 3.0, 0.6, 0.0):
        router = LearnedRouter({"weak": usd, "strong": 12.0}, "strong", 0.95).fit(examples)
        shares.append(sum(router.decide(prompt).model == "weak" for prompt, _ in prompts(100, seed=8)))
    assert shares == sorted(shares)


def test_the_same_seed_gives_the_same_router(router: LearnedRouter) -> None:
    assert LearnedRouter(PRICES, "strong", 0.95).fit(labelled(400)).version == router.version
    assert LearnedRouter(PRICES, "strong", 0.95, seed=1).fit(labelled(400)).version != router.version


@pytest.mark.parametrize("fitted", ["router", "sited"])
def test_a_stored_router_decides_the_same(fitted: str, request: pytest.FixtureRequest) -> None:
    router: LearnedRouter = request.getfixturevalue(fitted)
    restored = LearnedRouter.from_bytes(router.to_bytes())
    assert restored.version == router.version
    for prompt, hard in prompts(40, seed=6):
        site = ("research" if hard else "support") if fitted == "sited" else None
        assert restored.decide(prompt, site) == router.decide(prompt, site)
        assert restored.gain(prompt) == router.gain(prompt)


def test_an_unfitted_router_can_be_stored() -> None:
    router = LearnedRouter(PRICES, "strong").fit(labelled(3))
    assert LearnedRouter.from_bytes(router.to_bytes()).decide("x") == router.decide("x")


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x03\x04 nonsense", LearnedRouter(PRICES).to_bytes()[:60]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"not a stored llmthrift.LearnedRouter/1"):
        LearnedRouter.from_bytes(data)


def test_embeddings_are_used_checked_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    working = True

    def embed(texts: object) -> np.ndarray:
        if not working:
            raise TimeoutError("secret")
        return np.array([[1.0, float("theorem" in text), 0.0] for text in texts])  # type: ignore[attr-defined]

    router = LearnedRouter(PRICES, "strong", 0.95, embedder=embed).fit(labelled(60))
    with pytest.raises(ConfigurationError, match="fitted with an embedder"):
        LearnedRouter.from_bytes(router.to_bytes())
    assert LearnedRouter.from_bytes(router.to_bytes(), embedder=embed).version == router.version
    working = False
    assert router.decide("Please greet the customer").model == "strong"
    assert "TimeoutError" in caplog.text
    assert "secret" not in caplog.text
    with pytest.raises(ConfigurationError, match="one finite vector for each of 60 texts"):
        LearnedRouter(PRICES, embedder=lambda texts: np.full((len(texts), 2), np.nan)).fit(labelled(60))


def test_scikit_learn_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("threadpoolctl", "sklearn", "sklearn.linear_model", "sklearn.utils.extmath"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmthrift\[routing\]'"):
        LearnedRouter(PRICES).fit(labelled(60))


def test_rules_work_without_numpy_and_the_extra_is_named() -> None:
    program = """
import sys
sys.modules["numpy"] = None
from llmthrift_core.routing import Adaptive, RatedComplexity, Bounded, Complexity, Example, Profiles, Rules, Sticky
from llmthrift_core.errors import MissingExtraError
for name in ("LearnedRouter", "LearnedPolicy", "Cascade"):
    try:
        getattr(sys.modules["llmthrift_core.routing"], name)
    except MissingExtraError as error:
        print(error.extra, error.package)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["routing numpy", "routing numpy"]


@settings(max_examples=60)
@example(prompt="ab " * 400_000, site="support", allowed=None)
@example(prompt="a" * 1_000_000, site=None, allowed={"weak"})
@given(
    prompt=st.one_of(st.text(max_size=300), st.sampled_from(["", " ", "\ud800", "\x00" * 50])),
    site=st.one_of(st.none(), st.sampled_from(["support", "research", ""]), st.text(max_size=10)),
    allowed=st.one_of(st.none(), st.sets(st.sampled_from(["weak", "strong", "unknown"]), min_size=1)),
)
def test_the_decision_always_is_an_allowed_model(sited: LearnedRouter, prompt: str, site: str | None, allowed: set[str] | None) -> None:
    if allowed == {"unknown"}:
        with pytest.raises(ConfigurationError, match="none of the allowed models"):
            sited.decide(prompt, site, allowed=allowed)
        return
    assert sited.decide(prompt, site, allowed=allowed).model in (allowed or PRICES)
    assert -1.5 < sited.gain(prompt, site) < 1.5


@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(
            st.text(max_size=20),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.one_of(st.none(), st.sampled_from(["s", "t", "u"])),
        ),
        min_size=30,
        max_size=120,
    ),
    prices=st.lists(st.floats(0, 100), min_size=3, max_size=3),
)
def test_any_rows_give_a_router_that_decides(rows: list[tuple[str, str, float, str | None]], prices: list[float]) -> None:
    router = LearnedRouter(dict(zip("abc", prices, strict=True)), "b")
    router.fit([Example(prompt, model, quality, call_site=site) for prompt, model, quality, site in rows])
    assert router.decide("anything").model in {"a", "b", "c"}
    assert router.decide(rows[0][0], rows[0][3]).model in {"a", "b", "c"}


def test_what_answers_cost_is_known_by_their_tokens() -> None:
    short = [replace(each, answer_tokens=10, answer="x" * 4_000) for each in labelled(60)]
    assert LearnedRouter({"weak": 0.0, "strong": 1.0}).fit(short).decide("").expected_cost_usd == pytest.approx(10e-6)
    with pytest.raises(ConfigurationError, match="answer_tokens of example 0"):
        LearnedRouter({"weak": 0.0, "strong": 1.0}).fit([replace(short[0], answer_tokens=-1)])


@pytest.mark.parametrize("call_site", [None, "a"])
def test_an_embedder_that_changes_its_length_leaves_the_default_model(call_site: str | None) -> None:
    dimensions = 4

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), dimensions))

    examples = [Example(each.prompt, each.model, each.quality, "a") for each in labelled(60)]
    router = LearnedRouter(PRICES, "strong", 0.95, embedder=embed).fit(examples)
    dimensions = 9
    decision = router.decide("How is it?", call_site)
    assert (decision.model, "embedder" in decision.reason) == ("strong", True)
