"""Routers that are fitted again on what was judged since, and take the place of the active one only if they are good enough."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmthrift_core import Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Cascade, Example, LearnedRouter
from llmthrift_core.routing.learned.calibration import Bound
from llmthrift_core.versions import Refit, RefitOutcome
from llmthrift_core.versions.refitting import _verdict, held_out_of, judged, refit_once, unfitted
from tests.core.clock import Clock
from tests.core.routing.workload import labelled
from tests.core.versions.judged import MODELS, answer, learnable, textless

REFIT = Refit(models=MODELS, min_quality=0.9, min_new_examples=100)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def thrift(tmp_path: Path, clock: Clock) -> Iterator[Thrift]:
    with Thrift(tmp_path / "books.db", capture="text", clock=clock) as opened:
        yield opened


def refit(thrift: Thrift, clock: Clock, examples: list[Example], options: Refit = REFIT) -> RefitOutcome:
    """Some examples come in, and an hour later a router is fitted on all."""
    clock.now += 60
    learnable(thrift, examples)
    clock.now += 3_600
    return thrift.routers.refit("support", options)


def test_the_first_version_is_activated_where_it_saves(thrift, clock):
    assert refit(thrift, clock, labelled(40, sites=True)).missing == 20
    assert thrift.routers.versions("support") == []
    outcome = refit(thrift, clock, labelled(210, seed=5, sites=True))
    assert outcome.activated
    (version,) = thrift.routers.versions("support")
    assert version.note == outcome.why
    assert "for less: on 100 held-out prompts quality" in outcome.why
    assert thrift.routers.load("support").decide("Please greet the customer of case 1", "support").model == "weak"


def test_it_is_due_again_when_enough_was_judged(thrift, clock):
    assert refit(thrift, clock, labelled(300, sites=True)).activated
    assert thrift.routers.refit("support", REFIT).missing == 120  # a fifth of 600
    assert refit(thrift, clock, labelled(50, seed=5, sites=True)).missing == 20
    assert refit(thrift, clock, labelled(50, seed=6, sites=True)).saved.version == 2
    assert refit(thrift, clock, labelled(40, seed=7, sites=True), replace(REFIT, growth=0.0)).missing == 20


def test_what_decides_alike_stays_inactive_and_is_noted(thrift, clock):
    assert refit(thrift, clock, labelled(200, sites=True)).activated
    outcome = refit(thrift, clock, labelled(200, seed=5, sites=True))
    assert (outcome.saved.version, outcome.activated) == (2, False)
    newest, first = thrift.routers.versions("support")
    assert (newest.active, newest.activated_at, first.active) == (False, None, True)
    assert newest.note == outcome.why
    assert "it decides as the active version on all but 6 of 80 held-out prompts" in outcome.why


def test_bad_labels_are_not_activated(thrift, clock):
    assert refit(thrift, clock, labelled(200, sites=True)).activated
    chance = random.Random(0)
    drunk = [replace(each, quality=float(chance.random() < 0.5), call_site="new") for each in labelled(200, seed=5)]
    outcome = refit(thrift, clock, drunk)
    assert not outcome.activated
    assert thrift.routers.store.active("support") == 1


def test_a_router_that_breaks_its_promise_is_replaced(thrift, clock):
    """The models change places: what is active sends everything easy to a model that has become bad."""
    assert refit(thrift, clock, labelled(150, sites=True)).activated
    changed = [replace(each, quality=float(each.model == "strong")) for each in labelled(400, seed=5, sites=True)]
    outcome = refit(thrift, clock, changed)
    assert outcome.activated, outcome.why
    assert "not certain before" in outcome.why or "better" in outcome.why


def test_what_only_the_models_in_use_have_labels_of_cannot_be_judged(thrift, clock):
    """Everything goes to the strong model; that the weak one would do on a new call site is known from elsewhere only."""
    assert refit(thrift, clock, labelled(150, sites=True)).activated
    told = [replace(each, call_site="support") for each in labelled(300, seed=5) if each.model == "weak" and each.quality == 1]
    silent = [each for each in labelled(300, seed=6, sites=True) if each.model == "strong"]
    learnable(thrift, told)
    clock.now += 60
    thrift.routers.save(LearnedRouter({"weak": 0.6, "strong": 12.0}), name="support", note="nothing learned")
    outcome = refit(thrift, clock, silent)
    assert not outcome.activated
    assert "have a judged answer of the model that it chooses: let that model answer a sample" in outcome.why


def test_held_out_prompts_are_new_and_are_not_learned_from(thrift, clock):
    old, fresh = labelled(50), labelled(50) + labelled(100, seed=5)
    held = held_out_of(fresh, old, 0.4, seed=1)
    assert len(held) == 40
    assert not held & {each.known for each in old}
    assert held == held_out_of(fresh, old, 0.4, seed=1) != held_out_of(fresh, old, 0.4, seed=2)
    refit(thrift, clock, labelled(200, sites=True), replace(REFIT, held_out_share=0.5))
    assert "learned from 100 prompts" in thrift.routers.load("support").decide("Please greet the customer", "support").reason


def test_a_prompt_that_is_asked_again_and_answered_as_before_is_not_held_out(thrift, clock):
    asked = labelled(100, sites=True)
    assert refit(thrift, clock, asked).saved is not None
    outcome = refit(thrift, clock, asked)
    assert outcome.why == f"refit on {2 * len(asked)} examples: no prompt was held out to judge it by"


BETTER, WORSE, UNSURE = Bound(0.05, 0.01), Bound(-0.05, 0.01), Bound(0.0, 0.01)


@pytest.mark.parametrize(
    ("promise", "before", "better", "saved", "activated"),
    [
        (BETTER, BETTER, UNSURE, 0.2, True),
        (BETTER, BETTER, WORSE, 0.2, True),  # worse than the active one, within the promise, and cheaper
        (BETTER, BETTER, BETTER, -0.2, False),  # better than need be, and dearer
        (BETTER, BETTER, UNSURE, 0.001, False),
        (UNSURE, BETTER, UNSURE, 0.2, False),
        (WORSE, BETTER, WORSE, 0.2, False),
        (BETTER, WORSE, BETTER, -0.5, True),  # the promise comes before the price
        (UNSURE, WORSE, BETTER, -0.5, True),
        (UNSURE, WORSE, UNSURE, 0.2, False),
        (WORSE, WORSE, WORSE, 0.2, False),
    ],
)
def test_the_promise_comes_first_and_then_the_price(promise, before, better, saved, activated):
    verdict = _verdict(promise, before, better, saved=saved, figures="figures", promised="0.9 of strong's quality kept")
    assert verdict.activate is activated
    assert "figures" in verdict.why


def test_what_cannot_be_judged_says_why():
    new = LearnedRouter({"weak": 0.6, "strong": 12.0})
    assert judged(new, None, labelled(40)).why == "strong: no examples yet"
    new.fit(labelled(100))
    assert judged(new, None, []).why == "no prompt was held out to judge it by"
    other = LearnedRouter({"a": 1.0, "b": 2.0}).fit(
        [replace(each, model={"weak": "a", "strong": "b"}[each.model]) for each in labelled(100)]
    )
    assert judged(new, other, labelled(60, seed=5)).why == judged(new, None, labelled(60, seed=5)).why.replace(
        "the default model", "the active version"
    )


def test_another_version_that_is_saved_meanwhile_is_respected(thrift, clock):
    learnable(thrift, labelled(150, sites=True))
    clock.now += 60

    class Slow(LearnedRouter):
        def fit(self, examples):
            thrift.routers.save(LearnedRouter({"weak": 0.6, "strong": 12.0}), name="support", note="somebody else")
            return super().fit(examples)

    outcome = refit_once(thrift, "support", REFIT, Slow({"weak": 0.6, "strong": 12.0}, min_quality=0.9))
    assert (outcome.saved, outcome.activated) == (None, False)
    assert "another version was saved meanwhile" in outcome.why
    assert [each.note for each in thrift.routers.versions("support")] == ["somebody else"]


def test_a_cascade_is_left_alone(thrift, clock):
    thrift.routers.save(Cascade(["weak", "strong"]), name="support")
    with pytest.raises(ConfigurationError, match="version 1 of router 'support' is a Cascade"):
        refit(thrift, clock, labelled(100))


def test_without_texts_it_learns_from_counts_and_call_sites(thrift, clock):
    def more(examples: list[Example]) -> RefitOutcome:
        clock.now += 60
        textless(thrift, examples)
        clock.now += 3_600
        return thrift.routers.refit("support", replace(REFIT, growth=0.0))

    first = more(labelled(250, sites=True))
    assert first.activated, first.why
    router = thrift.routers.load("support")
    assert not router.needs_text
    assert router.decide("Please greet the customer of case 1", "support").model == "weak"
    long = [replace(each, prompt=f"{each.prompt} {'Thank you. ' * place}") for place, each in enumerate(labelled(150, seed=5, sites=True))]
    second = more(long)
    assert second.saved.version == 2
    assert "held-out prompts" in second.why


def test_routers_of_texts_are_judged_by_texts(thrift, clock):
    assert refit(thrift, clock, labelled(150, sites=True)).activated
    clock.now += 60
    textless(thrift, [replace(each, prompt=f"{each.prompt}, please") for each in labelled(100, seed=5, sites=True)])
    clock.now += 3_600
    outcome = thrift.routers.refit("support", replace(REFIT, growth=0.0))
    assert not outcome.activated
    assert "the active version learned from texts, and no text is stored of the prompts that were held out" in outcome.why


def test_where_nothing_is_stored_it_says_what_is_missing(thrift):
    for _ in range(3):
        answer(thrift, 1.0)
    with pytest.raises(ConfigurationError, match='capture="text"'):
        thrift.routers.refit("support", REFIT)


def test_options_are_checked(thrift):
    for given in ({"min_new_examples": 0}, {"growth": -1}, {"held_out_share": 0.95}, {"history_days": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(given))):
            Refit(models=MODELS, **given)
    with pytest.raises(ConfigurationError, match="models must map"):
        thrift.routers.follow("support", refit=Refit(models={}))
    assert unfitted(REFIT, thrift.prices).default == "strong"
