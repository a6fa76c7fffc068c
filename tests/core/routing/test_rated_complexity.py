"""A small model rates the question; without an answer in time the heuristic decides."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from llmthrift_core import Thrift
from llmthrift_core.attribution import attribution_of, current_attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Complexity, RatedComplexity, RouteRequest, Rules, Tiers

TIERS = Tiers(("simple", "complex"))
EASY = RouteRequest("Hello, what is the capital of Peru?")


class Rater:
    """A model that answers what it is told to, and remembers what it was asked, for whom."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None, str | None]] = []

    def __call__(self, prompt: str) -> str:
        who = current_attribution()
        self.asked.append((prompt, who.user, who.request_type))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "tier", "score"), [("2", "simple", 0.2), ("5", "complex", 0.5), (" 10.", "complex", 1.0), ("Rating: 0", "simple", 0.0)]
)
def test_the_rating_decides(answer: str, tier: str, score: float) -> None:
    decision = RatedComplexity(Rater(answer)).decide(EASY, TIERS)
    assert (decision.tier, decision.score) == (tier, score)
    assert "rated by a model" in decision.reason


@pytest.mark.parametrize("answer", ["", "very hard", "11", "3 or 4", "100", "7" * 500])
def test_nonsense_leaves_it_to_the_heuristic(answer: str) -> None:
    decision = RatedComplexity(Rater(answer)).decide(EASY, TIERS)
    assert decision.tier == Complexity().decide(EASY, TIERS).tier
    assert "gave no number" in decision.reason


def test_a_rating_is_remembered_and_the_oldest_forgotten() -> None:
    rater = Rater("3")
    policy = RatedComplexity(rater, remembered=2)
    for question in ("a", "a", "b", "a", "c", "a", "b"):
        policy.decide(RouteRequest(question), TIERS)
    assert [asked.split("<request>\n")[1][0] for asked, _, _ in rater.asked] == ["a", "b", "c", "b"]


def test_the_call_is_attributed_to_the_caller_and_to_routing() -> None:
    rater = Rater("3")
    RatedComplexity(rater).decide(RouteRequest("x", attribution=attribution_of(user="ada", request_type="chat")), TIERS)
    assert rater.asked[0][1:] == ("ada", "routing")


def test_a_huge_question_is_shortened() -> None:
    rater = Rater("3")
    RatedComplexity(rater).decide(RouteRequest("x" * 1_000_000), TIERS)
    assert len(rater.asked[0][0]) < 5_000


def test_one_tier_needs_no_rating() -> None:
    rater = Rater("9")
    assert RatedComplexity(rater).decide(EASY, TIERS.at_most("simple")).tier == "simple"
    assert rater.asked == []


def test_a_model_that_is_down_is_left_alone_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    rater = Rater(ValueError("secret prompt"))
    policy = RatedComplexity(rater, clock=lambda: now[0])
    reasons = [policy.decide(RouteRequest(f"What is {number}?"), TIERS).reason for number in range(5)]
    assert len(rater.asked) == 3
    assert "failed" in reasons[2]
    assert "not asked after failures" in reasons[3]
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
    now[0] = 61.0
    rater.answers = ["9"]
    assert policy.decide(EASY, TIERS).tier == "complex"


def test_a_slow_model_is_not_waited_for_and_its_rating_counts_later() -> None:
    go, answered = threading.Event(), threading.Event()

    def slow(prompt: str) -> str:
        go.wait(30)
        answered.set()
        return "9"

    policy = RatedComplexity(slow, timeout_seconds=0.05)
    assert "took too long" in policy.decide(EASY, TIERS).reason
    go.set()
    answered.wait(30)
    for thread in threading.enumerate():
        if thread.name == "llmthrift-asking":
            thread.join(30)
    decision = policy.decide(EASY, TIERS)
    assert (decision.tier, decision.score) == ("complex", 0.9)


def test_models_that_hang_hold_a_bounded_number_of_threads() -> None:
    go = threading.Event()

    def hangs(prompt: str) -> str:
        go.wait(30)
        return "1"

    clock = [0.0]

    def leaps() -> float:  # past every pause
        clock[0] += 1_000
        return clock[0]

    policy = RatedComplexity(hangs, timeout_seconds=0.01, clock=leaps)
    reasons = [policy.decide(RouteRequest(f"question {number}"), TIERS).reason for number in range(10)]
    assert sum("busy" in reason for reason in reasons) == 2
    go.set()
    for thread in threading.enumerate():
        if thread.name == "llmthrift-asking":
            thread.join(30)


class Model:
    """A model with a name, as frameworks make them."""

    model_name = "tiny"

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, 0

    def complete(self, prompt: str) -> SimpleNamespace:
        self.asked += 1
        return SimpleNamespace(text=self.answer)


def test_a_rating_is_remembered_for_other_processes_by_model() -> None:
    with Thrift(":memory:") as thrift:
        first, again, other = Model("9"), Model("0"), Model("0")
        other.model_name = "another"  # type: ignore[misc]
        tiers = [RatedComplexity(model, thrift=thrift).decide(EASY, TIERS).tier for model in (first, again, other)]
        assert tiers == ["complex", "complex", "simple"]
        assert (first.asked, again.asked, other.asked) == (1, 0, 1)
        assert RatedComplexity(first).version != RatedComplexity(other).version


def test_what_a_function_says_is_for_this_process() -> None:
    with Thrift(":memory:") as thrift:
        raters = [Rater("9"), Rater("0")]
        assert [RatedComplexity(rater, thrift=thrift).decide(EASY, TIERS).tier for rater in raters] == ["complex", "simple"]


def test_a_database_that_fails_only_forgets() -> None:
    with Thrift(":memory:") as thrift:
        with thrift.database.write() as connection:
            connection.exec_driver_sql("DROP TABLE llmthrift_judgements")
        policy = RatedComplexity(Model("9"), thrift=thrift)
        assert policy.decide(EASY, TIERS).tier == "complex"
        assert thrift.health()["failures"] == {"judgements": 2}


def test_policies_say_that_they_may_wait() -> None:
    asked = RatedComplexity(Rater("1"))
    assert asked.waits
    assert Rules([], default=asked).waits
    assert not Rules([]).waits
    assert asked.version != Complexity().version


@pytest.mark.parametrize(
    "options", [{"model": 7}, {"model": "gpt-4.1-nano"}, {"timeout_seconds": 0}, {"timeout_seconds": float("nan")}, {"remembered": 0}]
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ConfigurationError):
        RatedComplexity(**{"model": str, **options})
