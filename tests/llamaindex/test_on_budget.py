"""`on_budget="answer"`: a polite response where a budget refuses, through both doors and in agents."""

from __future__ import annotations

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.calls.refusals import POLITE
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_llamaindex import RouterLLM, thrifty
from llmthrift_llamaindex.codec import mark_of
from tests.llamaindex.conftest import run

pytestmark = pytest.mark.loopback
ASKED = [ChatMessage("Hello")]


@pytest.fixture(params=["thrifty", "router"])
def llm(request, thrift, openai):
    thrift.budgets.add(Budget(limit_requests=1, per="run", name="once"))
    if request.param == "thrifty":
        return thrifty(openai(), thrift, cache=False, on_budget="answer")
    return RouterLLM(thrift, models={"only": openai()}, cache=False, on_budget="answer")


def test_whole_answers_and_streams_are_polite(llm, thrift, provider):
    async def astream() -> list[str]:
        return [piece.delta async for piece in await llm.astream_chat(ASKED)]

    async def acomplete_stream() -> list[str]:
        return [piece.delta async for piece in await llm.astream_complete("Hello")]

    with attribute(run="one"):
        assert llm.chat(ASKED).message.content != POLITE
        refused = llm.chat(ASKED)
        assert refused.message.content == POLITE
        assert (mark_of(refused)["source"], mark_of(refused)["budget"], mark_of(refused)["cost_usd"]) == ("budget_limit", "once", "0")
        assert "made 1" in mark_of(refused)["reason"]
        assert run(llm.achat(ASKED)).message.content == POLITE
        assert (llm.complete("Hello").text, run(llm.acomplete("Hello")).text) == (POLITE, POLITE)
        assert [piece.delta for piece in llm.stream_chat(ASKED)] == [POLITE]
        assert [piece.text for piece in llm.stream_complete("Hello")] == [POLITE]
        assert (run(astream()), run(acomplete_stream())) == ([POLITE], [POLITE])
    assert (len(provider.requests), thrift.report().total["requests"], thrift.budgets.holds()) == (1, 1, [])


def test_an_agent_ends_with_it(llm, thrift, provider):
    def note(text: str) -> str:
        """Note a text."""
        return "Noted."

    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("note", {"text": "x"}),))

    async def work() -> str:
        return str(await FunctionAgent(tools=[note], llm=llm).run("Note."))

    with attribute(run="one"):
        assert run(work()) == POLITE
    assert len(provider.requests) == 1


def test_default_raises_and_other_values_are_refused(thrift, openai):
    thrift.budgets.add(Budget(limit_requests=0))
    with pytest.raises(BudgetExceededError):
        thrifty(openai(), thrift, cache=False).chat(ASKED)
    with pytest.raises(ConfigurationError, match="on_budget must be"):
        thrifty(openai(), thrift, on_budget="apologise")
