"""Checks that read log-probabilities, validate structure, and ask models, in a cascade of the chat router, through real clients."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from pydantic import BaseModel

from llmthrift_core import Budget, Thrift, attribute
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.routing.checks import BUILT_IN, ConsistencyCheck, JudgeCheck
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from llmthrift_langchain import ChatRouter, thrifty
from tests.contracts.checked import (
    ASKED,
    BETTER,
    ESCALATED,
    JUDGE,
    KEPT,
    SOUND,
    STRONG,
    WEAK,
    Judging,
    answers,
    asked_for_checks,
    calling,
    gone_but_paid,
    of_both,
    reason_of_escalation,
    threads_end,
)
from tests.langchain.conftest import Client

pytestmark = pytest.mark.loopback
MakeRouter = Callable[..., ChatRouter]


@tool
def look(number: int) -> str:
    """Look something up."""
    return str(number)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def make(thrift: Thrift, provider: LoopbackProvider, client: Client) -> MakeRouter:
    def router(*checks: Any, cache: Any = False, stream: Any = "hold", **options: Any) -> ChatRouter:
        cascade = Cascade(["weak", "strong"], checks=[*BUILT_IN, *checks])
        models = {"weak": client(WEAK, **options), "strong": client(STRONG, **options)}
        return ChatRouter(thrift, models=models, policy=CascadePolicy(cascade, stream=stream), cache=cache)

    return router


def judged_by(thrift: Thrift, client: Client, **options: Any) -> JudgeCheck:
    return JudgeCheck(PointwiseJudge(thrifty(client(JUDGE), thrift, cache=False), thrift=thrift), **options)


# --- log-probabilities ---


@pytest.mark.parametrize(("probability", "expected"), [(0.9, KEPT), (0.3, ESCALATED)])
async def test_unlikely_tokens_escalate_in_every_way_of_calling(thrift, provider, make, probability, expected):
    provider.answerer = of_both(weak=Answer(SOUND, logprob=math.log(probability)), strong=Answer(BETTER))
    router, wanted = make(logprobs=True), SOUND if expected is KEPT else BETTER
    assert router.invoke(ASKED).content == wanted
    assert (await router.ainvoke(ASKED)).content == wanted
    assert "".join(str(chunk.content) for chunk in router.stream(ASKED)) == wanted
    assert "".join([str(chunk.content) async for chunk in router.astream(ASKED)]) == wanted
    assert answers(thrift) == expected * 4


def test_without_log_probabilities_nothing_changes(thrift, provider, make):
    provider.answerer = of_both(weak=Answer(SOUND, logprob=math.log(0.01)), strong=Answer(BETTER))
    assert make().invoke(ASKED).content == SOUND
    assert answers(thrift) == KEPT


# --- structure ---


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        (calling("look", number="many"), "break the rule 'type'"),
        (calling("look"), "break the rule 'required'"),
        (calling("search", number=1), "was not offered"),
        (calling("look", raw='{"number": 1'), "are not a JSON object"),
    ],
)
async def test_invalid_calls_of_tools_escalate(thrift, provider, make, weak, reason):
    provider.answerer = of_both(weak=weak, strong=calling("look", number=1))
    model = make().bind_tools([look])
    assert model.invoke("Look up number 1.").tool_calls[0]["args"] == {"number": 1}
    assert (await model.ainvoke("Look up number 1.")).tool_calls[0]["args"] == {"number": 1}
    assert reason in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED * 2


async def test_invalid_calls_of_tools_escalate_in_held_streams(thrift, provider, make):
    provider.answerer = of_both(weak=calling("look", number="many"), strong=calling("look", number=1))
    model = make().bind_tools([look])
    whole = None
    for chunk in model.stream("Look up number 1."):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"] == {"number": 1}
    pieces = [chunk async for chunk in model.astream("Look up number 1.")]
    assert all("many" not in str(piece.tool_call_chunks) for piece in pieces)
    assert answers(thrift) == ESCALATED * 2


def test_valid_calls_of_tools_are_kept_and_no_model_judges_them(thrift, provider, client, make):
    provider.answerer = of_both(weak=calling("look", number=3), strong=calling("look", number=1))
    model = make(judged_by(thrift, client)).bind_tools([look])
    assert model.invoke("Look up number 3.").tool_calls[0]["args"] == {"number": 3}
    assert answers(thrift) == KEPT
    assert asked_for_checks(thrift) == []


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_structured_output_that_cannot_be_parsed_escalates(thrift, provider, make, method):
    bad, good = {"name": "Oslo"}, {"name": "Oslo", "people": 717_710}
    if method == "function_calling":
        provider.answerer = of_both(weak=calling("City", **bad), strong=calling("City", **good))
    else:
        provider.answerer = of_both(weak=Answer('{"name": "Oslo"}'), strong=Answer('{"name": "Oslo", "people": 717710}'))
    # With a class, langchain-openai's client reads a json_schema answer itself, and raises before anybody can check it.
    schema = City.model_json_schema() if method == "json_schema" else City
    found = make().with_structured_output(schema, method=method).invoke("Which city is it? Reply in JSON.")
    assert found == (good if method == "json_schema" else City(**good))
    assert "'missing'" in reason_of_escalation(thrift) or "'required'" in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED


def test_a_pydantic_class_decides_as_it_will_in_the_application(thrift, provider, make):
    """ "717710" is no integer of JSON, and one of pydantic: the parser behind takes it, so nothing is escalated."""
    answer = calling("City", name="Oslo", people="717710")
    provider.answerer = of_both(weak=answer, strong=answer)
    assert make().with_structured_output(City, method="function_calling").invoke(ASKED) == City(name="Oslo", people=717_710)
    assert answers(thrift) == KEPT


@pytest.mark.parametrize("kind", ["chat completions", "responses", "anthropic"])
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_what_is_valid_is_kept_whatever_the_providers_format(thrift, provider, client, kind, method):
    if kind == "anthropic":
        given = {"base_url": provider.anthropic_url, "api_key": "no key", "max_retries": 0}
        weak, strong = (ChatAnthropic(model=name, **given) for name in ("claude-haiku-4-5", "claude-sonnet-4-5"))
    else:
        weak, strong = (client(name, use_responses_api=kind == "responses") for name in (WEAK, STRONG))
    router = ChatRouter(thrift, models={"weak": weak, "strong": strong}, policy=Cascade(["weak", "strong"]), cache=False)
    assert router.bind_tools([look], tool_choice="any").invoke("Look up number 7.").tool_calls[0]["args"] == {"number": 7}
    assert [chunk for chunk in router.bind_tools([look]).stream("Please look.") if chunk.tool_call_chunks]
    assert isinstance(router.with_structured_output(City, method=method).invoke("Which city?"), City)
    assert isinstance(router.with_structured_output(City.model_json_schema(), method=method).invoke("Which city?"), dict)
    thrift.flush()
    assert [row.attempt_reason for row in thrift.ledger.calls()] == [None] * 4


def test_a_tool_that_must_be_called_and_is_not_escalates(thrift, provider, make):
    provider.answerer = of_both(weak=Answer(SOUND), strong=calling("look", number=1))
    assert make().bind_tools([look], tool_choice="any").invoke("Look up number 1.").tool_calls
    assert "must be called" in reason_of_escalation(thrift)


# --- a judge ---


@pytest.mark.parametrize(("score", "expected"), [(9, KEPT), (4, ESCALATED)])
async def test_the_judge_decides_and_is_asked_once_for_an_answer(thrift, provider, client, make, score, expected):
    provider.answerer = judging = Judging(score)
    router = make(judged_by(thrift, client))
    with attribute(user="ada"):
        router.invoke(ASKED)
        await router.ainvoke(ASKED)
        list(router.stream(ASKED))
        assert [chunk async for chunk in router.astream(ASKED)]
    assert answers(thrift) == expected * 4
    assert judging.times == 1
    assert asked_for_checks(thrift) == [(JUDGE, "ada", "evaluation")]


def test_the_judge_is_not_asked_where_a_cheap_check_objects(thrift, provider, client, make):
    provider.answerer = of_both(weak=Answer("I'm sorry, but I cannot help with that."), strong=Answer(BETTER))
    assert make(judged_by(thrift, client)).invoke(ASKED).content == BETTER
    assert asked_for_checks(thrift) == []


@pytest.mark.parametrize(("unjudged", "expected"), [("keep", KEPT), ("reject", ESCALATED)])
@pytest.mark.parametrize("says", ["It is a fine answer.", "9", ValueError("down"), -3])
def test_a_judge_that_gives_no_judgement_leaves_it_to_the_other_checks(thrift, provider, client, make, says, unjudged, expected, caplog):
    provider.answerer = Judging(says)
    make(judged_by(thrift, client, unjudged=unjudged)).invoke(ASKED)
    assert answers(thrift) == expected
    assert SOUND not in caplog.text


def test_a_judge_that_hangs_is_waited_for_so_long_and_no_longer(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    try:
        assert make(judged_by(thrift, client, timeout_seconds=0.2)).invoke(ASKED).content == SOUND
        assert not judging.go.is_set()  # it is still waiting for its answer
        assert answers(thrift) == KEPT
    finally:
        judging.go.set()
        threads_end()


async def test_the_event_loop_goes_on_while_the_judge_thinks(thrift, provider, client, make):
    provider.answerer = judging = Judging(9)
    judging.waits = True
    asking = asyncio.ensure_future(make(judged_by(thrift, client)).ainvoke(ASKED))
    deadline = time.monotonic() + 120
    while not judging.times and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert judging.times == 1
    judging.go.set()  # which nobody could do were the loop blocked
    assert (await asking).content == SOUND


async def test_a_caller_who_goes_while_the_judge_thinks_has_paid_for_the_answer(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    thrift.budgets.add(Budget(limit_usd=1, window="day", name="all"))
    asking = asyncio.ensure_future(make(judged_by(thrift, client)).ainvoke(ASKED))
    while not judging.times and not asking.done():
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    judging.go.set()
    await asyncio.to_thread(threads_end)
    gone_but_paid(thrift)


def test_a_budget_that_refuses_the_judge_leaves_the_answer(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_usd=0, window="day", per="model", match={"model": JUDGE}, name="no judging"))
    assert make(judged_by(thrift, client)).invoke(ASKED).content == SOUND
    assert judging.times == 0
    assert thrift.budgets.holds() == []


def test_the_judges_cost_counts_against_the_users_budget(thrift, provider, client, make):
    thrift.budgets.add(Budget(limit_usd=1, window="day", per="user", name="users"))
    provider.answerer = Judging(9)
    with attribute(user="ada"):
        make(judged_by(thrift, client)).invoke(ASKED)
    thrift.flush()
    spent = sum(row.cost_nano_usd for row in thrift.ledger.calls())
    (row,) = thrift.budgets.status({"user": "ada"})
    assert row["spent"] * 10**9 == spent
    assert len(thrift.ledger.calls()) == 2
    assert thrift.budgets.holds() == []


def test_the_judge_belongs_to_the_run_of_the_call(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_requests=1, window="total", per="run", name="one call a run"))
    with attribute(feature="chat"):
        make(judged_by(thrift, client)).invoke(ASKED)
    assert (judging.times, answers(thrift)) == (0, KEPT)  # the run's only request was the weak model's
    thrift.budgets.remove("one call a run")
    with attribute(feature="chat"):
        make(judged_by(thrift, client)).invoke(ASKED)
    thrift.flush()
    (judgement,) = (row for row in thrift.ledger.calls() if row.request_type == "evaluation")
    assert judgement.run in {row.trace_id for row in thrift.ledger.calls() if row.request_type is None}
    assert (judgement.feature, judgement.config_version) == (
        "chat",
        next(row.config_version for row in thrift.ledger.calls() if row.model.startswith(WEAK)),
    )


def test_a_cached_answer_is_not_judged_again(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    router = make(judged_by(thrift, client), cache=True)
    assert router.invoke(ASKED).content == router.invoke(ASKED).content == BETTER
    assert judging.times == 1
    assert answers(thrift) == [*ESCALATED, ("strong", None)]


def test_a_stream_that_is_out_costs_no_judgement(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    list(make(judged_by(thrift, client), stream="pass").stream(ASKED))
    assert judging.times == 0
    assert answers(thrift) == KEPT


# --- self-consistency ---


def in_turns(*texts: str) -> Callable[[Any], Answer]:
    """The weak model says these in turn, the strong model something else."""
    left, lock = list(texts), threading.Lock()

    def answer(question: Any) -> Answer:
        if question.model != WEAK:
            return Answer("It is Bern.")
        with lock:
            return Answer(left.pop(0))

    return answer


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("The answer is Oslo.", "The answer is oslo", "The answer is Rome."), KEPT),
        (("It is Rome.", "The answer is Oslo.", "The answer is Bergen."), ESCALATED),
    ],
)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_answers_that_the_model_does_not_repeat_escalate(thrift, provider, make, others, expected, way):
    provider.answerer = in_turns("The answer is Oslo.", *others)
    router = make(ConsistencyCheck(samples=3))
    with attribute(user="ada"):
        if way == "ainvoke":
            await router.ainvoke("What is the capital?")
        else:
            list(router.stream("What is the capital?")) if way == "stream" else router.invoke("What is the capital?")
    assert answers(thrift) == expected
    assert asked_for_checks(thrift) == [(WEAK, "ada", "routing")] * 3
    temperatures = [request.body.get("temperature") for request in provider.requests if request.body["model"] == WEAK]
    assert temperatures == [None, 0.7, 0.7, 0.7]


def test_samples_that_fail_say_nothing(thrift, provider, make):
    provider.answerer = in_turns("The answer is Oslo.")  # the further requests meet an error
    assert make(ConsistencyCheck()).invoke("What is the capital?").content == "The answer is Oslo."
    assert answers(thrift) == KEPT


def test_samples_that_a_budget_refuses_say_nothing(thrift, provider, make):
    provider.answerer = in_turns("The answer is Oslo.", "It is Rome.", "It is Rome.", "It is Rome.")
    thrift.budgets.add(Budget(limit_requests=1, window="total", per="user", name="one a user"))
    with attribute(user="ada"):
        assert make(ConsistencyCheck()).invoke("What is the capital?").content == "The answer is Oslo."
    assert answers(thrift) == KEPT
    assert asked_for_checks(thrift) == []
    assert thrift.budgets.holds() == []


@pytest.mark.filterwarnings("ignore:The method .* is in beta")
async def test_event_streams_are_out_before_they_are_reviewed(thrift, provider, client, make):
    provider.answerer = judging = Judging(4)
    router = make(judged_by(thrift, client))
    stream = await router.astream_events(ASKED, version="v3")
    assert SOUND in str([event async for event in stream])
    deadline = time.monotonic() + 120
    while not answers(thrift) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)  # LangChain reports the end of a run after its reader has learned of it
    assert judging.times == 0
    assert answers(thrift) == KEPT
