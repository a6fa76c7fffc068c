"""Every row says which tools were sent, how long their definitions are, and which ones the answer called: one door as the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import tool
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, Question, ToolCall
from tests.contracts.doors import _run, client

pytestmark = pytest.mark.loopback
WAYS = ["invoke", "ainvoke", "stream", "astream"]


def script(question: Question) -> Answer:
    return Answer(tool_calls=(ToolCall("look_up", {"order": 7}),)) if "order" in question.last_user_text else Answer("Hello.")


def look_up(order: int) -> str:
    """Where an order is, and when it will arrive."""
    return f"Order {order} is on its way."


def refund(order: int, amount: float, reason: str) -> str:
    """Give money back for an order, with a reason that the customer reads. Only a supervisor may give more than a hundred."""
    return "Done."


@pytest.fixture(params=["off", "features", "text"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of_langchain(model: Any, config: dict[str, Any]) -> Callable[[str, str], Any]:
    bound = model.bind_tools([tool(look_up), tool(refund)])

    def ask(way: str, text: str) -> None:
        async def later() -> None:
            if way == "ainvoke":
                await bound.ainvoke(text, config)
            else:
                _ = [chunk async for chunk in bound.astream(text, config)]

        if way.startswith("a"):
            _run(later())
        else:
            _ = bound.invoke(text, config) if way == "invoke" else list(bound.stream(text, config))

    return ask


def of_llama_index(llm: Any) -> Callable[[str, str], Any]:
    tools = [FunctionTool.from_defaults(look_up), FunctionTool.from_defaults(refund)]

    def ask(way: str, text: str) -> None:
        given = {"chat_history": [ChatMessage(text)]}

        async def later() -> None:
            if way == "ainvoke":
                await llm.achat_with_tools(tools, **given)
            else:
                _ = [piece async for piece in await llm.astream_chat_with_tools(tools, **given)]

        if way.startswith("a"):
            _run(later())
        else:
            _ = llm.chat_with_tools(tools, **given) if way == "invoke" else list(llm.stream_chat_with_tools(tools, **given))

    return ask


@pytest.mark.parametrize("door", ["langchain", "langchain handler", "llama_index", "llama_index handler", "llama_index anthropic"])
def test_rows_name_the_tools(door: str, capture: str) -> None:
    with LoopbackProvider(script) as provider, Thrift(":memory:", capture=capture) as thrift:
        handler = None
        openai = OpenAI(model="gpt-4o-mini", api_base=provider.openai_url, api_key="sk", max_retries=0)
        if door == "langchain":
            ask = of_langchain(lc.thrifty(client(provider), thrift, cache=False), {})
        elif door == "langchain handler":
            ask = of_langchain(client(provider), {"callbacks": [lc.ThriftCallbackHandler(thrift)]})
        elif door == "llama_index":
            ask = of_llama_index(li.thrifty(openai, thrift, cache=False))
        elif door == "llama_index anthropic":
            ask = of_llama_index(
                li.thrifty(Anthropic(model="claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="sk"), thrift, cache=False)
            )
        else:
            handler = li.ThriftEventHandler(thrift)
            handler.install()
            ask = of_llama_index(openai)
        try:
            for way in WAYS:
                ask(way, "Where is my order?")
            ask("invoke", "Good morning!")
        finally:
            if handler is not None:
                handler.uninstall()
        thrift.flush()
        rows = thrift.ledger.calls()
        assert len(rows) == 5
        if capture == "off":
            assert all(row.tools_sent is None and row.tools_called is None for row in rows)
            return
        called = [row.tools_called for row in rows]
        assert sorted(called, key=str) == [None, *['["look_up"]'] * 4]
        for row in rows:
            sent = json.loads(row.tools_sent)
            assert list(sent) == ["refund", "look_up"]  # the longest first
            assert sent["refund"] > sent["look_up"] > 60


def test_what_no_answer_calls_is_named_by_call_site() -> None:
    with LoopbackProvider(script) as provider, Thrift(":memory:", capture="features") as thrift:
        model = lc.thrifty(client(provider), thrift, cache=False).bind_tools([tool(look_up), tool(refund)])
        for number in range(25):
            with attribute(call_site="desk" if number < 20 else "shop"):
                model.invoke(f"Where is order {number}?")
        with attribute(call_site="plain"):
            lc.thrifty(client(provider), thrift, cache=False).invoke("Good morning!")
        found = thrift.anatomy()
        (unused,) = [each for each in found.suggestions if each.kind == "unused_tools"]
        assert unused.call_site == "desk"  # 5 calls are too few to say so
        assert unused.text.startswith("The tools refund are never called in 20 calls")
        rows = {row["call_site"]: row for row in found.to_dicts()}
        assert rows["desk"]["tools"] > rows["desk"]["other"] > 0
        assert rows["plain"]["tools"] == 0
        sent = json.loads(next(row for row in thrift.ledger.calls() if row.tools_sent).tools_sent)
        share = sent["refund"] / sum(sent.values())
        assert unused.saved_tokens == pytest.approx(share * rows["desk"]["tools"], abs=1)
        assert unused.saved_usd_a_month
        assert unused.saved_usd_a_month > 0


def test_a_hit_and_a_failure_call_no_tool() -> None:
    with LoopbackProvider(script) as provider, Thrift(":memory:") as thrift:
        model = lc.thrifty(client(provider), thrift).bind_tools([tool(look_up)])
        for _ in range(2):
            model.invoke("Where is my order?")
        provider.fail_next(status=500)
        with pytest.raises(Exception, match="500"):
            model.invoke("Where is the other order?")
        thrift.flush()
        told = {(row.cache, row.error is not None): row.tools_called for row in thrift.ledger.calls()}
        assert told == {(None, False): '["look_up"]', ("exact", False): None, (None, True): None}
