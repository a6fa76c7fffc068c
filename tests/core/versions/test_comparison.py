"""Versions that are rolled back when answers got worse, and only then."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.model_calls.models import EVALUATION
from llmthrift_core.routing import LearnedRouter
from llmthrift_core.statistics import quality_difference
from llmthrift_core.versions import RollBack
from llmthrift_core.versions.comparison import BackgroundRollBack, _sums, last_look
from llmthrift_core.versions.routers import RouterVersions
from tests.core.clock import Clock
from tests.core.versions.judged import answer

NOON = datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def thrift(any_url: str, clock: Clock) -> Iterator[Thrift]:
    with Thrift(any_url, clock=clock) as opened:
        yield opened


def save(thrift: Thrift, clock: Clock, min_quality: float) -> str:
    clock.now += 60
    router = LearnedRouter({"weak": 0.6, "strong": 12.0}, min_quality=min_quality)
    saved = thrift.routers.save(router, name="support")
    clock.now += 60
    return f"{saved.label}-{router.version}"


def answers(thrift: Thrift, label: str, count: int, quality: float, *, seed: int = 0, **attribution: str) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        answer(thrift, float(chance.random() < quality), config_version=label, **attribution)


def test_it_goes_back_once_and_stays(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    answers(thrift, first, 100, 0.9)
    answers(thrift, second, 60, 0.5)
    seen = thrift.routers.check("support")
    assert (seen.verdict, seen.rolled_back, seen.judged, seen.judged_before) == ("lower", False, 50, 100)
    assert seen.difference.high < 0
    assert thrift.routers.versions("support")[0].active
    done = thrift.routers.check("support", roll_back=True)
    assert (done.verdict, done.rolled_back) == ("lower", True)
    assert "quality is lower" in str(done)
    assert "Version 1 is active again" in str(done)
    newest, oldest = thrift.routers.versions("support")
    assert (newest.active, oldest.active) == (False, True)
    assert newest.note.startswith("rolled back to 1: quality changed by -0.")
    answers(thrift, first, 100, 0.2, seed=1)  # even if the first one gets worse than the second was
    for _ in range(3):
        assert thrift.routers.check("support", roll_back=True).verdict == "nothing before"
    assert [each.active for each in thrift.routers.versions("support")] == [False, True]


def test_it_goes_down_to_what_was_in_use_before_and_not_to_what_never_was(thrift, clock):
    first = save(thrift, clock, 0.9)
    never = thrift.routers.store.add("support", b"x", note="not activated", activate=False)
    third = save(thrift, clock, 0.95)
    answers(thrift, first, 60, 1.0)
    answers(thrift, f"{never.label}-x", 60, 1.0)
    answers(thrift, third, 60, 0.0)
    done = thrift.routers.check("support", roll_back=True)
    assert (done.rolled_back, done.before.version) == (True, 1)
    assert [each.version for each in thrift.routers.versions("support") if each.active] == [1]


def test_a_new_version_after_a_roll_back_is_compared_with_what_was_in_use(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    answers(thrift, first, 60, 1.0)
    answers(thrift, second, 60, 0.0)
    assert thrift.routers.check("support", roll_back=True).rolled_back
    save(thrift, clock, 0.97)
    assert thrift.routers.check("support").before.version == 1
    assert thrift.routers.roll_back("support").version == 1


def test_as_good_or_too_few_or_of_others_is_no_reason(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    assert thrift.routers.check("support", roll_back=True).verdict == "undecided"
    answers(thrift, first, 60, 0.8)
    answers(thrift, second, 49, 0.0)
    found = thrift.routers.check("support", roll_back=True)
    assert (found.verdict, found.judged, found.difference) == ("undecided", 49, None)
    assert "too few answers" in str(found)
    for label in ("support@22-abc", "support@2", "other@2-abc", f"my-{second}"):  # labels that only look alike
        answers(thrift, label, 60, 0.0)
    answers(thrift, second, 60, 0.0, request_type=EVALUATION)  # what judges say of judges
    assert thrift.routers.check("support").judged == 49
    assert thrift.routers.check("support", RollBack(min_judged=10, margin=0.9), roll_back=True).verdict == "not lower"
    assert thrift.routers.check("unknown", roll_back=True).verdict == "nothing before"
    assert "nothing to compare" in str(thrift.routers.check("unknown"))


def test_only_the_named_source_counts(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    for label, quality in ((first, 1.0), (second, 0.0)):
        for _ in range(60):
            request_id = thrift.ledger.record("gpt-4o", Usage(input_tokens=1), config_version=label)
            thrift.feedback(request_id, quality=quality, source="thumbs")
    assert thrift.routers.check("support", RollBack(source="judge:")).verdict == "undecided"
    assert thrift.routers.check("support", RollBack(source="thumbs")).verdict == "lower"


def test_a_wrapped_router_is_recognised(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    answers(thrift, f"{first}-0123456789ab", 60, 1.0)
    answers(thrift, f"{second}-0123456789ab", 60, 0.0)
    assert thrift.routers.check("support").verdict == "lower"


def test_one_loud_conversation_proves_nothing(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    answers(thrift, first, 100, 0.9)
    answers(thrift, second, 45, 0.0, session="one long quarrel")
    answers(thrift, second, 5, 0.9)
    found = thrift.routers.check("support")
    assert (found.verdict, found.judged) == ("undecided", 6)


def _judged(chance: random.Random, count: int, quality: float) -> list[float]:
    return [float(chance.random() < quality) for _ in range(count)]


@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_versions_that_are_as_good_stay_however_often_they_are_looked_at(confidence):
    rule, wrong, runs = RollBack(confidence=confidence, min_judged=50), 0, 300
    for seed in range(runs):
        chance = random.Random(seed)
        then, now = _judged(chance, 400, 0.8), _judged(chance, 3_200, 0.8)
        wrong += any(last_look(now[:count], then, rule)[1].high < 0 for count in (50, 99, 100, 200, 399, 800, 1_600, 3_200))
    # Three standard deviations of the count above what the confidence allows.
    allowed = runs * (1 - confidence)
    assert wrong <= allowed + 3 * allowed**0.5


def test_every_look_is_at_the_same_answers_and_gets_less_of_the_errors():
    rule = RollBack(confidence=0.9, min_judged=10)
    judged = _judged(random.Random(0), 200, 0.5)
    sizes = {count: len(last_look(judged[:count], judged, rule)[0]) for count in (10, 19, 20, 39, 40, 79, 80, 200)}
    assert sizes == {10: 10, 19: 10, 20: 20, 39: 20, 40: 40, 79: 40, 80: 80, 200: 160}
    # The first look has 1/2 of 10%, on one side: limits of 90%. The third has 1/12 of it: limits of 1 - 2 * 0.1 / 12.
    for count, confidence in ((10, 0.9), (40, 1 - 0.2 / 12)):
        by_hand = quality_difference(_sums(judged[:count]), _sums(judged), confidence)
        assert last_look(judged[:count], judged, rule)[1].high == pytest.approx(by_hand.high)


def test_options_are_checked():
    for given in ({"confidence": 1.0}, {"margin": -0.1}, {"margin": True}, {"min_judged": 5}, {"history_days": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(given))):
            RollBack(**given)


def test_in_the_background_it_is_compared_when_enough_was_judged(thrift, clock, caplog):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    background = BackgroundRollBack(thrift, thrift.routers.store, "support", RollBack(), RouterVersions.labels)

    def look() -> int | None:
        assert thrift.flush()
        background(threading.Event())
        return thrift.routers.store.active("support")

    answers(thrift, first, 60, 0.9)
    answers(thrift, second, 30, 0.0)  # which is too few, though with the others 90 were judged since
    assert look() == 2
    assert background._waiting_for[1] == 90 + 20
    answers(thrift, second, 19, 0.0)
    assert look() == 2
    assert background._waiting_for[1] == 90 + 20  # not even compared
    answers(thrift, second, 1, 0.0)
    with caplog.at_level(logging.WARNING, logger="llmthrift"):
        assert look() == 1
        assert look() == 1
    assert caplog.text.count("version 2 of 'support' was rolled back to 1: quality changed by -0.") == 1


def test_as_good_in_the_background_the_next_look_is_at_twice_as_many(thrift, clock):
    first, second = save(thrift, clock, 0.9), save(thrift, clock, 0.95)
    answers(thrift, first, 60, 0.9)
    answers(thrift, second, 70, 0.9, seed=1)
    assert thrift.flush()
    background = BackgroundRollBack(thrift, thrift.routers.store, "support", RollBack(), RouterVersions.labels)
    background(threading.Event())
    assert background._waiting_for[1] == 130 + 50
    assert thrift.routers.store.active("support") == 2


def test_in_the_background_trouble_is_logged_once(thrift, clock, caplog):
    save(thrift, clock, 0.9)
    background = BackgroundRollBack(thrift, thrift.routers.store, "support", RollBack(), RouterVersions.labels)
    background(threading.Event())  # nothing before the first version
    thrift.database.close()
    with caplog.at_level(logging.ERROR, logger="llmthrift"):
        background(threading.Event())
        background(threading.Event())
    assert caplog.text.count("versions of 'support' cannot be compared now") == 1
