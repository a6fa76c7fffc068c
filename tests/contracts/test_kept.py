"""Only a whole and good answer of the model that was chosen is kept: in both frameworks, whole and as a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift
from llmthrift_core.testing import LoopbackProvider

pytestmark = pytest.mark.loopback

_CALL = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1'}}]
FLAWED = {
    "cut off": ("length", {"content": "half an ans"}),
    "cut off while it thought": ("length", {"content": ""}),
    "filtered": ("content_filter", {"content": "Here is"}),
    "refused": ("stop", {"content": None, "refusal": "I cannot help with that."}),
    "empty": ("stop", {"content": "  "}),
    "half a call": ("tool_calls", {"content": None, "tool_calls": _CALL}),
}
GOOD = ("stop", {"content": "Fine."})


class Scripted(ThreadingHTTPServer):
    """Answers everything in one way, whole or in pieces.

    Attributes:
        reply: the reason for the end, and the message. asked: the number of requests.
    """

    reply: tuple[str, dict[str, Any]] = GOOD
    asked = 0
    lock = Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked += 1
        end, message = self.server.reply
        whole = {"role": "assistant", **message}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        head = {"id": "c", "created": 1, "model": "gpt-4o-mini"}
        if body.get("stream"):
            chunk = {**head, "object": "chat.completion.chunk"}
            parts = [{"index": 0, "delta": whole, "finish_reason": None}, {"index": 0, "delta": {}, "finish_reason": end}]
            events = [{**chunk, "choices": [part]} for part in parts] + [{**chunk, "choices": [], "usage": usage}]
            sent, kind = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n", "text/event-stream"
        else:
            choices = [{"index": 0, "message": whole, "finish_reason": end}]
            sent, kind = json.dumps({**head, "object": "chat.completion", "choices": choices, "usage": usage}), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(sent.encode())))
        self.end_headers()
        self.wfile.write(sent.encode())


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


async def _read(stream: Any) -> list[Any]:
    return [piece async for piece in stream]


async def _aread(opening: Any) -> list[Any]:
    return [piece async for piece in await opening]


def _ask(door: str, how: str, thrift: Thrift, url: str) -> None:
    if door.startswith("langchain"):
        model: Any = ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="k", max_retries=0)
        if door == "langchain cache":
            model.cache = lc.ThriftCache(thrift)
        else:
            model = lc.thrifty(model, thrift)
        {
            "whole": lambda: model.invoke("q"),
            "async": lambda: asyncio.run(model.ainvoke("q")),
            "stream": lambda: list(model.stream("q")),
            "async stream": lambda: asyncio.run(_read(model.astream("q"))),
        }[how]()
    else:
        llm = li.thrifty(OpenAI(model="gpt-4o-mini", api_base=url, api_key="k", max_retries=0), thrift)
        asked = [ChatMessage("q")]
        {
            "whole": lambda: llm.chat(asked),
            "async": lambda: asyncio.run(llm.achat(asked)),
            "stream": lambda: list(llm.stream_chat(asked)),
            "async stream": lambda: asyncio.run(_aread(llm.astream_chat(asked))),
        }[how]()


WAYS = [
    (door, how)
    for door in ("langchain cache", "langchain", "llamaindex")
    for how in ("whole", "async", "stream", "async stream")
    if door != "langchain cache" or "stream" not in how
]


@pytest.mark.parametrize("name", FLAWED)
@pytest.mark.parametrize(("door", "how"), WAYS)
def test_a_flawed_answer_is_asked_for_again(thrift: Thrift, scripted: Scripted, door: str, how: str, name: str) -> None:
    url = f"http://127.0.0.1:{scripted.server_address[1]}/v1"
    scripted.reply = FLAWED[name]
    for _ in range(2):
        _ask(door, how, thrift, url)
    assert scripted.asked == 2
    assert sum(thrift.health()["cache"]["not_kept"].values()) == 2
    scripted.reply = GOOD
    for _ in range(2):
        _ask(door, how, thrift, url)
    assert scripted.asked == 3


def _router(framework: str, thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    if framework == "langchain":
        models = {
            name: ChatOpenAI(model=model, base_url=provider.openai_url, api_key="k", max_retries=0, max_tokens=100)
            for name, model in (("small", "gpt-4o-mini"), ("large", "gpt-4o"))
        }
        return lc.ChatRouter(thrift, models=models, cache=True, policy=lambda request: "large", **options).invoke
    llms = {
        name: OpenAI(model=model, api_base=provider.openai_url, api_key="k", max_retries=0, max_tokens=100)
        for name, model in (("small", "gpt-4o-mini"), ("large", "gpt-4o"))
    }
    return li.RouterLLM(thrift, models=llms, cache=True, policy=lambda request: "large", **options).complete


def _models(provider: LoopbackProvider) -> list[str]:
    return [request.body["model"] for request in provider.requests]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_answer_of_a_fallback_is_not_the_chosen_models(thrift: Thrift, provider: LoopbackProvider, framework: str) -> None:
    ask = _router(framework, thrift, provider)
    provider.fail_next(status=503, model="gpt-4o")
    for _ in range(3):
        ask("Which?")
    assert _models(provider) == ["gpt-4o", "gpt-4o-mini", "gpt-4o"]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_answer_of_a_downgrade_is_not_the_chosen_models(thrift: Thrift, provider: LoopbackProvider, framework: str) -> None:
    ask = _router(framework, thrift, provider)
    thrift.budgets.add(Budget(limit_usd="0.0005", on_exceed="downgrade", name="b"))
    ask("Which?")
    thrift.budgets.add(Budget(limit_usd="5", on_exceed="downgrade", name="b"))
    for _ in range(2):
        ask("Which?")
    assert _models(provider) == ["gpt-4o-mini", "gpt-4o"]


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_the_answer_of_a_clamp_is_not_kept(thrift: Thrift, provider: LoopbackProvider, framework: str) -> None:
    ask = _router(framework, thrift, provider)
    thrift.budgets.add(Budget(limit_tokens=90, clamp_output=True, name="b"))
    ask("Which?")
    body = provider.requests[0].body
    assert body.get("max_completion_tokens", body.get("max_tokens")) < 100
    thrift.budgets.add(Budget(limit_tokens=10_000, clamp_output=True, name="b"))
    for _ in range(2):
        ask("Which?")
    assert len(provider.requests) == 2


def test_several_answers_are_all_kept_and_all_given(thrift: Thrift, provider: LoopbackProvider) -> None:
    """The client's own choice between them must be the same on a hit."""
    model = lc.thrifty(ChatOpenAI(model="gpt-4o-mini", base_url=provider.openai_url, api_key="k", n=2), thrift)
    conversations: list[Any] = [model._convert_input("Which?").to_messages()]
    said = [[each.text for each in model.generate(conversations).generations[0]] for _ in range(2)]
    again = [each.text for each in asyncio.run(model.agenerate(conversations)).generations[0]]
    assert said[0] == said[1] == again
    assert len(said[0]) == 2
    assert model.invoke("Which?").text == said[0][0]
    assert len(provider.requests) == 1
