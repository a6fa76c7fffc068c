"""Models behind OpenAI's protocol, called without a framework: the same call, and what only this way can do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmthrift_core import Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import OutputLimits, Shorten
from llmthrift_core.routing import Cascade
from llmthrift_core.service import create_app
from llmthrift_core.service.direct.backend import DirectBackend
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, ToolCall

pytestmark = pytest.mark.loopback
PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "economy", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
OPTIONS: dict[str, Any] = {"max_retries": 0}


@contextmanager
def served(thrift: Thrift, url: str, **options: Any) -> Iterator[TestClient]:
    """Two tiers of one server, given by their names."""
    models = {"economy": ("openai:gpt-4o-mini", {"base_url": url, **OPTIONS}), "premium": ("openai:gpt-4o", {"base_url": url, **OPTIONS})}
    app = create_app(thrift, models=models, **options)
    assert isinstance(app.state.service.backend, DirectBackend)
    with TestClient(app) as client:
        yield client


def events(answer: Any) -> list[Any]:
    """The data of a stream, without its last line."""
    found = [line[6:] for line in answer.text.splitlines() if line]
    assert found[-1] == "[DONE]"
    return [json.loads(each) for each in found[:-1]]


def text(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def test_what_a_client_sends_goes_on_as_it_is_and_what_comes_back_too(thrift: Thrift, provider: LoopbackProvider) -> None:
    sent = {"temperature": 0.3, "logprobs": True, "seed": 7, "stop": ["X"], "n": 2, "response_format": {"type": "text"}}
    with served(thrift, provider.openai_url) as client:
        told = client.post(PATH, json={**ASKED, **sent, "user": "ada"}).json()
    (request,) = provider.requests
    assert request.body == {"model": "gpt-4o-mini", "messages": ASKED["messages"], **sent}
    assert told["choices"][1]["logprobs"]["content"][0]["logprob"] == -0.125
    assert told["model"] == "gpt-4o-mini-2024-07-18"
    (row,) = thrift.ledger.calls()
    (billed,) = provider.usage_log
    assert (row.input_tokens, row.output_tokens, row.user) == (billed.input_tokens, billed.output_tokens, "ada")
    assert row.response_id == told["id"]


def test_a_hit_is_whole_or_a_stream_with_its_logprobs_and_tools(thrift: Thrift, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: Answer("Let me see. " * 10, tool_calls=(ToolCall("look_up", {"id": 7}),))
    asked = {**ASKED, "logprobs": True, "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]}
    with served(thrift, provider.openai_url) as client:
        first = client.post(PATH, json=asked).json()
        second = client.post(PATH, json=asked).json()
        chunks = events(client.post(PATH, json={**asked, "stream": True, "stream_options": {"include_usage": True}}))
    assert len(provider.requests) == 1
    assert second["choices"] == first["choices"]
    assert second["llmthrift"]["source"] == "cache"
    assert text(chunks) == first["choices"][0]["message"]["content"]
    (call,) = [part for chunk in chunks if chunk["choices"] for part in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    assert json.loads(call["function"]["arguments"]) == {"id": 7}
    assert chunks[-1]["llmthrift"]["source"] == "cache"
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_stream_is_stored_for_who_asks_for_all_of_it(thrift: Thrift, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: Answer("Paris is it.", tool_calls=(ToolCall("look_up", {"id": 7}),))
    with served(thrift, provider.openai_url) as client:
        said = text(events(client.post(PATH, json={**ASKED, "stream": True})))
        whole = client.post(PATH, json=ASKED).json()
    message = whole["choices"][0]["message"]
    assert (message["content"], whole["llmthrift"]["source"], len(provider.requests)) == (said, "cache", 1)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"id": 7}


@pytest.mark.parametrize("stream", [False, True])
def test_another_tier_answers_where_one_fails(thrift: Thrift, provider: LoopbackProvider, *, stream: bool) -> None:
    provider.fail_next(status=503, times=1, model="gpt-4o-mini")
    with served(thrift, provider.openai_url) as client:
        answer = client.post(PATH, json={**ASKED, "model": "auto", "stream": stream})
    told = events(answer)[-1]["llmthrift"] if stream else answer.json()["llmthrift"]
    assert (told["original_tier"], told["final_tier"], told["attempts"]) == ("economy", "premium", 2)
    assert [row.error for row in thrift.ledger.calls()].count("InternalServerError") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_cascade_reads_the_answer_and_may_ask_again(thrift: Thrift, provider: LoopbackProvider, *, stream: bool) -> None:
    seen = []

    def check(prompt: str, answer: str, context: Any) -> float:
        seen.append((context["schema"], context["tool_calls"], context["ask_again"](0.9)))
        return 0.0

    provider.answerer = lambda question: question.model
    with served(thrift, provider.openai_url, policy=Cascade(["economy", "premium"], checks=[check], threshold=0.5)) as client:
        answer = client.post(PATH, json={**ASKED, "model": "auto", "stream": stream})
    said = text(events(answer)) if stream else answer.json()["choices"][0]["message"]["content"]
    assert said == "gpt-4o"
    assert seen == [(None, (), "gpt-4o-mini")]
    assert [request.body.get("temperature") for request in provider.requests] == [None, 0.9, None]


def test_tiers_shorter_prompts_and_limits_decide_what_is_sent(thrift: Thrift, provider: LoopbackProvider) -> None:
    long = [{"role": "user", "content": "Hello   there.\n\n\n\n\nHow   are   you?  \n\n\n" * 40}]
    with served(thrift, provider.openai_url, shorten=Shorten.lossless(), output=OutputLimits()) as client:
        client.post(PATH, json={"model": "premium", "messages": long}).raise_for_status()
        client.post(PATH, json={"model": "premium", "messages": long, "optimize_prompt": False, "max_tokens": 7}).raise_for_status()
    first, second = (request.body for request in provider.requests)
    assert len(first["messages"][-1]["content"]) < len(long[0]["content"])
    assert first["max_tokens"] > 0
    assert (second["messages"][-1]["content"], second["max_tokens"]) == (long[0]["content"], 7)
    assert sorted(row.shortened_tokens or 0 for row in thrift.ledger.calls())[1] > 0


def test_a_question_is_answered_by_meaning(thrift: Thrift, provider: LoopbackProvider) -> None:
    with served(thrift, provider.openai_url, cache={"semantic": 0.8}) as client:
        for question in ("How do I reset my password?", "How can I reset my password?"):
            told = client.post(PATH, json={"model": "economy", "messages": [{"role": "user", "content": question}]}).json()
    assert (told["llmthrift"]["source"], len(provider.requests)) == ("semantic_cache", 1)


@contextmanager
def _server(*answers: tuple[int, dict[str, str], bytes] | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn; None hangs up."""
    left, asked = list(answers), list[dict[str, Any]]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = left.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def _answer(content: str = "Paris.") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).encode()


def test_what_passes_is_tried_again_and_what_does_not_is_told(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIONS, "max_retries", 2)
    busy = (503, {"Retry-After": "0.01"}, b"{}")
    with _server(None, busy, (200, {}, _answer())) as (url, asked), served(thrift, url) as client:
        assert client.post(PATH, json=ASKED).json()["choices"][0]["message"]["content"] == "Paris."
        assert len(asked) == 3
    wrong = (400, {}, json.dumps({"error": {"message": "secret words", "code": "invalid", "param": "seed"}}).encode())
    limited = (429, {"Retry-After": "7", "x-should-retry": "false"}, b"no JSON")
    with _server(wrong, limited, (302, {"Location": "http://127.0.0.1:9/"}, b""), (200, {}, b"[]")) as (url, asked):
        monkeypatch.setitem(OPTIONS, "max_retries", 0)
        with served(thrift, url, fallbacks=False) as client:
            told = [client.post(PATH, json={**ASKED, "use_cache": False}) for _ in range(4)]
    assert [each.status_code for each in told] == [400, 429, 502, 502]
    assert "secret" not in "".join(each.text for each in told)
    assert told[1].headers["retry-after"] == "7"
    assert [(row.error, row.cost_nano_usd) for row in thrift.ledger.calls(limit=4) if row.error][-1] == ("BadRequestError", 0)


def test_a_server_that_does_not_know_how_to_tell_usage_is_asked_without(thrift: Thrift) -> None:
    refused = (400, {}, json.dumps({"error": {"message": "unknown field stream_options"}}).encode())
    chunk = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": "stop"}]}
    stream = (200, {"Content-Type": "text/event-stream"}, f"data: {json.dumps(chunk)}\r\n\r\ndata: [DONE]\r\n\r\n".encode())
    with _server(refused, stream, stream) as (url, asked), served(thrift, url) as client:
        for _ in range(2):
            assert text(events(client.post(PATH, json={**ASKED, "stream": True, "use_cache": False}))) == "Paris."
    assert ["stream_options" in each for each in asked] == [True, False, False]
    assert all(row.estimated and row.output_tokens for row in thrift.ledger.calls())


def test_half_of_a_pair_of_surrogates_reaches_the_reader(thrift: Thrift) -> None:
    with _server((200, {}, _answer("a\ud83d"))) as (url, _), served(thrift, url) as client:
        assert client.post(PATH, json=ASKED).json()["choices"][0]["message"]["content"] == "a\ud83d"


def test_keys_come_from_the_environment_and_frameworks_serve_the_rest(
    thrift: Thrift, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match=r"set \$OPENAI_API_KEY"):
        create_app(thrift, models={"economy": "openai:gpt-4o-mini"})
    with served(thrift, provider.openai_url) as client:
        client.post(PATH, json=ASKED).raise_for_status()
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        client.post(PATH, json={**ASKED, "use_cache": False}).raise_for_status()
    assert [request.has_key for request in provider.requests] == [False, True]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    mixed = create_app(thrift, models={"economy": "openai:gpt-4o-mini", "premium": "anthropic:claude-sonnet-4-5"})
    assert not isinstance(mixed.state.service.backend, DirectBackend)
