"""The cascade accepts what the checks trust, learns which checks matter, and escalates in doubt."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Cascade, Example

MODELS = ("weak", "strong")


def sums(count: int, *, seed: int = 0) -> list[Example]:
    """Sums that the weak model gets wrong, visibly, in a third of the cases; the strong model is always right."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        one, other = chance.randrange(10, 99), chance.randrange(10, 99)
        prompt = f"Ada has {one} coins and finds {other} more. How many has she?"
        wrong = chance.random() < 1 / 3
        made.append(
            Example(prompt, "weak", float(not wrong), answer=f"She has {one} + {other} = {one + other + wrong * chance.randrange(5, 30)}.")
        )
        made.append(Example(prompt, "strong", 1.0, answer=f"{one} + {other} = {one + other}."))
    return made


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return Cascade(MODELS, min_quality=0.95).fit(sums(200))


def test_the_fitted_cascade_keeps_right_answers_and_escalates_wrong_ones(cascade: Cascade) -> None:
    answers = [each for each in sums(150, seed=5) if each.model == "weak"]
    kept = [cascade.accepts(each.prompt, each.answer or "") for each in answers]
    right = [each.quality == 1 for each in answers]
    assert sum(keep and good for keep, good in zip(kept, right, strict=True)) > 0.9 * sum(right)
    assert sum(keep and not good for keep, good in zip(kept, right, strict=True)) < 0.15 * (len(right) - sum(right))


def test_confidence_is_the_share_of_good_answers() -> None:
    # nothing tells these answers apart
    chance = random.Random(3)
    examples = [Example(f"What about {number}?", "weak", float(chance.random() < 0.6), answer="It is so.") for number in range(400)]
    cascade = Cascade(MODELS).fit(examples)
    share = np.mean([each.quality for each in examples])
    assert np.mean([cascade.confidence(each.prompt, "It is so.") for each in examples]) == pytest.approx(share, abs=0.03)


def test_labels_of_the_last_model_decide_what_escalating_is_worth() -> None:
    chance = random.Random(4)
    weak = [Example(f"q{number}", "weak", float(chance.random() < 0.6), answer="so") for number in range(300)]
    strong = [Example(each.prompt, "strong", float(chance.random() < 0.3)) for each in weak]
    against_perfect, against_poor = Cascade(MODELS).fit(weak), Cascade(MODELS).fit([*weak, *strong])
    assert sum(against_perfect.accepts(each.prompt, "so") for each in weak) < 30
    assert sum(against_poor.accepts(each.prompt, "so") for each in weak) == 300


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("6 boxes with 4 pens each are 6 * 4 = 24 pens.", True),
        ("6 boxes with 4 pens each are 6 * 4 = 26 pens.", False),
        ("", False),
        ("I'm sorry, but I cannot answer that.", False),
        ("First, multiply the 6 boxes by the 4 pens (", False),
    ],
)
def test_before_fit_the_checks_decide(answer: str, accepted: bool) -> None:
    cascade = Cascade(MODELS)
    assert cascade.accepts("How many pens are in 6 boxes of 4 pens?", answer) is accepted
    assert (cascade.confidence("How many pens are in 6 boxes of 4 pens?", answer) >= 0.7) is accepted


def test_the_last_model_is_always_accepted(cascade: Cascade) -> None:
    assert cascade.accepts("anything", "", model="strong")


def test_three_tiers_have_a_threshold_each() -> None:
    middle = [Example(each.prompt, "middle", each.quality, answer=each.answer) for each in sums(100) if each.model == "weak"]
    cascade = Cascade(("weak", "middle", "strong")).fit([*sums(100), *middle])
    assert len(cascade.thresholds) == 2
    assert cascade.accepts("What are 10 coins and 20 coins?", "10 + 20 = 30.", model="middle")


def test_a_tier_without_labels_escalates() -> None:
    assert Cascade(("weak", "middle", "strong")).fit(sums(100)).thresholds[1] == math.inf


def test_own_checks_may_be_anything_that_gives_floats() -> None:
    def polite(prompt: str, answer: str) -> float:
        return float("please" in answer)

    def sizes(prompt: str, answer: str) -> dict[str, float]:
        return {"score": 1.0, "answer": len(answer), "prompt": len(prompt)}

    cascade = Cascade(MODELS, checks=[polite, sizes, lambda prompt, answer: [1, len(answer)]])
    assert cascade.confidence("q", "please wait") == pytest.approx(0.85)
    assert cascade.confidence("q", "wait") == 0.0
    chance = random.Random(1)
    examples = [Example(f"q{number}", "weak", float(number % 2), answer="please" if number % 2 else "no") for number in range(60)]
    cascade.fit(chance.sample(examples, 60))
    assert cascade.confidence("q", "please") > 0.9 > 0.2 > cascade.confidence("q", "no")


def test_checks_get_the_context_that_they_ask_for() -> None:
    def certain(prompt: str, answer: str, context: dict[str, float]) -> float:
        return context.get("probability", 0.5)

    cascade = Cascade(MODELS, checks=[certain])
    assert cascade.confidence("q", "a", context={"probability": 1.0}) == pytest.approx(0.85)
    assert not cascade.accepts("q", "a")


def test_a_check_that_fails_does_not_accept(caplog: pytest.LogCaptureFixture) -> None:
    def fails(prompt: str, answer: str) -> float:
        raise TimeoutError(prompt)

    cascade = Cascade(MODELS, checks=[fails])
    assert not cascade.accepts("a secret", "a")
    assert "TimeoutError" in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.parametrize("found", [math.nan, [], "good", None, [1.0, math.inf]])
def test_nonsense_from_a_check_does_not_accept_and_cannot_be_learned(found: object) -> None:
    cascade = Cascade(MODELS, checks=[lambda prompt, answer: found])
    assert not cascade.accepts("q", "a")
    with pytest.raises(ConfigurationError, match="must give one or more finite numbers"):
        cascade.fit(sums(30))


def test_checks_that_change_their_number_of_floats_do_not_accept() -> None:
    cascade = Cascade(MODELS, checks=[lambda prompt, answer: [1.0] * (1 + ("twice" in answer))]).fit(sums(60))
    assert cascade.confidence("q", "twice") == 0.0


@pytest.mark.parametrize(
    "examples",
    [
        [],
        sums(9),
        [each for each in sums(100) if each.quality == 1],
        [Example(f"q{number}", "weak", 0.0, answer="a") for number in range(50)],
    ],
)
def test_with_too_little_to_learn_the_heuristic_stays(examples: list[Example]) -> None:
    cascade = Cascade(MODELS).fit(examples)
    assert not cascade.fitted
    assert cascade.thresholds == (0.7,)


def test_answers_are_needed() -> None:
    with pytest.raises(ConfigurationError, match="no example has an answer of weak"):
        Cascade(MODELS).fit([Example("q", "weak", 1.0)])


def test_nan_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="quality of example 0"):
        Cascade(MODELS).fit([Example("q", "weak", math.nan, answer="a")])


@pytest.mark.parametrize("models", [(), ("weak",), ("weak", "weak"), "weak"])
def test_a_cascade_needs_two_models(models: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="two or more different models"):
        Cascade(models)


def test_checks_must_be_functions() -> None:
    with pytest.raises(ConfigurationError, match="at least one check"):
        Cascade(MODELS, checks=[])
    with pytest.raises(ConfigurationError, match="must be a function"):
        Cascade(MODELS, checks=["refusal"])  # type: ignore[list-item]


def test_an_unknown_model_is_named(cascade: Cascade) -> None:
    with pytest.raises(ConfigurationError, match="model='medium' is not one of weak, strong"):
        cascade.accepts("q", "a", model="medium")


def test_a_stored_cascade_judges_the_same(cascade: Cascade) -> None:
    restored = Cascade.from_bytes(cascade.to_bytes())
    assert restored.version == cascade.version
    assert restored.thresholds == cascade.thresholds
    for each in sums(30, seed=8):
        assert restored.confidence(each.prompt, each.answer or "") == cascade.confidence(each.prompt, each.answer or "")
    with pytest.raises(ConfigurationError, match="has the checks"):
        Cascade.from_bytes(cascade.to_bytes(), checks=[len])
    with pytest.raises(ConfigurationError, match="not a stored"):
        Cascade.from_bytes(b"nothing")


def test_the_same_examples_give_the_same_cascade(cascade: Cascade) -> None:
    assert Cascade(MODELS, min_quality=0.95).fit(sums(200)).version == cascade.version


def test_megabytes_are_judged() -> None:
    assert 0 <= Cascade(MODELS).confidence("word 12 " * 130_000, "1 + 1 = 2, " * 100_000) <= 1
