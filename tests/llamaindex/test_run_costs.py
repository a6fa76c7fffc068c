"""Cost trees of LlamaIndex agents and engines, from real clients."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent

from llmthrift_core.testing.answers import Answer, Question, ToolCall
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty
from tests.llamaindex.conftest import run

pytestmark = pytest.mark.loopback


def script(question: Question) -> Answer:
    """The outer agent asks a tool, which asks the inner agent, which asks another tool."""
    system = " ".join(text for role, text in question.messages if role == "system")
    if not any(role == "tool" for role, _ in question.messages):
        if "outer" in system:
            return Answer(tool_calls=(ToolCall("research", {"topic": "tea"}),))
        if "inner" in system:
            return Answer(tool_calls=(ToolCall("search", {"query": "tea"}),))
    return Answer("Done.")


def _shape(thrift: Any) -> list[str]:
    (row,) = thrift.report(by="run").to_dicts()
    return ["." * node["depth"] + node["name"] for node in thrift.run_costs(row["run"]).to_dicts()]


@pytest.mark.parametrize("door", ["handler", "thrifty", "router"])
def test_a_nested_agent_stands_below_the_tool_that_called_it(thrift, openai, provider, door):
    provider.answerer = script
    llm: Any = openai()
    if door == "handler":
        ThriftEventHandler(thrift).install()
    elif door == "thrifty":
        llm = thrifty(llm, thrift, cache=False)
    else:
        llm = RouterLLM(thrift, models={"only": llm}, cache=False)

    def search(query: str) -> str:
        """Search."""
        thrift.record_cost("search fee", "0.005")
        return "tea is hot"

    inner = FunctionAgent(name="researcher", tools=[search], llm=llm, system_prompt="inner")

    async def research(topic: str) -> str:
        """Research."""
        return str(await inner.run(topic))

    outer = FunctionAgent(name="clerk", tools=[research], llm=llm, system_prompt="outer")

    async def go() -> str:
        return str(await outer.run("Hello"))

    assert run(go()) == "Done."
    assert _shape(thrift) == [
        "clerk",
        ".gpt-4o-mini-2024-07-18",
        ".research",
        "..researcher",
        "...gpt-4o-mini-2024-07-18",
        "...search",
        "....search fee",
        "...gpt-4o-mini-2024-07-18",
        ".gpt-4o-mini-2024-07-18",
    ]
    (row,) = thrift.report(by="run").to_dicts()
    found = thrift.run_costs(row["run"])
    assert found.total_usd == row["cost_usd"] + Decimal("0.005")


def test_the_calls_of_an_engine_are_one_run(thrift, openai):
    ThriftEventHandler(thrift).install()
    index = SummaryIndex.from_documents([Document(text="We ship on Mondays."), Document(text="Never on Sundays.")])
    index.as_query_engine(llm=openai(), response_mode="tree_summarize").query("When do you ship?")
    shape = _shape(thrift)
    assert shape[0].endswith(".query")
    assert [name.lstrip(".") for name in shape[1:]] == ["gpt-4o-mini-2024-07-18"]
