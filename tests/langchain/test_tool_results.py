"""An agent's results are short from the start, the rest is fetched by a handle, and documents are compressed for a question."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.tools import tool

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import steps
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_langchain import ContextCompressor, ShortResults, ThriftMiddleware

ROWS = [{"flight": f"HAT{number}", "seats": {"economy": number}, "status": "available"} for number in range(200)]


@tool
def flights() -> str:
    """All flights."""
    return json.dumps(ROWS, indent=2)


@pytest.mark.loopback
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
async def test_results_are_short_on_entry_and_the_rest_can_be_fetched(thrift: Any, client: Any, provider: Any, how: str) -> None:
    def answer(asked: Any) -> Answer:
        said = str(asked.messages[-1][1])
        if handle := re.search(r'handle "(r-\w+)"', said):
            return Answer(tool_calls=(ToolCall("fetch_result", {"handle": handle[1], "length": 100_000}),))
        return Answer("Done.") if "HAT150" in said else Answer(tool_calls=(ToolCall("flights", {}),))

    provider.answerer = answer
    agent = create_agent(
        client(), [flights], middleware=[ThriftMiddleware(thrift, cache=False), ShortResults(steps.Compact(max_tokens=300))]
    )
    given = {"messages": [("user", "Which flights are there?")]}
    messages = (agent.invoke(given) if how == "invoke" else await agent.ainvoke(given))["messages"]
    results = [message for message in messages if message.type == "tool"]
    assert [message.name for message in results] == ["flights", "fetch_result"]
    assert '"columns"' in results[0].content
    assert len(results[0].content) < 1_200
    assert json.loads(results[1].content) == ROWS  # as it was
    assert messages[-1].content == "Done."
    sent = [request.body["messages"] for request in provider.requests]
    assert sent[1] == sent[2][: len(sent[1])]  # what was sent stays as it was


def test_results_that_cannot_be_shortened_stay() -> None:
    shorter = ShortResults()
    assert shorter.compact.shorten_result("Noted.") == "Noted."
    content = [{"type": "image", "url": "x"}, {"type": "text", "text": '{"a":   1}'}]
    assert shorter.compact.shorten_result(content) == [content[0], {"type": "text", "text": '{"a":1}'}]
    assert ShortResults(steps.Compact(max_tokens=None)).tools == []
    with pytest.raises(ConfigurationError, match="Compact"):
        ShortResults("short")  # type: ignore[arg-type]


def test_documents_for_a_question() -> None:
    text = "The bridge was built in 1911. " + "Bakers sell bread in the old street on weekdays. " * 9
    given = [Document("Cats sleep."), Document(text, metadata={"page": 3})]
    compressor = ContextCompressor(max_documents=1, share=0.2, embedder=False)
    (kept,) = compressor.compress_documents(given, "When was the bridge built?")
    assert kept.page_content.startswith("The bridge was built in 1911.")
    assert len(kept.page_content) < 0.5 * len(text)
    assert kept.metadata == {"page": 3, "relevance": 1.0}
    assert given[1].page_content == text
    with pytest.raises(ConfigurationError, match="share"):
        ContextCompressor(share=2.0).compress_documents(given, "When?")
