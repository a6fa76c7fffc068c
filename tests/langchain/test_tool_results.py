"""An agent's results are short from the start, the rest is fetched by a handle, and documents are compressed for a question."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from llmthrift_core.errors import ConfigurationError, PromptTooLongError
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_langchain import ContextCompressor, PromptShortener, ShortResults, ThriftMiddleware

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


@pytest.mark.loopback
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
async def test_a_chain_makes_its_prompt_shorter_without_a_door(client: Any, provider: Any, how: str) -> None:
    page = "The parcel   left on Monday.\n\n\n\n"
    prompt = ChatPromptTemplate([("system", "You help.   "), ("human", "{page}"), ("placeholder", "{before}"), ("human", "When?")])
    chain = prompt | PromptShortener(Shorten.lossless()) | client()
    call = AIMessage("", tool_calls=[{"name": "page", "args": {"number": 1}, "id": "c1"}])
    given = {"page": page * 20, "before": [call, ToolMessage(page * 20, tool_call_id="c1")]}
    if how == "invoke":
        chain.invoke(given)
    elif how == "ainvoke":
        await chain.ainvoke(given)
    else:
        list(chain.stream(given))
    sent = provider.requests[-1].body["messages"]
    assert [each["role"] for each in sent] == ["system", "user", "assistant", "tool", "user"]
    assert (sent[2]["tool_calls"][0]["id"], sent[3]["tool_call_id"]) == ("c1", "c1")
    assert json.dumps(sent).count("   ") <= 1  # what is asked stays as it is
    assert call.tool_calls[0]["args"] == {"number": 1}  # what was given stays


def test_what_a_prompt_shortener_takes() -> None:
    shortener = PromptShortener(Shorten.lossless(max_input_tokens=200))
    assert shortener.invoke("Two   spaces.") == "Two spaces."
    assert shortener.batch([[("human", "Two   spaces.")], "a   b"])[1] == "a b"
    first, second = shortener.invoke([SystemMessage("Be brief.", id="s"), {"role": "user", "content": "Two   spaces."}])
    assert (first.id, first.content, second.content) == ("s", "Be brief.", "Two spaces.")
    with pytest.raises(PromptTooLongError, match="200"):
        shortener.invoke([SystemMessage("Never cut this. " * 200), HumanMessage("When?")])
    with pytest.raises(ConfigurationError, match=r"Shorten\.lossless\(\)"):
        PromptShortener(0.5)  # type: ignore[arg-type]
