"""OpenAI's own client, LangChain's and LlamaIndex's OpenAI classes point at the service, and work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import openai
import pytest
import uvicorn
from fastapi.testclient import TestClient
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel

from llmthrift_core import Budget, Thrift
from llmthrift_core.service import create_app
from llmthrift_core.service.config import Configuration
from llmthrift_core.service.worker import models_of
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, ToolCall
from tests.core.service.conftest import KINDS, app_of

pytestmark = [pytest.mark.loopback, pytest.mark.parametrize("kind", KINDS, indirect=True)]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}}}}]
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def address(thrift: Thrift, provider: LoopbackProvider) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app_of(thrift, provider), host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def test_a_conversation(client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift) -> None:
    provider.answerer = lambda question: "Paris."
    told = client.chat.completions.create(model="auto", messages=ASKED, temperature=0)  # type: ignore[arg-type]
    (row,) = thrift.ledger.calls()
    assert told.choices[0].message.content == "Paris."
    assert told.choices[0].finish_reason == "stop"
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (row.input_tokens, row.output_tokens)
    assert told.model_extra is not None
    assert told.model_extra["llmthrift"]["request_id"] == row.request_id


def test_a_stream_with_its_usage(client: openai.OpenAI, thrift: Thrift) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="premium", messages=ASKED, stream=True, stream_options=options))  # type: ignore[call-overload]
    (row,) = thrift.ledger.calls()
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith(("Of course", "Certainly", "Sure", "Yes", "Here"))
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == row.input_tokens
    assert row.stream


def test_tools_whole_and_as_a_stream(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("look_up", {"id": 7}),))
    told = client.chat.completions.create(model="economy", messages=ASKED, tools=TOOLS)  # type: ignore[call-overload]
    (call,) = told.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments, told.choices[0].finish_reason) == ("look_up", '{"id": 7}', "tool_calls")
    chunks = list(client.chat.completions.create(model="premium", messages=ASKED, tools=TOOLS, stream=True))  # type: ignore[call-overload]
    parts = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(part.function.arguments or "" for part in parts).replace(" ", "") == '{"id":7}'
    assert provider.requests[-1].body["tools"][0]["function"]["name"] == "look_up"


def test_several_answers(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(model="economy", messages=ASKED, n=3)  # type: ignore[arg-type]
    assert [choice.index for choice in told.choices] == [0, 1, 2]


def test_a_budget_is_a_rate_limit_to_the_client(client: openai.OpenAI, thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_usd="0.000001", window="day"))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="auto", messages=ASKED)  # type: ignore[arg-type]
    assert caught.value.body["limit"] == 0.000001  # type: ignore[index]
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="auto", messages=ASKED, stream=True)  # type: ignore[call-overload]


def test_a_model_that_is_not_served(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="known are auto, economy, premium"):
        client.chat.completions.create(model="gpt-9", messages=ASKED)  # type: ignore[arg-type]
    assert [model.id for model in client.models.list()] == ["auto", "economy", "premium"]


def test_a_reader_who_leaves_is_settled(client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    provider.answerer = lambda question: "word " * 5_000
    stream = client.chat.completions.create(model="economy", messages=ASKED, stream=True)  # type: ignore[call-overload]
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 10
    while (not thrift.ledger.calls() or thrift.budgets.status()[0]["reserved"]) and time.monotonic() < until:
        time.sleep(0.02)
    (row,) = thrift.ledger.calls()
    assert row.cost_usd > 0
    assert thrift.budgets.status()[0]["reserved"] == 0


def test_langchain_and_llamaindex_point_at_it(address: str, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: "Paris."
    assert ChatOpenAI(model="auto", base_url=address, api_key="none").invoke("Which?").content == "Paris."
    llm = OpenAI(model="gpt-4o-mini", api_base=address, api_key="none")
    assert llm.chat([ChatMessage("Which city?")]).message.content == "Paris."


def test_embeddings_by_the_file_with_their_usage(thrift: Thrift, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    tier, embedding = {"model": "openai:gpt-4o-mini"}, {"model": "openai:text-embedding-3-small"}
    loaded = Configuration.model_validate(
        {"tiers": {"economy": {**tier, "base_url": provider.openai_url}}, "embeddings": {**embedding, "base_url": provider.openai_url}}
    )
    with TestClient(create_app(thrift, models=models_of(loaded), **loaded.options())) as http:
        client = openai.OpenAI(base_url="http://testserver/v1", api_key="none", http_client=http, max_retries=0)
        for _ in range(2):
            told = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
        plain = client.embeddings.create(model="default", input="one", encoding_format="float")
        with pytest.raises(openai.NotFoundError, match="known are default, text-embedding-3-small"):
            client.embeddings.create(model="text-embedding-3-large", input="one")
        with pytest.raises(openai.BadRequestError, match="dimensions"):
            client.embeddings.create(model="default", input="one", dimensions=2)
        assert client.chat.completions.create(model="economy", messages=ASKED).choices[0].message.content  # type: ignore[arg-type]
    assert told.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert len(provider.requests) == 2  # of embeddings one: the second and third time they were kept
    rows = [row for row in thrift.ledger.calls() if row.model == "text-embedding-3-small"]
    assert [row.cache for row in rows].count(None) == 1
    assert told.usage.prompt_tokens == max(row.input_tokens for row in rows) > 0
    assert told.model_extra is not None
    assert told.model_extra["llmthrift"]["source"] == "cache"


def test_structured_output_is_parsed_by_the_client(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    class City(BaseModel):
        name: str
        people: int

    provider.answerer = lambda question: '{"name": "Paris", "people": 2100000}' if question.schema else "no schema"
    told = client.chat.completions.parse(model="premium", messages=ASKED, response_format=City)  # type: ignore[arg-type]
    assert told.choices[0].message.parsed == City(name="Paris", people=2_100_000)
    with client.chat.completions.stream(model="economy", messages=ASKED, response_format=City) as stream:  # type: ignore[arg-type]
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == City(name="Paris", people=2_100_000)
