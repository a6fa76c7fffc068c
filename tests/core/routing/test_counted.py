"""A learned router whose examples have counts and no text."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import LEXICAL, chars_of, stored_counts
from llmthrift_core.routing import Example, LearnedRouter, Traffic
from llmthrift_core.routing.learned.observations import Observations
from llmthrift_core.routing.models import ModelPrices
from tests.core.routing.workload import labelled

PRICES = {"weak": 0.6, "strong": 12.0}


def textless(example: Example) -> Example:
    return replace(example, prompt="", counts=stored_counts(example.prompt))


def asked(count: int, *, seed: int = 0) -> list[tuple[str, bool]]:
    """Short questions, and programs that only the strong model understands."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        if hard := chance.random() < 0.5:
            lines = [f"    x_{place}[{chance.randrange(99)}] = {{'a': {chance.random():.3f}}}" for place in range(chance.randrange(4, 12))]
            found.append(("\n".join(["Why does this fail?", *lines]), hard))
        else:
            found.append((f"How do I {chance.choice(('cook', 'bake', 'fry', 'serve'))} {number} eggs for my friends?", hard))
    return found


def of_asked(count: int, *, seed: int = 0) -> list[Example]:
    return [
        Example("", model, float(model == "strong" or not hard), counts=stored_counts(prompt))
        for prompt, hard in asked(count, seed=seed)
        for model in PRICES
    ]


@pytest.fixture(scope="module")
def router() -> LearnedRouter:
    return LearnedRouter(PRICES, "strong", 0.95).fit(of_asked(200))


def test_kinds_of_questions_are_told_apart_by_counts_alone(router: LearnedRouter) -> None:
    chosen = Counter((hard, router.decide(prompt).model) for prompt, hard in asked(200, seed=5))
    assert chosen[True, "weak"] == 0
    assert chosen[False, "weak"] > 0.7 * (chosen[False, "weak"] + chosen[False, "strong"])
    assert min(router.gain(p) for p, hard in asked(50, seed=6) if hard) > max(router.gain(p) for p, hard in asked(50, seed=6) if not hard)


@pytest.mark.parametrize("prompt", ["Напишите, пожалуйста, стихотворение о зиме", "", "0123456789" * 30, "word " * 5_000, "WHY?! " * 9])
def test_outliers_go_to_the_default(router: LearnedRouter, prompt: str) -> None:
    decision = router.decide(prompt)
    assert decision.model == "strong"
    assert "unlike the examples" in decision.reason


def test_few_of_the_known_kind_are_outliers(router: LearnedRouter) -> None:
    strange = Counter("unlike" in router.decide(prompt).reason for prompt, _ in asked(200, seed=5))
    assert strange[True] < 50


def test_call_sites_are_learned_where_counts_say_nothing() -> None:
    router = LearnedRouter(PRICES, "strong", 0.95).fit([textless(each) for each in labelled(200, sites=True)])
    assert router.decide("Please name the capital of case 17, again (9)", "support").model == "weak"
    assert router.decide("Please name the capital of case 17, again (9)", "research").model == "strong"
    assert "has no examples" in router.decide("Please name the capital of case 17, again (9)", "elsewhere").reason


def test_prompts_with_the_same_counts_are_not_one_prompt() -> None:
    examples = [
        textless(Example(f"What is the state of order {number}?", model, float(number % 2), "support"))
        for number in range(10, 40)
        for model in PRICES
    ]
    assert len({each.counts for each in examples}) == 1
    seen = Observations.of(examples, tuple(PRICES))
    assert seen.quality.shape == (30, 2)
    assert np.nanmean(seen.quality) == 0.5
    assert not np.isnan(seen.quality).any()  # an answer of each model in every row
    assert LearnedRouter(PRICES).fit(examples).fitted


def test_a_router_without_texts_is_stored_and_read(router: LearnedRouter) -> None:
    again = LearnedRouter.from_bytes(router.to_bytes())
    assert again.version == router.version == LearnedRouter(PRICES, "strong", 0.95).fit(of_asked(200)).version
    for prompt, _ in asked(30, seed=8):
        assert again.decide(prompt) == router.decide(prompt)
    assert len(router.to_bytes()) < 100_000  # no n-grams
    again.fit([Example(prompt, model, 1.0) for prompt, _ in asked(60) for model in PRICES])
    assert again.version != router.version


def test_a_prompt_without_text_is_decided_by_its_counts(router: LearnedRouter) -> None:
    of_texts = LearnedRouter(PRICES, "strong", 0.9).fit(labelled(200))
    assert (router.needs_text, of_texts.needs_text, LearnedRouter(PRICES).needs_text) == (False, True, False)
    for prompt, _ in asked(30, seed=8):
        told, known = router.decide("", counts=stored_counts(prompt)), router.decide(prompt)
        assert (told.model, told.expected_quality) == (known.model, known.expected_quality)
        assert told.expected_cost_usd == pytest.approx(known.expected_cost_usd, rel=0.05)
        assert "the text of the prompt is not known" in of_texts.decide("", counts=stored_counts(prompt)).reason
        assert of_texts.decide("", counts=stored_counts(prompt)).model == "strong"


def test_the_price_of_a_prompt_follows_from_its_counts() -> None:
    prompts = ["x" * length for length in (1, 40, 4_000, 50_000)]
    seen = Observations.of([textless(Example(prompt, "weak", 1.0)) for prompt in prompts], ("weak",))
    assert seen.chars == pytest.approx([len(prompt) for prompt in prompts], rel=0.01)
    assert seen.textless == 4
    assert Observations.of([Example("x" * 40, "weak", 1.0)], ("weak",)).chars == (40,)
    assert chars_of(stored_counts("x" * 1_000_000)) == pytest.approx(1_000_000, rel=0.01)


def test_an_embedder_needs_texts() -> None:
    router = LearnedRouter(PRICES, embedder=lambda texts: np.ones((len(texts), 2))).fit(labelled(60))
    before = router.version
    with pytest.raises(ConfigurationError, match=r'1 of 61 prompts have no text for the embedder.*capture="text"'):
        router.fit([*labelled(60), textless(Example("x", "weak", 1.0))])
    assert router.version == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": (0.0,) * (LEXICAL - 1)}, f"tuple of {LEXICAL} finite floats"),
        ({"counts": [0.0] * LEXICAL}, "tuple"),
        ({"counts": (float("nan"),) * LEXICAL}, "finite"),
        ({"prompt": "text"}, "example 1 has a prompt and counts"),
    ],
)
def test_counts_that_cannot_be_used_are_named(changed: dict[str, object], message: str) -> None:
    good = textless(Example("x", "weak", 1.0))
    with pytest.raises(ConfigurationError, match=message):
        LearnedRouter(PRICES).fit([good, replace(good, **changed)])  # type: ignore[arg-type]


def test_traffic_is_replayed_where_there_is_text() -> None:
    given, prices = labelled(60), ModelPrices.of(PRICES, None)
    others = [textless(each) for each in labelled(60, seed=9)]
    traffic = Traffic.of([*given, *others], prices)
    assert traffic.skipped == {"no text stored": 120}
    assert traffic.prompts == Traffic.of(given, prices).prompts
    assert Traffic.of(given, prices).skipped == {}
    with pytest.raises(ConfigurationError, match=r'none of the 120 examples.*Thrift\(capture="text"\)'):
        Traffic.of(others, prices)
    with pytest.raises(ConfigurationError, match=r"only 2 of 2 prompts.*120 examples are left out, whose text is not stored"):
        Traffic.of([*labelled(2), *others], prices)
