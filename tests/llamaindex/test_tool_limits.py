"""Limits on the tool calls of a run, through both doors."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.llamaindex.conftest import run

pytestmark = pytest.mark.loopback


def twice(question: Any) -> Answer:
    return Answer(tool_calls=(ToolCall("search", {"query": "one"}), ToolCall("search", {"query": "two"})))


def tool_of(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "Search.", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("door", ["thrifty", "router"])
def test_an_answer_that_asks_for_too_many_is_refused(thrift, openai, provider, door):
    provider.answerer = twice
    thrift.budgets.add(Budget(limit_tool_calls=3, per="run"))
    llm = thrifty(openai(), thrift, cache=False) if door == "thrifty" else RouterLLM(thrift, models={"only": openai()}, cache=False)
    asked, tools = [ChatMessage("Find it.")], [tool_of("search")]

    async def stream() -> None:
        async for _ in await llm.astream_chat(asked, tools=tools):
            pass

    with attribute(run="one"):
        llm.chat(asked, tools=tools)
        for ask in (
            lambda: llm.chat(asked, tools=tools),
            lambda: list(llm.stream_chat(asked, tools=tools)),
            lambda: run(llm.achat(asked, tools=tools)),
            lambda: run(stream()),
        ):
            with pytest.raises(BudgetExceededError, match="made 2, asked for 2 more of 3 tool calls"):
                ask()
    with attribute(run="other"):
        llm.chat(asked, tools=tools)
    assert [row["spent"] for row in thrift.budgets.status()] == [2, 2]
    assert (len(provider.requests), thrift.report().total["requests"]) == (6, 6)


def test_an_agent_runs_no_tool_beyond_the_limit(thrift, openai, provider):
    ran = []

    def note(text: str) -> str:
        """Note a text."""
        ran.append(text)
        return "Noted."

    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("note", {"text": str(len(question.messages))}),))
    thrift.budgets.add(Budget(limit_tool_calls=3, per="run"))
    agent = FunctionAgent(tools=[note], llm=thrifty(openai(), thrift, cache=False))

    async def work() -> None:
        await agent.run("Note.")

    with attribute(run="one"), pytest.raises(Exception, match="of 3 tool calls"):
        run(work())
    assert (len(ran), len(provider.requests)) == (3, 4)
