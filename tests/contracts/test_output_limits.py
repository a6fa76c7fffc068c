"""A door that is given `output=` bounds answers, and asks once more where one was paid and is empty: both frameworks, four ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import convert_to_messages
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, BudgetExceededError, Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import EarlyStop, OutputLimits
from llmthrift_core.testing import Answer, LoopbackProvider
from tests.contracts.doors import LlamaIndexDoor, ask, client, llm

pytestmark = pytest.mark.loopback

WAYS = ("invoke", "ainvoke", "stream", "astream")
STREAMS = ("stream", "astream")
THINKS = "gpt-5-nano"
TURNS = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Summarize the tale of the bridge."}]
EMPTY = Answer(reasoning_tokens=300)


def _langchain_model(provider: LoopbackProvider, model: str | None, **fields: Any) -> Any:
    fields |= {} if model is None else {"model_name": model}
    return client(provider).model_copy(update=fields)


def _llamaindex_model(provider: LoopbackProvider, model: str | None, **fields: Any) -> Any:
    fields |= {} if model is None else {"model": model}
    return llm(provider).model_copy(update=fields)


def _langchain(thrift: Thrift, provider: LoopbackProvider, *, model: str | None = None, fields: Any = None, **options: Any) -> Any:
    return lc.thrifty(_langchain_model(provider, model, **(fields or {})), thrift, **options)


def _langchain_router(thrift: Thrift, provider: LoopbackProvider, *, model: str | None = None, fields: Any = None, **options: Any) -> Any:
    models = {"simple": _langchain_model(provider, model, **(fields or {})), "complex": _langchain_model(provider, "gpt-4o")}
    return lc.ChatRouter(thrift, models=models, policy=lambda request: "simple", **options)


def _llamaindex(thrift: Thrift, provider: LoopbackProvider, *, model: str | None = None, fields: Any = None, **options: Any) -> Any:
    return li.thrifty(_llamaindex_model(provider, model, **(fields or {})), thrift, **options)


def _llamaindex_router(thrift: Thrift, provider: LoopbackProvider, *, model: str | None = None, fields: Any = None, **options: Any) -> Any:
    models = {"simple": _llamaindex_model(provider, model, **(fields or {})), "complex": _llamaindex_model(provider, "gpt-4o")}
    return li.RouterLLM(thrift, models=models, policy=lambda request: "simple", **options)


Door = Callable[..., Any]
DOORS = [_langchain, _langchain_router, _llamaindex, _llamaindex_router]
doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__.strip("_"))
ways = pytest.mark.parametrize("how", WAYS)


def _call(model: Any, **options: Any) -> str:
    if isinstance(model, lc.ChatRouter):
        return str(model.invoke(convert_to_messages([dict(turn) for turn in TURNS]), **options).content)
    return LlamaIndexDoor(model).ask([ChatMessage(**turn) for turn in TURNS], **options)


def _limit(body: Any) -> int | None:
    return body.get("max_completion_tokens") or body.get("max_tokens")


def _is_empty(text: str) -> bool:
    return text in ("", "None")  # LlamaIndex's messages without a text have None


def _answers(provider: LoopbackProvider, *answers: Answer | str) -> None:
    waiting = list(answers)
    provider.answerer = lambda question: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@doors
@ways
def test_an_answer_is_capped_and_told(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, output=OutputLimits(), cache=False), TURNS, how)
    body = provider.requests[-1].body
    assert _limit(body) == 300
    assert body["messages"][0]["content"] == "You are brief.\nAnswer in at most 225 words."
    assert len(body["messages"]) == 2
    assert "reasoning_effort" not in body


@doors
def test_without_a_system_message_there_is_one(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, output=OutputLimits(), cache=False), TURNS[1:])
    roles = [(each["role"], each["content"]) for each in provider.requests[-1].body["messages"]]
    assert roles == [("system", "Answer in at most 225 words."), ("user", TURNS[1]["content"])]


@doors
@pytest.mark.parametrize(("own", "words"), [(2_000, 225), (40, 30)])
def test_the_applications_own_limit_stays(door: Door, own: int, words: int, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, fields={"max_tokens": own}, output=OutputLimits(), cache=False), TURNS)
    assert _limit(provider.requests[-1].body) == own
    assert f"at most {words} words" in provider.requests[-1].body["messages"][0]["content"]


@doors
def test_a_call_can_be_left_alone_or_have_limits_of_its_own(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    model = door(thrift, provider, output=OutputLimits(), cache=False)
    _call(model, output="off")
    body = provider.requests[-1].body
    assert _limit(body) is None
    assert body["messages"][0]["content"] == "You are brief."
    _call(model, output=OutputLimits(caps={"summary": 80}))
    assert _limit(provider.requests[-1].body) == 80
    with pytest.raises(ConfigurationError, match="OutputLimits"):
        _call(model, output="on")
    with pytest.raises(ConfigurationError, match="OutputLimits"):
        door(thrift, provider, output=300)


@doors
def test_a_reasoning_model_has_room_and_low_effort(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, model=THINKS, output=OutputLimits(headroom_tokens=1_000), cache=False), TURNS)
    body = provider.requests[-1].body
    assert (_limit(body), body["reasoning_effort"]) == (1_300, "low")


@doors
def test_the_applications_own_effort_stays(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    ask(door(thrift, provider, model=THINKS, fields={"reasoning_effort": "high"}, output=OutputLimits(), cache=False), TURNS)
    assert provider.requests[-1].body["reasoning_effort"] == "high"


@doors
@ways
def test_a_paid_empty_answer_is_asked_for_once_more(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY, "The bridge stands.")
    assert ask(door(thrift, provider, model=THINKS, output=OutputLimits(), cache=False), TURNS, how) == "The bridge stands."
    efforts = [request.body["reasoning_effort"] for request in provider.requests]
    assert efforts == ["low", "minimal"]
    second, first = thrift.ledger.calls()
    assert (first.attempt, first.attempt_reason, first.reasoning_tokens) == (1, None, 300)
    assert (second.attempt, second.attempt_reason, second.call_id) == (2, "retry", first.call_id)
    assert (first.error, first.escalated, second.error) == (None, 0, None)
    assert first.cost_usd > 0
    assert thrift.report().total["cost_usd"] == first.cost_usd + second.cost_usd
    assert "reasoning_without_answers" in [each.kind for each in thrift.optimizations().opportunities]


@doors
@ways
def test_a_second_empty_answer_is_the_answer(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY)
    assert _is_empty(ask(door(thrift, provider, model=THINKS, output=OutputLimits(), cache=False), TURNS, how))
    assert len(provider.requests) == 2
    assert [row.error for row in thrift.ledger.calls()] == [None, None]


@doors
def test_a_model_that_knows_no_lower_effort_gets_a_higher_limit(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY, "The bridge stands.")
    ask(door(thrift, provider, model="o4-mini", output=OutputLimits(headroom_tokens=700), cache=False), TURNS)
    assert [(_limit(each.body), each.body["reasoning_effort"]) for each in provider.requests] == [(1_000, "low"), (3_000, "low")]


@doors
def test_the_applications_own_limit_is_never_raised(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY)
    ask(door(thrift, provider, model="o4-mini", fields={"max_tokens": 900}, output=OutputLimits(), cache=False), TURNS)
    assert [_limit(each.body) for each in provider.requests] == [900]


@doors
def test_a_failed_second_attempt_leaves_the_empty_answer(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    def answer(question: Any) -> Answer:
        provider.fail_next(status=400)
        return EMPTY

    provider.answerer = answer
    assert _is_empty(ask(door(thrift, provider, model=THINKS, output=OutputLimits(), cache=False), TURNS))
    assert [(row.error is None, row.attempt_reason) for row in thrift.ledger.calls()] == [(False, "retry"), (True, None)]


@doors
@pytest.mark.parametrize("how", ["invoke", "astream"])
def test_a_budget_without_room_leaves_the_empty_answer(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY)
    thrift.budgets.add(Budget(limit_tokens=1_100, window="total"))
    assert _is_empty(ask(door(thrift, provider, model="o4-mini", output=OutputLimits(headroom_tokens=700), cache=False), TURNS, how))
    assert len(provider.requests) == 1


@doors
def test_what_is_reserved_is_the_cap(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_tokens=200, window="total"))
    with pytest.raises(BudgetExceededError):
        ask(door(thrift, provider, output=OutputLimits(), cache=False), TURNS)
    assert not provider.requests
    ask(door(thrift, provider, output=OutputLimits(caps={"summary": 60}), cache=False), TURNS)
    assert len(provider.requests) == 1


@doors
def test_answers_of_different_limits_are_kept_apart(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    for limits in (None, OutputLimits(), OutputLimits(caps={"summary": 90}), OutputLimits(), None):
        ask(door(thrift, provider, output=limits, cache=True), TURNS)
    assert len(provider.requests) == 3


@doors
def test_the_second_answer_is_kept(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY, "The bridge stands.")
    model = door(thrift, provider, model=THINKS, output=OutputLimits(), cache=True)
    assert [ask(model, TURNS) for _ in range(2)] == ["The bridge stands."] * 2
    assert len(provider.requests) == 2


@doors
def test_observing_changes_nothing(door: Door, provider: LoopbackProvider, thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    _answers(provider, EMPTY)
    ask(door(thrift, provider, model=THINKS, output=OutputLimits(), cache=False), TURNS)
    (request,) = provider.requests
    assert _limit(request.body) is None
    assert "reasoning_effort" not in request.body
    assert request.body["messages"][0]["content"] == "You are brief."


@doors
@pytest.mark.parametrize("how", STREAMS)
def test_a_stream_ends_when_enough_has_come(door: Door, how: str, provider: LoopbackProvider, thrift: Thrift) -> None:
    provider.answerer = lambda question: '{"year": 1911} ' + "and I hope that this helps. " * 200
    limits = OutputLimits(caps={"summary": 3_000}, early_stop=lambda: EarlyStop(json=True))
    model = door(thrift, provider, output=limits, cache=True)
    for _ in range(2):  # half an answer is not kept
        assert ask(model, TURNS, how) == '{"year": 1911}'
    rows = thrift.ledger.calls()
    assert [(row.error, row.cache, row.estimated) for row in rows] == [(None, None, True)] * 2
    assert all(0 < row.output_tokens < 30 for row in rows)


@pytest.mark.parametrize("door", [_langchain, _llamaindex], ids=["langchain", "llamaindex"])
def test_tools_are_neither_capped_nor_instructed(door: Door, provider: LoopbackProvider, thrift: Thrift) -> None:
    from tests.contracts.doors import Door as Calls

    model = door(thrift, provider, output=OutputLimits(), cache=False)
    calls = (Calls(model) if door is _langchain else LlamaIndexDoor(model)).call_tool("Summarize order 12.")
    assert [name for name, _ in calls] == ["get_order_status"]
    body = provider.requests[-1].body
    assert _limit(body) is None
    assert [each["role"] for each in body["messages"]] == ["user"]


def test_agents_are_limited_through_the_middleware(provider: LoopbackProvider, thrift: Thrift) -> None:
    _answers(provider, EMPTY, "The bridge stands.")
    agent = create_agent(_langchain_model(provider, THINKS), middleware=[lc.ThriftMiddleware(thrift, output=OutputLimits())])
    assert agent.invoke({"messages": [("user", TURNS[1]["content"])]})["messages"][-1].content == "The bridge stands."
    assert [row.attempt_reason for row in thrift.ledger.calls()] == ["retry", None]


def test_a_prompt_to_complete_gets_a_last_line(provider: LoopbackProvider, thrift: Thrift) -> None:
    _llamaindex(thrift, provider, output=OutputLimits(), cache=False).complete("Summarize it.")
    assert provider.requests[-1].body["messages"][-1]["content"] == "Summarize it.\nAnswer in at most 225 words."
