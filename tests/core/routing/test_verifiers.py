"""Checks that decide by themselves: structure, a judge, self-consistency; and how a cascade asks them."""

from __future__ import annotations

import math
import random
import sys
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from llmthrift_core.attribution import attribute, attribution_of, current_attribution
from llmthrift_core.background.off_loop import in_own_thread
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, JudgeError, MissingExtraError
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import (
    AnswerContext,
    Bounded,
    Bounds,
    Cascade,
    CascadePolicy,
    Example,
    RatedComplexity,
    RouteRequest,
    Sticky,
    Tiers,
    ToolCall,
)
from llmthrift_core.routing.checks import (
    BUILT_IN,
    ConsistencyCheck,
    Finding,
    JudgeCheck,
    StructureCheck,
    Verifier,
    agreement_of,
    log_probabilities,
)

MODELS = ("weak", "strong")
SOUND = "Oslo is the capital of Norway."
CITY = {"type": "object", "properties": {"name": {"type": "string"}, "people": {"type": "integer"}}, "required": ["name"]}


class City(BaseModel):
    """A city."""

    name: str
    people: int = 0


class Scripted:
    """A verifier that says what it is told to, and notes its turn."""

    accepts_from: ClassVar[float] = 0.5

    def __init__(self, name: str, score: float | Exception | None, asked: list[str], *, waits: bool = False) -> None:
        self.name = name
        self.waits = waits
        self._score = score
        self._asked = asked

    def __call__(self, prompt: str, answer: str, context: Mapping[str, Any]) -> Finding | None:
        self._asked.append(self.name)
        if isinstance(self._score, Exception):
            raise self._score
        return None if self._score is None else Finding(self._score, f"{self.name} says {self._score}")


# --- log-probabilities ---


def test_log_probabilities_are_measured_and_neutral_where_there_are_none() -> None:
    assert log_probabilities("q", "a") == log_probabilities("q", "a", {"logprobs": ()}) == (1.0, *[0.0] * 6)
    logs = [math.log(0.9)] * 9 + [math.log(0.1)]
    score, present, mean, lowest, low, middle, unlikely = log_probabilities("q", "a", {"logprobs": logs})
    assert (present, lowest, low, middle, unlikely) == (1.0, math.log(0.1), math.log(0.9), math.log(0.9), 0.1)
    assert mean == pytest.approx((9 * math.log(0.9) + math.log(0.1)) / 10)
    assert score == pytest.approx(math.exp(mean) / 0.8)
    assert log_probabilities("q", "a", {"logprobs": [-math.inf, -9999.0, 0.1]})[3] == -20.0


def test_a_cascade_learns_from_log_probabilities_of_examples() -> None:
    chance = random.Random(2)
    examples = []
    for number in range(300):
        likely = chance.random()
        logs = {"logprobs": [math.log(0.2 + 0.79 * likely)] * 12}
        examples.append(Example(f"What about {number}?", "weak", float(chance.random() < likely), answer="It is so.", context=logs))
    cascade = Cascade(MODELS).fit(examples)
    sure = cascade.confidence("What about 7?", "It is so.", context={"logprobs": [math.log(0.97)] * 12})
    unsure = cascade.confidence("What about 7?", "It is so.", context={"logprobs": [math.log(0.25)] * 12})
    assert sure > 0.75 > 0.4 > unsure
    assert len({*examples}) == 300  # still hashable


# --- structure ---


@pytest.mark.parametrize("schema", [CITY, City])
def test_text_that_must_be_json_must_fit_its_schema(schema: Any) -> None:
    check = StructureCheck(schema)
    for good in ('{"name": "Oslo"}', '```json\n{"name": "Oslo", "people": 717710}\n```', ' {"name": "Oslo"}\n'):
        found = check("q", good, {})
        assert found is not None
        assert found.score == 1.0
    for bad in ("Oslo", '{"people": 1}', '{"name": "Oslo", "people": "many"}', "", '{"name": "Oslo"', "[" * 100_000):
        found = check("q", bad, {})
        assert found is not None
        assert found.score == 0.0
        assert "many" not in found.reason
        assert "Oslo" not in found.reason


def test_what_a_call_asks_for_is_checked_and_plain_text_is_not() -> None:
    check = StructureCheck()
    assert check("q", "Oslo", {}) is None
    assert check("q", "Oslo", {"schema": None, "tool_calls": (), "tool_required": False}) is None
    assert not Cascade(MODELS).accepts("q", SOUND, context={"schema": {}})
    assert not Cascade(MODELS).accepts("q", SOUND, context={"tool_required": True})
    assert Cascade(MODELS).accepts("q", '{"name": "Oslo"}', context={"schema": CITY})


@pytest.mark.parametrize(
    ("call", "accepted"),
    [
        (ToolCall("city", {"name": "Oslo"}), True),
        (ToolCall("city", {"name": 7}), False),
        (ToolCall("city", '{"name": '), False),
        (ToolCall("city", ["Oslo"]), False),
        (ToolCall("town", {"name": "Oslo"}), False),
    ],
)
@pytest.mark.parametrize("schema", [CITY, City])
def test_calls_of_tools(call: ToolCall, accepted: bool, schema: Any) -> None:
    context = {"tool_calls": (ToolCall("city", {"name": "Bergen"}), call), "tools": {"city": schema}}
    assert Cascade(MODELS).accepts("Which city?", "", context=context) is accepted


def test_tools_of_an_unknown_format_are_not_judged() -> None:
    assert Cascade(MODELS).accepts("q", "", context={"tool_calls": (ToolCall("anything", {}),), "tools": None})


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "https://example.com/city.json"}, {"$ref": "#/nowhere"}, {"properties": 7}, {"pattern": "("}]
)
def test_a_schema_that_is_none_speaks_against_no_answer_and_nothing_is_fetched(schema: Any) -> None:
    found = StructureCheck(schema)("q", '{"name": "Oslo"}', {})
    assert found is not None
    assert found.score == 1.0


def test_without_jsonschema_names_and_syntax_are_still_checked(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setitem(sys.modules, "jsonschema.validators", None)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[routing\]"):
        StructureCheck(CITY)
    cascade = Cascade(MODELS)
    assert cascade.accepts("q", "", context={"tool_calls": (ToolCall("city", {"name": 7}),), "tools": {"city": CITY}})
    assert not cascade.accepts("q", "", context={"tool_calls": (ToolCall("town", {}),), "tools": {"city": CITY}})
    assert not cascade.accepts("q", "", context={"tool_calls": (ToolCall("city", {"name": 7}),), "tools": {"city": City}})
    assert not cascade.accepts("q", "Oslo", context={"schema": CITY})
    cascade.accepts("q", "{}", context={"schema": CITY})
    assert caplog.text.count("jsonschema is not installed") == 1


# --- the order in which a cascade asks ---


def test_verifiers_that_wait_are_asked_last_and_the_first_rejection_ends_it() -> None:
    asked: list[str] = []
    cascade = Cascade(
        MODELS,
        checks=[
            Scripted("model", 0.9, asked, waits=True),
            *BUILT_IN,
            Scripted("cheap", 1.0, asked),
            Scripted("strict model", 0.4, asked, waits=True),
            Scripted("never", 0.0, asked, waits=True),
        ],
    )
    verdict = cascade.verdict("q", SOUND)
    assert (verdict.is_kept, verdict.reason) == (False, "the answer of weak: strict model says 0.4")
    assert verdict.confidence == pytest.approx(0.85)
    assert asked == ["cheap", "model", "strict model"]
    asked.clear()
    assert not cascade.accepts("q", "I'm sorry, but I cannot help with that.")
    assert asked == ["cheap"]
    asked.clear()
    assert cascade.accepts("q", SOUND, context={"is_out": True})
    assert cascade.accepts("q", "", context={"tool_calls": (ToolCall("any", {}),)})
    assert cascade.accepts("q", "", model="strong")
    cascade.confidence("q", SOUND)
    assert asked == ["cheap", "cheap"]


@pytest.mark.parametrize(("score", "kept"), [(None, True), (0.5, True), (0.49, False), (math.nan, False), (ValueError("secret"), False)])
def test_what_a_verifier_says(score: Any, kept: bool, caplog: pytest.LogCaptureFixture) -> None:
    cascade = Cascade(MODELS, checks=[Scripted("it", score, [], waits=True)])
    assert cascade.accepts("q", SOUND) is kept
    assert "secret" not in caplog.text
    assert isinstance(Scripted("it", 1.0, []), Verifier)


def test_facts_are_found_out_when_they_are_read_and_once() -> None:
    read: list[str] = []

    def fact(name: str) -> Any:
        return lambda: read.append(name) or ()

    context = AnswerContext(**{name: fact(name) for name in ("logprobs", "tool_calls", "conversation", "tools")})
    Cascade(MODELS).accepts("q", SOUND, context=context)
    assert sorted(read) == ["logprobs", "tool_calls"]
    assert (len(context), "tools" in context, context.get("schema")) == (4, True, None)


def test_a_review_names_the_reason_and_waiting_of_the_first_policy_is_known() -> None:
    asked = RatedComplexity(lambda prompt: "1")
    policy = CascadePolicy(Cascade(MODELS, checks=[Scripted("it", 0.2, [], waits=True)]), first=asked)
    found = policy.review(RouteRequest("q"), "weak", SOUND, Tiers(MODELS), {})
    assert found is not None
    assert found.next is not None
    assert (found.next.tier, found.next.reason) == ("strong", "the answer of weak: it says 0.2")
    assert policy.waits
    assert not CascadePolicy(Cascade(MODELS)).waits


# --- stored cascades ---


def examples() -> list[Example]:
    return [Example(f"q{number}", "weak", float(number % 2), answer="so" if number % 2 else "no, perhaps") for number in range(60)]


def test_a_cascade_that_was_stored_with_fewer_built_in_checks_still_loads() -> None:
    fitted = Cascade(MODELS, checks=[check for check in BUILT_IN if check is not log_probabilities]).fit(examples())
    loaded = Cascade.from_bytes(fitted.to_bytes())
    assert loaded.confidence("q", "so") == pytest.approx(fitted.confidence("q", "so"))
    assert not loaded.accepts("q", "", context={"tool_calls": (ToolCall("city", 7),)})


def test_a_cascade_with_verifiers_needs_them_again() -> None:
    judge = JudgeCheck(lambda question, answer: 0.9)
    fitted = Cascade(MODELS, checks=[*BUILT_IN, judge]).fit(examples())
    with pytest.raises(ConfigurationError, match=r"verifiers structure, judge .*, not structure"):
        Cascade.from_bytes(fitted.to_bytes())
    assert Cascade.from_bytes(fitted.to_bytes(), checks=[*BUILT_IN, judge]).version == fitted.version
    assert fitted.version != Cascade(MODELS).fit(examples()).version


# --- a judge ---


def test_a_judge_sees_the_conversation_and_whom_the_call_is_made_for() -> None:
    seen: list[Any] = []

    def judge(question: str, answer: str) -> float:
        who = current_attribution()
        seen.append((question, answer, who.user, who.request_type, threading.current_thread().daemon))
        return 0.9

    context = {"conversation": "system: Be brief.\nuser: q", "attribution": attribution_of(user="ada", request_type="chat")}
    assert Cascade(MODELS, checks=[JudgeCheck(judge)]).accepts("q", SOUND, context=context)
    assert seen == [("system: Be brief.\nuser: q", SOUND, "ada", "routing", True)]


@pytest.mark.parametrize(("accepts_from", "kept"), [(0.85, False), (0.8, True), (0.75, True)])
def test_the_threshold_of_a_judge(accepts_from: float, kept: bool) -> None:
    judge = PointwiseJudge(lambda prompt: f"{prompt.split()[-1]} 8", name="it")
    check = JudgeCheck(judge, accepts_from=accepts_from)
    assert Cascade(MODELS, checks=[check]).accepts("q", SOUND) is kept
    assert check.name == f"judge it from {accepts_from:g}, else keep"


@pytest.mark.parametrize("says", ["fine", 2, -0.1, math.nan, None, True, JudgeError("no", kind="unreadable")])
def test_no_judgement_is_kept_or_rejected_as_the_user_says(says: Any) -> None:
    def judge(question: str, answer: str) -> Any:
        if isinstance(says, Exception):
            raise says
        return says

    kept, rejected = (Cascade(MODELS, checks=[JudgeCheck(judge, unjudged=unjudged)]) for unjudged in ("keep", "reject"))
    assert kept.accepts("q", SOUND)
    assert rejected.accepts("q", SOUND) is (says is True)


def test_a_judge_that_is_down_is_left_alone_and_a_budget_that_refuses_is_not_its_fault(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []
    error: Exception = BudgetExceededError("no room")

    def model(prompt: str) -> str:
        asked.append(prompt)
        raise error

    cascade = Cascade(MODELS, checks=[JudgeCheck(PointwiseJudge(model, name="it"))])
    assert all(cascade.accepts(f"q{number}", SOUND) for number in range(6))
    assert len(asked) == 6
    error = ValueError("an answer")
    assert all(cascade.accepts(f"q{number}", SOUND) for number in range(6))
    assert len(asked) == 9
    assert "not asked for 60 s" in caplog.text
    assert "an answer" not in caplog.text


# --- self-consistency ---


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("42", "42.0", 1, 1),
        ("1,200 km", "1200", 1, 1),
        ("42", "41", 0, 0),
        ("Yes.", "yes", 1, 1),
        ("yes", "no", 0, 0),
        ("First 6 * 7 is 42.\n#### 42", "It takes 6 weeks of 7 days, so \\boxed{42}", 1, 1),
        ("We add 40 and 2. The answer is 42.", "We add 40 and 1. The answer is 41.", 0, 0),
        (SOUND, "The capital of Norway is Oslo.", 1, 1),
        (SOUND, "Bananas are rich in potassium and grow in warm places.", 0, 0.2),
        ("I answer: 42", "42", 1, 1),
        ("I can answer that at length, and will.", "I answer nothing at all here.", 0.1, 0.5),
        ("", "", 1, 1),
        ("", SOUND, 0, 0),
    ],
)
def test_agreement_of_answers(one: str, other: str, low: float, high: float) -> None:
    assert low <= agreement_of(one, other) <= high
    assert agreement_of(one, other) == agreement_of(other, one)


def test_samples_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)
    temperatures: list[float | None] = []

    def again(temperature: float | None) -> str:
        temperatures.append(temperature)
        together.wait()
        return SOUND

    cascade = Cascade(MODELS, checks=[ConsistencyCheck(samples=3, temperature=None)])
    assert cascade.accepts("q", SOUND, context={"ask_again": again})
    assert temperatures == [None] * 3


def test_samples_that_come_too_late_or_not_at_all_say_nothing() -> None:
    go = threading.Event()

    def hangs(temperature: float | None) -> str:
        go.wait(20)
        return "something else"

    check = ConsistencyCheck(samples=2, timeout_seconds=0.05)
    cascade = Cascade(MODELS, checks=[check])
    assert cascade.accepts("q", SOUND, context={"ask_again": hangs})
    assert cascade.accepts("q", SOUND)
    assert cascade.accepts("q", SOUND, context={"ask_again": lambda temperature: 1 / 0})
    go.set()


def test_an_agreement_of_ones_own() -> None:
    check = ConsistencyCheck(samples=1, agreement=lambda one, other: 0.4, accepts_from=0.41)
    verdict = Cascade(MODELS, checks=[check]).verdict("q", SOUND, context={"ask_again": lambda temperature: SOUND})
    assert (verdict.is_kept, "agrees with it by 0.40, below 0.41" in verdict.reason) == (False, True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StructureCheck("object"),
        lambda: JudgeCheck("gpt-4o"),
        lambda: JudgeCheck(print, accepts_from=0),
        lambda: JudgeCheck(print, accepts_from=True),
        lambda: JudgeCheck(print, unjudged="maybe"),
        lambda: JudgeCheck(print, timeout_seconds=0),
        lambda: ConsistencyCheck(samples=0),
        lambda: ConsistencyCheck(samples=40),
        lambda: ConsistencyCheck(temperature=0),
        lambda: ConsistencyCheck(agreement="equal"),
        lambda: ConsistencyCheck(accepts_from=1.1),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


# --- off the event loop ---


async def test_a_review_has_a_thread_of_its_own_with_the_callers_context() -> None:
    def look() -> tuple[str | None, str, bool]:
        return current_attribution().user, threading.current_thread().name, threading.current_thread().daemon

    with attribute(user="ada"):
        assert await in_own_thread(look) == ("ada", "llmthrift-review", True)

    def fails() -> None:
        raise KeyError("it")

    with pytest.raises(KeyError, match="it"):
        await in_own_thread(fails)


def test_policies_say_that_their_reviews_wait() -> None:
    judged = CascadePolicy(Cascade(MODELS, checks=[JudgeCheck(lambda question, answer: 1.0)]))
    names = {"weak": "gpt-4o-mini", "strong": "gpt-4o"}
    assert judged.reviews_wait
    assert Bounded(Sticky(judged, names), Bounds({})).reviews_wait
    assert not Bounded(CascadePolicy(Cascade(MODELS)), Bounds({})).reviews_wait
