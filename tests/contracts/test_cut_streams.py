"""A stream that stops early and without an error is no whole answer, whatever client reads it; a whole one is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from langchain_openai import ChatOpenAI

import llmthrift_langchain as lc
from llmthrift_core import Thrift
from llmthrift_core.cache.wholeness import CUT_OFF, UNENDED
from tests.contracts import canned
from tests.contracts import test_usage as clients
from tests.contracts.canned import Reply, served

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore")]  # the clients' own warnings

_CHAT = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
_COUNTS = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
_GOOGLE = {"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10}
_AWS = {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}


class Client(NamedTuple):
    """A client, a model, its provider's stream, and what the first event has in it that does not come."""

    make: Callable[[str, str], Any]
    model: str
    stream: Reply
    ends: Sequence[str]


def _chat(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.chat_stream(model, last=_CHAT), ('"finish_reason": "stop"', "[DONE]")


def _mistral(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.chat_stream(model, usage=_CHAT), ('"finish_reason": "stop"',)


def _responses(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.responses_stream(_COUNTS, model), ("response.output_item.done", "response.completed")


def _anthropic(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.messages_stream(_COUNTS, _COUNTS, model), ("content_block_stop", "message_delta")


def _google(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.gemini_stream([_GOOGLE] * 3, model), ("STOP",)


def _bedrock(model: str) -> tuple[str, Reply, Sequence[str]]:
    return model, canned.converse_stream(_AWS), ("contentBlockStop", "messageStop")


LANGCHAIN = {
    "openai": Client(clients.openai, *_chat("gpt-4o-mini")),
    "responses": Client(clients.openai_responses, *_responses("gpt-4o-mini")),
    "anthropic": Client(clients.anthropic, *_anthropic("claude-sonnet-4-5")),
    "google": Client(clients.google, *_google("gemini-2.5-flash")),
    "bedrock": Client(clients.bedrock, *_bedrock("anthropic.claude-sonnet-4-5")),
    "mistral": Client(clients.mistral, *_mistral("mistral-small")),
    "xai": Client(clients.xai, *_chat("grok-4")),
    "deepseek": Client(clients.deepseek, *_chat("deepseek-chat")),
}
LLAMAINDEX = {
    "openai": Client(clients.llama_openai, *_chat("gpt-4o-mini")),
    "responses": Client(clients.llama_responses, *_responses("gpt-4o-mini")),
    "anthropic": Client(clients.llama_anthropic, *_anthropic("claude-sonnet-4-5")),
    "google": Client(clients.llama_google, *_google("gemini-2.5-flash")),
    "bedrock": Client(clients.llama_bedrock, *_bedrock("anthropic.claude-3-5-sonnet-20241022-v2:0")),
    "mistral": Client(clients.llama_mistral, *_mistral("mistral-small-latest")),
}
CLIENTS = [pytest.param("thrifty", client, id=f"langchain {name}") for name, client in LANGCHAIN.items()]
CLIENTS += [pytest.param("llama thrifty", client, id=f"llamaindex {name}") for name, client in LLAMAINDEX.items()]
every_client = pytest.mark.parametrize(("door", "client"), CLIENTS)


def _cut(reply: Reply, mark: str) -> Reply:
    """What comes if the connection is closed before the event that holds a mark."""
    if "eventstream" in reply.content_type:
        start = 0
        while True:
            end = start + int.from_bytes(reply.body[start : start + 4], "big")
            if mark.encode() in reply.body[start:end]:
                return Reply(reply.body[:start], reply.content_type)
            start = end
    body = reply.body.decode()
    return Reply((body[: body[: body.index(mark)].rindex("\n\n")] + "\n\n").encode(), reply.content_type)


def _kept(thrift: Thrift) -> tuple[Any, dict[str, int]]:
    return thrift.cache.stats()["stores"], thrift.health()["cache"]["not_kept"]


@every_client
@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_whole_stream_is_kept(door: str, client: Client, how: str) -> None:
    with Thrift(":memory:") as thrift:
        clients.through(door, how, client.make, client.model, client.stream, thrift)
        assert _kept(thrift) == (1, {})


@every_client
@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_that_stops_before_its_end_is_not_kept(door: str, client: Client, how: str) -> None:
    """With an error where the client finds out, and without one where it does not."""
    for mark in client.ends:
        if mark == "[DONE]":
            continue
        with Thrift(":memory:") as thrift:
            try:
                clients.through(door, how, client.make, client.model, _cut(client.stream, mark), thrift)
            except ConnectionError:
                assert _kept(thrift) == (0, {})
            else:
                assert _kept(thrift) == (0, {UNENDED: 1})


def test_the_last_word_may_be_missing_once_the_end_was_told() -> None:
    for door, client in (("thrifty", LANGCHAIN["openai"]), ("llama thrifty", LLAMAINDEX["openai"])):
        with Thrift(":memory:") as thrift:
            clients.through(door, "stream", client.make, client.model, _cut(client.stream, "[DONE]"), thrift)
            assert _kept(thrift) == (1, {})


def test_a_client_that_streams_by_itself_is_no_exception() -> None:
    """LangChain's cache is told of a whole answer, which its client has read as a stream."""
    client = LANGCHAIN["openai"]
    for reply, stores in ((_cut(client.stream, client.ends[0]), 0), (client.stream, 1)):
        with Thrift(":memory:") as thrift, served(reply) as url:
            model = ChatOpenAI(model=client.model, base_url=f"{url}/v1", api_key="k", streaming=True, cache=lc.ThriftCache(thrift))
            model.invoke("How are you?")
            assert thrift.cache.stats()["stores"] == stores


def test_where_a_client_does_not_tell_the_end_an_answer_as_long_as_was_allowed_is_not_kept() -> None:
    """LlamaIndex passes on of Bedrock's streams that they ended, and not how."""
    client = LLAMAINDEX["bedrock"]
    for tokens, expected in ((511, (1, {})), (512, (0, {CUT_OFF: 1}))):
        with Thrift(":memory:") as thrift:
            reply = canned.converse_stream({**_AWS, "outputTokens": tokens})
            clients.through("llama thrifty", "stream", client.make, client.model, reply, thrift)
            assert _kept(thrift) == expected
