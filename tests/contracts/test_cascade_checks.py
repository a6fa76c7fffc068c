"""Checks that read log-probabilities, validate calls of tools, and ask models, in cascades of both frameworks, through real clients."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift, attribute
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.routing import Cascade, CascadePolicy
from llmthrift_core.routing.checks import BUILT_IN, ConsistencyCheck, JudgeCheck
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
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
from tests.contracts.doors import _ASYNC_CLIENT, Door, LlamaIndexDoor, _run

pytestmark = pytest.mark.loopback
HOWS = ("invoke", "ainvoke", "stream", "astream")


def look(number: int) -> str:
    """Look something up."""
    return str(number)


class LangChain:
    """LangChain's router, and its client of OpenAI."""

    wrong_rules = ("'type'", "'required'")

    def __init__(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        self._thrift, self._url = thrift, provider.openai_url

    def client(self, model: str, **options: Any) -> ChatOpenAI:
        given: dict[str, Any] = {"base_url": self._url, "api_key": "no key", "max_retries": 0, "http_async_client": _ASYNC_CLIENT}
        return ChatOpenAI(model=model, **given, **options)

    def metered(self, model: str) -> Any:
        return lc.thrifty(self.client(model), self._thrift, cache=False)

    def router(self, policy: Any, *, cache: bool, **options: Any) -> Door:
        models = {"weak": self.client(WEAK, **options), "strong": self.client(STRONG, **options)}
        return Door(lc.ChatRouter(self._thrift, models=models, policy=policy, cache=cache))

    def call_look(self, door: Door, prompt: str, how: str = "invoke") -> list[dict[str, Any]]:
        """The arguments of the calls of the tool. No piece of a rejected answer comes through."""
        model = door.model.bind_tools([tool(look)])
        if how == "invoke":
            found = model.invoke(prompt)
        elif how == "ainvoke":
            found = _run(model.ainvoke(prompt))
        else:

            async def read() -> list[Any]:
                return [chunk async for chunk in model.astream(prompt)]

            pieces = list(model.stream(prompt)) if how == "stream" else _run(read())
            assert all("many" not in str(piece.tool_call_chunks) for piece in pieces)
            found = pieces[0]
            for piece in pieces[1:]:
                found += piece
        return [call["args"] for call in found.tool_calls]

    def begin(self, door: Door, prompt: str) -> asyncio.Future[Any]:
        return asyncio.ensure_future(door.model.ainvoke(prompt))


class LlamaIndex:
    """LlamaIndex's router, and its client of OpenAI."""

    wrong_rules = ("'int_parsing'", "'missing'")

    def __init__(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        self._thrift, self._url = thrift, provider.openai_url

    def client(self, model: str, **options: Any) -> OpenAI:
        given: dict[str, Any] = {"api_base": self._url, "api_key": "no key", "max_retries": 0, "async_http_client": _ASYNC_CLIENT}
        return OpenAI(model=model, **given, **options)

    def metered(self, model: str) -> Any:
        return li.thrifty(self.client(model), self._thrift, cache=False)

    def router(self, policy: Any, *, cache: bool, **options: Any) -> LlamaIndexDoor:
        models = {"weak": self.client(WEAK, **options), "strong": self.client(STRONG, **options)}
        return LlamaIndexDoor(li.RouterLLM(self._thrift, models=models, policy=policy, cache=cache))

    def call_look(self, door: LlamaIndexDoor, prompt: str, how: str = "invoke") -> list[dict[str, Any]]:
        llm, tools = door.model, [FunctionTool.from_defaults(look)]

        async def ask() -> Any:
            return await llm.achat_with_tools(tools, prompt)

        async def last() -> Any:
            return [piece async for piece in await llm.astream_chat_with_tools(tools, prompt)][-1]

        found = {
            "invoke": lambda: llm.chat_with_tools(tools, prompt),
            "ainvoke": lambda: _run(ask()),
            "stream": lambda: list(llm.stream_chat_with_tools(tools, prompt))[-1],
            "astream": lambda: _run(last()),
        }[how]()
        return [call.tool_kwargs for call in llm.get_tool_calls_from_response(found)]

    def begin(self, door: LlamaIndexDoor, prompt: str) -> asyncio.Future[Any]:
        return asyncio.ensure_future(door.model.achat([ChatMessage(prompt)]))


Framework = LangChain | LlamaIndex
Make = Callable[..., Any]


@pytest.fixture(params=[LangChain, LlamaIndex])
def framework(request: pytest.FixtureRequest, thrift: Thrift, provider: LoopbackProvider) -> Framework:
    made: Framework = request.param(thrift, provider)
    return made


@pytest.fixture
def make(framework: Framework) -> Make:
    def router(*checks: Any, cache: bool = False, stream: Any = "hold", **options: Any) -> Any:
        cascade = Cascade(["weak", "strong"], checks=[*BUILT_IN, *checks])
        return framework.router(CascadePolicy(cascade, stream=stream), cache=cache, **options)

    return router


@pytest.fixture
def judged(framework: Framework, thrift: Thrift) -> Callable[..., JudgeCheck]:
    return lambda **options: JudgeCheck(PointwiseJudge(framework.metered(JUDGE), thrift=thrift), **options)


# --- log-probabilities ---


@pytest.mark.parametrize(("probability", "expected"), [(0.9, KEPT), (0.3, ESCALATED)])
def test_unlikely_tokens_escalate_in_every_way_of_calling(thrift, provider, make, probability, expected):
    provider.answerer = of_both(weak=Answer(SOUND, logprob=math.log(probability)), strong=Answer(BETTER))
    door, wanted = make(logprobs=True), SOUND if expected is KEPT else BETTER
    assert [door.ask(ASKED, how) for how in HOWS] == [wanted] * 4
    assert answers(thrift) == expected * 4


def test_without_log_probabilities_nothing_changes(thrift, provider, make):
    provider.answerer = of_both(weak=Answer(SOUND, logprob=math.log(0.01)), strong=Answer(BETTER))
    assert make().ask(ASKED) == SOUND
    assert answers(thrift) == KEPT


# --- calls of tools ---


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        (calling("look", number="many"), 0),
        (calling("look"), 1),
        (calling("search", number=1), "was not offered"),
        (calling("look", raw='{"number": 1'), "are not a JSON object"),
    ],
)
def test_invalid_calls_of_tools_escalate(thrift, provider, framework, make, weak, reason):
    provider.answerer = of_both(weak=weak, strong=calling("look", number=1))
    door = make()
    assert [framework.call_look(door, "Look up number 1.", how) for how in HOWS] == [[{"number": 1}]] * 4
    wanted = f"break the rule {framework.wrong_rules[reason]}" if isinstance(reason, int) else reason
    assert wanted in reason_of_escalation(thrift)
    assert answers(thrift) == ESCALATED * 4


def test_valid_calls_of_tools_are_kept_and_no_model_judges_them(thrift, provider, framework, make, judged):
    provider.answerer = of_both(weak=calling("look", number=3), strong=calling("look", number=1))
    assert framework.call_look(make(judged()), "Look up number 3.") == [{"number": 3}]
    assert answers(thrift) == KEPT
    assert asked_for_checks(thrift) == []


# --- a judge ---


@pytest.mark.parametrize(("score", "expected"), [(9, KEPT), (4, ESCALATED)])
def test_the_judge_decides_and_is_asked_once_for_an_answer(thrift, provider, make, judged, score, expected):
    provider.answerer = judging = Judging(score)
    door = make(judged())
    with attribute(user="ada"):
        assert all(door.ask(ASKED, how) for how in HOWS)
    assert answers(thrift) == expected * 4
    assert judging.times == 1
    assert asked_for_checks(thrift) == [(JUDGE, "ada", "evaluation")]


def test_the_judge_is_not_asked_where_a_cheap_check_objects(thrift, provider, make, judged):
    provider.answerer = of_both(weak=Answer("I'm sorry, but I cannot help with that."), strong=Answer(BETTER))
    assert make(judged()).ask(ASKED) == BETTER
    assert asked_for_checks(thrift) == []


@pytest.mark.parametrize(("unjudged", "expected"), [("keep", KEPT), ("reject", ESCALATED)])
@pytest.mark.parametrize("says", ["It is a fine answer.", "9", ValueError("down"), -3])
def test_a_judge_that_gives_no_judgement_leaves_it_to_the_other_checks(thrift, provider, make, judged, says, unjudged, expected, caplog):
    provider.answerer = Judging(says)
    make(judged(unjudged=unjudged)).ask(ASKED)
    assert answers(thrift) == expected
    assert SOUND not in caplog.text


def test_a_judge_that_hangs_is_waited_for_so_long_and_no_longer(thrift, provider, make, judged):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    try:
        assert make(judged(timeout_seconds=0.2)).ask(ASKED) == SOUND
        assert not judging.go.is_set()  # it is still waiting for its answer
        assert answers(thrift) == KEPT
    finally:
        judging.go.set()
        threads_end()


def test_the_event_loop_goes_on_while_the_judge_thinks(provider, framework, make, judged):
    provider.answerer = judging = Judging(9)
    judging.waits = True
    door = make(judged())

    async def ask() -> Any:
        asking = framework.begin(door, ASKED)
        deadline = time.monotonic() + 120
        while not judging.times and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        judging.go.set()  # which nobody could do were the loop blocked
        return await asking

    assert SOUND in str(_run(ask()))
    assert judging.times == 1


def test_a_caller_who_goes_while_the_judge_thinks_has_paid_for_the_answer(thrift, provider, framework, make, judged):
    provider.answerer = judging = Judging(4)
    judging.waits = True
    thrift.budgets.add(Budget(limit_usd=1, window="day", name="all"))
    door = make(judged())

    async def go() -> None:
        asking = framework.begin(door, ASKED)
        while not judging.times and not asking.done():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        judging.go.set()
        await asyncio.to_thread(threads_end)

    _run(go())
    gone_but_paid(thrift)


def test_a_budget_that_refuses_the_judge_leaves_the_answer(thrift, provider, make, judged):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_usd=0, window="day", per="model", match={"model": JUDGE}, name="no judging"))
    assert make(judged()).ask(ASKED) == SOUND
    assert judging.times == 0
    assert thrift.budgets.holds() == []


def test_the_judges_cost_counts_against_the_users_budget(thrift, provider, make, judged):
    thrift.budgets.add(Budget(limit_usd=1, window="day", per="user", name="users"))
    provider.answerer = Judging(9)
    with attribute(user="ada"):
        make(judged()).ask(ASKED)
    thrift.flush()
    spent = sum(row.cost_nano_usd for row in thrift.ledger.calls())
    (row,) = thrift.budgets.status({"user": "ada"})
    assert row["spent"] * 10**9 == spent
    assert len(thrift.ledger.calls()) == 2
    assert thrift.budgets.holds() == []


def test_the_judge_belongs_to_the_run_of_the_call(thrift, provider, make, judged):
    provider.answerer = judging = Judging(4)
    thrift.budgets.add(Budget(limit_requests=1, window="total", per="run", name="one call a run"))
    with attribute(feature="chat"):
        make(judged()).ask(ASKED)
    assert (judging.times, answers(thrift)) == (0, KEPT)  # the run's only request was the weak model's
    thrift.budgets.remove("one call a run")
    with attribute(feature="chat"):
        make(judged()).ask(ASKED)
    thrift.flush()
    (judgement,) = (row for row in thrift.ledger.calls() if row.request_type == "evaluation")
    assert judgement.run in {row.trace_id for row in thrift.ledger.calls() if row.request_type is None}
    assert (judgement.feature, judgement.config_version) == (
        "chat",
        next(row.config_version for row in thrift.ledger.calls() if row.model.startswith(WEAK)),
    )


def test_a_cached_answer_is_not_judged_again(thrift, provider, make, judged):
    provider.answerer = judging = Judging(4)
    door = make(judged(), cache=True)
    assert door.ask(ASKED) == door.ask(ASKED) == BETTER
    assert judging.times == 1
    assert answers(thrift) == [*ESCALATED, ("strong", None)]


def test_a_stream_that_is_out_costs_no_judgement(thrift, provider, make, judged):
    provider.answerer = judging = Judging(4)
    make(judged(), stream="pass").ask(ASKED, "stream")
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
@pytest.mark.parametrize("how", HOWS)
def test_answers_that_the_model_does_not_repeat_escalate(thrift, provider, make, others, expected, how):
    provider.answerer = in_turns("The answer is Oslo.", *others)
    door = make(ConsistencyCheck(samples=3))
    with attribute(user="ada"):
        door.ask("What is the capital?", how)
    assert answers(thrift) == expected
    assert asked_for_checks(thrift) == [(WEAK, "ada", "routing")] * 3
    temperatures = [request.body.get("temperature") for request in provider.requests if request.body["model"] == WEAK]
    assert temperatures[1:] == [0.7] * 3
    assert temperatures[0] != 0.7


def test_samples_that_fail_say_nothing(thrift, provider, make):
    provider.answerer = in_turns("The answer is Oslo.")  # the further requests meet an error
    assert make(ConsistencyCheck()).ask("What is the capital?") == "The answer is Oslo."
    assert answers(thrift) == KEPT


def test_samples_that_a_budget_refuses_say_nothing(thrift, provider, make):
    provider.answerer = in_turns("The answer is Oslo.", "It is Rome.", "It is Rome.", "It is Rome.")
    thrift.budgets.add(Budget(limit_requests=1, window="total", per="user", name="one a user"))
    with attribute(user="ada"):
        assert make(ConsistencyCheck()).ask("What is the capital?") == "The answer is Oslo."
    assert answers(thrift) == KEPT
    assert asked_for_checks(thrift) == []
    assert thrift.budgets.holds() == []
