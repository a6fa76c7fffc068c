"""Checks that read log-probabilities, validate structure, and ask models, in a cascade of a `RouterLLM`: as through LangChain's router."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llmthrift_core import Budget, Thrift, attribute
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.routing.checks import BUILT_IN, ConsistencyCheck, JudgeCheck
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from llmthrift_llamaindex import RouterLLM, thrifty
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
from tests.llamaindex.conftest import Client, run

pytestmark = pytest.mark.loopback
MakeRouter = Callable[..., RouterLLM]


def look(number: int) -> str:
    """Look something up."""
    return str(number)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@pytest.fixture
def make(thrift: Thrift, provider: LoopbackProvider, openai: Client) -> MakeRouter:
    def router(*checks: Any, cache: bool = False, stream: Any = "hold", **options: Any) -> RouterLLM:
        cascade = Cascade(["weak", "strong"], checks=[*BUILT_IN, *checks])
        models = {"weak": openai(WEAK, **options), "strong": openai(STRONG, **options)}
        return RouterLLM(thrift, models=models, policy=CascadePolicy(cascade, stream=stream), cache=cache)

    return router


def judged_by(thrift: Thrift, openai: Client, **options: Any) -> JudgeCheck:
    return JudgeCheck(PointwiseJudge(thrifty(openai(JUDGE), thrift, cache=False), thrift=thrift), **options)


async def read(pieces: Any) -> str:
    return "".join([piece.delta or "" async for piece in await pieces])


@pytest.mark.parametrize(("probability", "expected"), [(0.9, KEPT), (0.3, ESCALATED)])
def test_unlikely_tokens_escalate_in_every_way_of_calling(thrift, provider, make, probability, expected):
    provider.answerer = of_both(weak=Answer(SOUND, logprob=math.log(probability)), strong=Answer(BETTER))
    llm, wanted = make(logprobs=True), SOUND if expected is KEPT else BETTER
    assert llm.complete(ASKED).text == wanted
    assert llm.chat([ChatMessage(ASKED)]).message.content == wanted
    assert run(llm.achat([ChatMessage(ASKED)])).message.content == wanted
    assert "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(ASKED)])) == wanted
    assert run(read(llm.astream_complete(ASKED))) == wanted
    assert answers(thrift) == expected * 5


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        (calling("look", number="many"), "break the rule 'int_parsing'"),
        (calling("look"), "break the rule 'missing'"),
        (calling("search", number=1), "was not offered"),
        (calling("look", raw='{"number": 1'), "are not a JSON object"),
    ],
)
def test_invalid_calls_of_tools_escalate(thrift, provider, make, weak, reason):
    provider.answerer = of_both(weak=weak, strong=calling("look", number=1))
    llm, tools = make(), [FunctionTool.from_defaults(look)]

    async def last() -> Any:
        return [piece async for piece in await llm.astream_chat_with_tools(tools, "Look up number 1.")][-1]

    for response in (
        llm.chat_with_tools(tools, "Look up number 1."),
        run(llm.achat_with_tools(tools, "Look up number 1.")),
        list(llm.stream_chat_with_tools(tools, "Look up number 1."))[-1],
        run(last()),
    ):
        assert [call.tool_kwargs for call in llm.get_tool_calls_from_response(response)] == [{"number": 1}]
    assert reason in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED * 4


def test_valid_calls_of_tools_are_kept_and_no_model_judges_them(thrift, provider, openai, make):
    provider.answerer = of_both(weak=calling("look", number=3), strong=calling("look", number=1))
    llm = make(judged_by(thrift, openai))
    response = llm.chat_with_tools([FunctionTool.from_defaults(look)], "Look up number 3.")
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"number": 3}
    assert answers(thrift) == KEPT
    assert asked_for_checks(thrift) == []


def test_structured_output_that_cannot_be_parsed_escalates(thrift, provider, make):
    provider.answerer = of_both(weak=calling("City", name="Oslo"), strong=calling("City", name="Oslo", people=717_710))
    found = make().structured_predict(City, PromptTemplate("Which city is it?"))
    assert found == City(name="Oslo", people=717_710)
    assert "'missing'" in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED


@pytest.mark.parametrize("kind", ["openai", "responses", "anthropic"])
def test_what_is_valid_is_kept_whatever_the_providers_format(thrift, provider, kind, request):
    made = request.getfixturevalue(kind)
    names = ("claude-haiku-4-5", "claude-sonnet-4-5") if kind == "anthropic" else (WEAK, STRONG)
    llm = RouterLLM(
        thrift, models=dict(zip(("weak", "strong"), map(made, names), strict=True)), policy=Cascade(["weak", "strong"]), cache=False
    )
    tools = [FunctionTool.from_defaults(look)]
    response = llm.chat_with_tools(tools, "Look up number 7.", tool_required=True)
    assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"number": 7}
    list(llm.stream_chat_with_tools(tools, "Please look."))
    assert isinstance(llm.structured_predict(City, PromptTemplate("Which city?")), City)
    thrift.flush()
    assert [row.attempt_reason for row in thrift.ledger.calls()] == [None] * 3


def test_json_that_is_asked_for_by_hand_is_checked(thrift, provider, make):
    provider.answerer = of_both(weak=Answer("Oslo"), strong=Answer('{"name": "Oslo"}'))
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object", "required": ["name"]}}}
    assert make().chat([ChatMessage("Which city is it?")], response_format=form).message.content == '{"name": "Oslo"}'
    assert "not the JSON" in reason_of_escalation(thrift)


@pytest.mark.parametrize(("score", "expected"), [(9, KEPT), (4, ESCALATED)])
def test_the_judge_decides_and_is_asked_once_for_an_answer(thrift, provider, openai, make, score, expected):
    provider.answerer = judging = Judging(score)
    llm = make(judged_by(thrift, openai))
    with attribute(user="ada"):
        llm.complete(ASKED)
        run(llm.acomplete(ASKED))
        list(llm.stream_complete(ASKED))
        run(read(llm.astream_complete(ASKED)))
    assert answers(thrift) == expected * 4
    assert judging.times == 1
    assert asked_for_checks(thrift) == [(JUDGE, "ada", "evaluation")]


@pytest.mark.parametrize(("unjudged", "expected"), [("keep", KEPT), ("reject", ESCALATED)])
@pytest.mark.parametrize("says", ["It is a fine answer.", ValueError("down")])
def test_a_judge_that_gives_no_judgement_leaves_it_to_the_other_checks(thrift, provider, openai, make, says, unjudged, expected, caplog):
    provider.answerer = Judging(says)
    make(judged_by(thrift, openai, unjudged=unjudged)).complete(ASKED)
    assert answers(thrift) == expected
    assert SOUND not in caplog.text


def test_a_judge_that_hangs_is_waited_for_so_long_and_no_longer(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    try:
        assert make(judged_by(thrift, openai, timeout_seconds=0.2)).complete(ASKED).text == SOUND
        assert answers(thrift) == KEPT
    finally:
        judging.go.set()
        threads_end()


def test_the_event_loop_goes_on_while_the_judge_thinks(thrift, provider, openai, make):
    provider.answerer = judging = Judging(9)
    judging.waits = True
    llm = make(judged_by(thrift, openai))

    async def ask() -> str:
        asking = asyncio.ensure_future(llm.acomplete(ASKED))
        while not judging.times and not asking.done():
            await asyncio.sleep(0.01)
        judging.go.set()  # which nobody could do were the loop blocked
        return (await asking).text

    assert run(ask()) == SOUND
    assert judging.times == 1


def test_a_caller_who_goes_while_the_judge_thinks_has_paid_for_the_answer(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    thrift.budgets.add(Budget(limit_usd=1, window="day", name="all"))
    llm = make(judged_by(thrift, openai))

    async def go() -> None:
        asking = asyncio.ensure_future(llm.acomplete(ASKED))
        while not judging.times and not asking.done():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        judging.go.set()
        await asyncio.to_thread(threads_end)

    run(go())
    gone_but_paid(thrift)


def test_a_budget_that_refuses_the_judge_leaves_the_answer(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_usd=0, window="day", per="model", match={"model": JUDGE}, name="no judging"))
    assert make(judged_by(thrift, openai)).complete(ASKED).text == SOUND
    assert judging.times == 0
    assert thrift.budgets.holds() == []


def test_the_judge_belongs_to_the_run_of_the_call(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_requests=1, window="total", per="run", name="one call a run"))
    with attribute(feature="chat"):
        make(judged_by(thrift, openai)).complete(ASKED)
    assert (judging.times, answers(thrift)) == (0, KEPT)  # the run's only request was the weak model's
    thrift.budgets.remove("one call a run")
    with attribute(feature="chat"):
        make(judged_by(thrift, openai)).complete(ASKED)
    thrift.flush()
    (judgement,) = (row for row in thrift.ledger.calls() if row.request_type == "evaluation")
    assert judgement.run in {row.trace_id for row in thrift.ledger.calls() if row.request_type is None}
    assert (judgement.feature, judgement.config_version) == (
        "chat",
        next(row.config_version for row in thrift.ledger.calls() if row.model.startswith(WEAK)),
    )


def test_a_cached_answer_is_not_judged_again(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    llm = make(judged_by(thrift, openai), cache=True)
    assert llm.complete(ASKED).text == llm.complete(ASKED).text == BETTER
    assert judging.times == 1
    assert answers(thrift) == [*ESCALATED, ("strong", None)]


def test_a_stream_that_is_out_costs_no_judgement(thrift, provider, openai, make):
    provider.answerer = judging = Judging(4)
    list(make(judged_by(thrift, openai), stream="pass").stream_complete(ASKED))
    assert judging.times == 0
    assert answers(thrift) == KEPT


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (("The answer is Oslo.", "The answer is oslo", "The answer is Rome."), KEPT),
        (("It is Rome.", "The answer is Oslo.", "The answer is Bergen."), ESCALATED),
    ],
)
@pytest.mark.parametrize("way", ["complete", "achat", "stream_chat"])
def test_answers_that_the_model_does_not_repeat_escalate(thrift, provider, make, others, expected, way):
    left, lock = ["The answer is Oslo.", *others], threading.Lock()

    def answer(question: Any) -> Answer:
        with lock:
            return Answer(left.pop(0) if question.model == WEAK else "It is Bern.")

    provider.answerer = answer
    llm = make(ConsistencyCheck(samples=3))

    async def chat() -> Any:
        with attribute(user="ada"):  # inside: the loop of these tests has a context of its own
            return await llm.achat([ChatMessage("What is the capital?")])

    with attribute(user="ada"):
        if way == "achat":
            run(chat())
        elif way == "complete":
            llm.complete("What is the capital?")
        else:
            list(llm.stream_chat([ChatMessage("What is the capital?")]))
    assert answers(thrift) == expected
    assert asked_for_checks(thrift) == [(WEAK, "ada", "routing")] * 3
    assert [request.body.get("temperature") for request in provider.requests if request.body["model"] == WEAK][1:] == [0.7] * 3
