"""The loopback provider, over its wire and through the official clients' LangChain wrappers."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from llmthrift_core.testing import Answer, Billed, LoopbackProvider, Question, ToolCall
from llmthrift_core.testing.answers import count_tokens, derive
from llmthrift_core.testing.openai_wire import pieces_of
from llmthrift_core.testing.schemas import instance

HELLO = [{"role": "user", "content": "Hi there!"}]  # three tokens and three for the message


class Wire:
    """One keep-alive connection without any client library."""

    def __init__(self, provider: LoopbackProvider) -> None:
        self.connection = http.client.HTTPConnection(provider.openai_url.split("/")[2], timeout=10)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request("POST", path, raw, dict(headers or {}))
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def events(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        self.connection.request("POST", path, json.dumps({**body, "stream": True}).encode())
        response = self.connection.getresponse()
        assert response.headers["Content-Type"] == "text/event-stream"
        lines = [line.removeprefix("data: ") for line in response.read().decode().splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.fixture
def wire(provider: LoopbackProvider) -> Iterator[Wire]:
    opened = Wire(provider)
    yield opened
    opened.connection.close()


def chat(provider: LoopbackProvider, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=provider.openai_url, api_key=SecretStr("sk-very-secret"), stream_usage=True, max_retries=0, **settings
    )


def claude(provider: LoopbackProvider) -> ChatAnthropic:
    return ChatAnthropic(
        model_name="claude-loopback", base_url=provider.anthropic_url, api_key=SecretStr("k"), timeout=10, stop=None, max_retries=0
    )


@tool
def get_order_status(order_id: int) -> str:
    """Where an order is."""
    return f"order {order_id} is on its way"


class Ticket(BaseModel):
    product: str
    quantity: int


@pytest.mark.loopback
class TestChat:
    def test_counts_and_bills_what_it_says(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: "It is 5 o'clock."  # It is 5 o ' clock . = 7
        status, body = wire.post("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO})
        assert status == 200
        assert body["model"] == "gpt-4o-2024-08-06"
        assert body["choices"][0]["message"] == {"role": "assistant", "content": "It is 5 o'clock.", "refusal": None}
        assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"], body["usage"]["total_tokens"]) == (6, 7, 13)
        assert provider.usage_log == [Billed("gpt-4o", 6, 7, False)]

    def test_the_same_request_gets_the_same_answer(self, wire: Wire) -> None:
        first, again, other = (
            wire.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": text}]})[1]["choices"]
            for text in ("one", "one", "two")
        )
        assert first == again
        assert first != other

    def test_stream_ends_with_usage_and_done(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: "To be, or not."
        body = {"model": "gpt-4o", "messages": HELLO, "stream_options": {"include_usage": True}}
        *chunks, usage, done = wire.events("/v1/chat/completions", body)
        assert done == "[DONE]"
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] == 6 + 6
        assert all(chunk["usage"] is None for chunk in chunks)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert deltas[0]["role"] == "assistant"
        assert [delta["content"] for delta in deltas[1:-1]] == ["To ", "be, ", "or ", "not."]
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 5 + ["stop"]

    def test_stream_without_usage_says_nothing_of_it(self, wire: Wire) -> None:
        events = wire.events("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO})
        assert not any("usage" in event for event in events[:-1])

    @pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
    def test_limit_cuts_the_answer(self, provider: LoopbackProvider, wire: Wire, field: str) -> None:
        provider.answerer = lambda question: "one two three four"
        _, body = wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO, field: 2})
        assert body["choices"][0]["message"]["content"] == "one two"
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"]["completion_tokens"] == 2

    @pytest.mark.parametrize("stop", ["three", ["nothing", "three"]])
    def test_stop_sequence(self, provider: LoopbackProvider, wire: Wire, stop: Any) -> None:
        provider.answerer = lambda question: "one two three four"
        _, body = wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO, "stop": stop})
        assert body["choices"][0]["message"]["content"] == "one two "
        assert body["choices"][0]["finish_reason"] == "stop"

    def test_several_choices_with_logprobs(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: "Yes sir"
        _, body = wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO, "n": 3, "logprobs": True})
        assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
        assert body["usage"]["completion_tokens"] == 6
        assert [entry["token"] for entry in body["choices"][2]["logprobs"]["content"]] == ["Yes ", "sir"]

    def test_prompt_cache_and_reasoning_are_inside_the_totals(self, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: Answer("Yes", cached_tokens=1024, reasoning_tokens=50)
        for answer in (chat(provider).invoke("Hi there!"), chat(provider, use_responses_api=True).invoke("Hi there!")):
            assert answer.usage_metadata is not None
            assert answer.usage_metadata["input_tokens"] == 1024
            assert answer.usage_metadata["output_tokens"] == 51
            assert answer.usage_metadata["input_token_details"]["cache_read"] == 1024
            assert answer.usage_metadata["output_token_details"]["reasoning"] == 50

    def test_tool_call_then_answer_from_the_result(self, provider: LoopbackProvider) -> None:
        model = chat(provider).bind_tools([get_order_status])
        asked = HumanMessage("What is the status of order 1010?")
        called = model.invoke([asked])
        assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_order_status", {"order_id": 1010})]
        result = ToolMessage("it ships tomorrow", tool_call_id=called.tool_calls[0]["id"])
        assert "it ships tomorrow" in str(model.invoke([asked, called, result]).content)

    def test_tools_are_left_alone_when_they_do_not_fit(self, provider: LoopbackProvider) -> None:
        model = chat(provider).bind_tools([get_order_status])
        assert model.invoke("Good morning!").tool_calls == []
        assert chat(provider).bind_tools([get_order_status], tool_choice="any").invoke("Good morning!").tool_calls != []

    @pytest.mark.parametrize("responses", [False, True])
    def test_streamed_tool_calls_add_up(self, provider: LoopbackProvider, responses: bool) -> None:
        calls = (ToolCall("get_order_status", {"order_id": 1}), ToolCall("get_order_status", {"order_id": 2}))
        provider.answerer = lambda question: Answer(tool_calls=calls)
        whole = AIMessageChunk("")
        for chunk in chat(provider, use_responses_api=responses).bind_tools([get_order_status]).stream("Where are orders 1 and 2?"):
            assert isinstance(chunk, AIMessageChunk)
            whole += chunk
        assert [call["args"] for call in whole.tool_calls] == [{"order_id": 1}, {"order_id": 2}]
        assert len({call["id"] for call in whole.tool_calls}) == 2

    @pytest.mark.parametrize("method", ["json_schema", "function_calling"])
    @pytest.mark.parametrize("responses", [False, True])
    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
    def test_structured_output(self, provider: LoopbackProvider, method: Any, responses: bool) -> None:
        model = chat(provider, use_responses_api=responses).with_structured_output(Ticket, method=method)
        assert model.invoke("Order 12 of the 'desk lamp'") == Ticket(product="desk lamp", quantity=12)


@pytest.mark.loopback
class TestResponses:
    def test_events_are_numbered_and_whole(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: "To be, or not."
        events = wire.events("/v1/responses", {"model": "gpt-4o", "input": "Hi there!", "instructions": "Be brief."})
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == "To be, or not."
        assert events[0]["type"] == "response.created"
        assert events[0]["response"]["usage"] is None
        last = events[-1]["response"]
        assert events[-1]["type"] == "response.completed"
        assert last["usage"]["input_tokens"] == 3 + 3 + 3 + 3
        assert last["usage"]["output_tokens"] == 6

    def test_limit_makes_it_incomplete(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: "one two three"
        _, body = wire.post("/v1/responses", {"model": "m", "input": "Hi", "max_output_tokens": 1})
        assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        assert body["output"][0]["content"][0]["text"] == "one"


@pytest.mark.loopback
class TestCompletions:
    def test_each_prompt_has_its_own_answer(self, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: question.last_user_text.upper()
        model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key=SecretStr("k"))
        answers = model.generate(["ping", "pong pong"])
        assert [[made.text for made in each] for each in answers.generations] == [["PING"], ["PONG PONG"]]
        assert provider.usage_log == [Billed("gpt-3.5-turbo-instruct", 1 + 3 + 2 + 3, 3, False)]

    def test_stream(self, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: "To be, or not."
        model = OpenAI(model="gpt-3.5-turbo-instruct", base_url=provider.openai_url, api_key=SecretStr("k"))
        assert [piece for piece in model.stream("Hi") if piece] == ["To ", "be, ", "or ", "not."]


@pytest.mark.loopback
class TestEmbeddings:
    def test_the_same_words_lie_close(self, provider: LoopbackProvider) -> None:
        model = OpenAIEmbeddings(
            model="text-embedding-3-small", base_url=provider.openai_url, api_key=SecretStr("k"), check_embedding_ctx_length=False
        )
        parcel, again, near, far = model.embed_documents(
            ["where is my parcel", "where is my parcel", "where is my red parcel", "do gift cards expire"]
        )
        assert parcel == again
        assert _dot(parcel, parcel) == pytest.approx(1.0, abs=1e-6)
        assert _dot(parcel, near) > 0.7 > 0.5 > abs(_dot(parcel, far))
        assert provider.usage_log == [Billed("text-embedding-3-small", 4 + 4 + 5 + 4, 0, False)]

    def test_dimensions(self, wire: Wire) -> None:
        _, body = wire.post("/v1/embeddings", {"model": "m", "input": "a b", "dimensions": 8})
        assert len(body["data"][0]["embedding"]) == 8


@pytest.mark.loopback
class TestAnthropic:
    def test_invoke_and_stream_say_and_count_the_same(self, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: Answer("To be, or not.", cached_tokens=100, cache_write_tokens=20)
        whole = claude(provider).invoke("Hi there!")
        streamed = AIMessageChunk("")
        for chunk in claude(provider).stream("Hi there!"):
            assert isinstance(chunk, AIMessageChunk)
            streamed += chunk
        assert whole.content == streamed.text == "To be, or not."
        for answer in (whole, streamed):
            assert answer.usage_metadata is not None
            assert answer.usage_metadata["input_tokens"] == 120  # LangChain adds up what Anthropic reports as disjoint
            assert answer.usage_metadata["output_tokens"] == 6
            details = dict(answer.usage_metadata["input_token_details"])
            # What lives for five minutes is told apart, and then no longer as "cache_creation".
            assert (details["cache_read"], details["cache_creation"], details["ephemeral_5m_input_tokens"]) == (100, 0, 20)
        assert provider.usage_log == [Billed("claude-loopback", 120, 6, stream) for stream in (False, True)]

    def test_tools(self, provider: LoopbackProvider) -> None:
        model = claude(provider).bind_tools([get_order_status])
        asked = HumanMessage("What is the status of order 7?")
        called = model.invoke([asked])
        assert [(call["name"], call["args"]) for call in called.tool_calls] == [("get_order_status", {"order_id": 7})]
        result = ToolMessage("it ships tomorrow", tool_call_id=called.tool_calls[0]["id"])
        assert "it ships tomorrow" in str(model.invoke([asked, called, result]).content)

    def test_event_order(self, wire: Wire) -> None:
        events = wire.events("/v1/messages", {"model": "claude", "messages": HELLO, "max_tokens": 100})
        kinds = list(dict.fromkeys(event["type"] for event in events))
        assert kinds == [
            *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"),
            *("message_delta", "message_stop"),
        ]

    def test_count_tokens_agrees_with_the_bill(self, provider: LoopbackProvider, wire: Wire) -> None:
        body = {"model": "claude", "messages": HELLO, "system": "Be brief.", "max_tokens": 10}
        _, counted = wire.post("/v1/messages/count_tokens", body)
        wire.post("/v1/messages", body)
        assert counted == {"input_tokens": 12}
        assert [billed.input_tokens for billed in provider.usage_log] == [12]


@pytest.mark.loopback
class TestFailures:
    def test_failures_queue_and_may_be_for_one_model(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.fail_next(status=500, model="other")
        provider.fail_next(status=429, times=2, retry_after=1.5, message="slow down", error_type="tokens")
        answers = [wire.post("/v1/chat/completions", {"model": model, "messages": HELLO}) for model in ("m", "m", "m", "other")]
        assert [status for status, _ in answers] == [429, 429, 200, 500]
        assert answers[0][1]["error"] == {"message": "slow down", "type": "tokens", "param": None, "code": "tokens"}
        assert len(provider.requests) == 4
        assert len(provider.usage_log) == 1  # errors are not billed

    def test_anthropic_errors_look_like_anthropic(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.fail_next(status=529)
        status, body = wire.post("/v1/messages", {"model": "claude", "messages": HELLO, "max_tokens": 5})
        assert status == 529
        assert (body["type"], body["error"]["type"]) == ("error", "overloaded_error")

    def test_retry_after_is_sent(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.fail_next(status=429, retry_after=7)
        wire.connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": HELLO}).encode())
        response = wire.connection.getresponse()
        response.read()
        assert response.headers["Retry-After"] == "7"

    def test_times_must_be_positive(self, provider: LoopbackProvider) -> None:
        with pytest.raises(ValueError, match="times must be at least 1, not 0"):
            provider.fail_next(status=500, times=0)

    def test_a_broken_script_is_named(self, provider: LoopbackProvider, wire: Wire) -> None:
        def script(question: Question) -> str:
            raise LookupError("no such topic")

        provider.answerer = script
        status, body = wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO})
        assert status == 500
        assert body["error"]["message"] == "the answerer raised LookupError: no such topic"

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("/v1/chat/completions", b"{", 400),
            ("/v1/chat/completions", b"[]", 400),
            ("/v1/chat/completions", b'{"messages": []}', 400),
            ("/v1/chat/completions", b'{"model": "m"}', 400),
            ("/v1/chat/completions", b'{"model": "m", "messages": ["hi"]}', 400),
            ("/v1/completions", b'{"model": "m", "prompt": []}', 200),
            ("/v1/messages", b'{"model": "m", "messages": [{"role": "user", "content": 3}]}', 400),
            ("/v1/responses", b'{"model": "m", "input": [3]}', 400),
            ("/v1/nowhere", b"{}", 404),
        ],
    )
    def test_malformed_requests_leave_the_connection_usable(self, wire: Wire, path: str, body: bytes, status: int) -> None:
        assert wire.post(path, body)[0] == status
        assert wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO})[0] == 200

    def test_a_body_without_length_is_refused(self, wire: Wire) -> None:
        wire.connection.putrequest("POST", "/v1/chat/completions")
        wire.connection.endheaders()
        assert wire.connection.getresponse().status == 411


@pytest.mark.loopback
class TestServer:
    def test_keys_are_noticed_but_not_kept(self, provider: LoopbackProvider) -> None:
        chat(provider).invoke("Hi")
        (received,) = provider.requests
        assert received.has_key
        assert "sk-very-secret" not in repr(received)

    def test_models(self, provider: LoopbackProvider, wire: Wire) -> None:
        wire.connection.request("GET", "/v1/models")
        names = {model["id"] for model in json.loads(wire.connection.getresponse().read())["data"]}
        assert "gpt-4o-mini" in names

    def test_latency_is_asked_per_model(self, provider: LoopbackProvider, wire: Wire) -> None:
        asked: list[str] = []

        def latency(model: str) -> float:
            asked.append(model)
            return 0.0

        provider.latency_seconds = latency
        wire.post("/v1/chat/completions", {"model": "slow-one", "messages": HELLO})
        assert asked == ["slow-one"]

    def test_threads_get_their_own_answers(self, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: question.last_user_text.upper()
        model = chat(provider)
        texts = [f"word{number}" for number in range(60)]
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda text: model.invoke(text).content, texts))
        assert answers == [text.upper() for text in texts]
        assert len(provider.usage_log) == 60

    def test_an_abandoned_stream_harms_nobody(self, provider: LoopbackProvider, wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
        provider.answerer = lambda question: "word " * 50_000
        body = json.dumps({"model": "m", "messages": HELLO, "stream": True}).encode()
        with socket.create_connection(("127.0.0.1", int(provider.openai_url.split(":")[2].split("/")[0]))) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        provider.answerer = None
        assert wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO})[0] == 200
        assert [billed.stream for billed in provider.usage_log] == [True, False]
        assert capfd.readouterr() == ("", "")

    def test_close_ends_connections_and_threads(self) -> None:
        with LoopbackProvider() as provider:
            wire = Wire(provider)
            wire.post("/v1/chat/completions", {"model": "m", "messages": HELLO})
        provider.close()  # a second time does nothing
        with pytest.raises(OSError):
            Wire(provider).post("/v1/chat/completions", {"model": "m", "messages": HELLO})
        wire.connection.close()

    def test_odd_text_survives(self, provider: LoopbackProvider, wire: Wire) -> None:
        provider.answerer = lambda question: question.last_user_text
        odd = "\ud800 naïve 日本語 \u2028 \x00"
        _, body = wire.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": odd}]})
        assert body["choices"][0]["message"]["content"] == odd


class TestDerived:
    @pytest.mark.parametrize(
        ("schema", "text", "expected"),
        [
            ({"type": "integer", "minimum": 5}, "give me 3", 5),
            ({"type": "integer", "exclusiveMaximum": 3}, "give me 3", 2),
            ({"type": "integer", "multipleOf": 5}, "give me 12", 15),
            ({"type": "integer"}, "give me 3.4", 4),
            ({"type": "number"}, "it costs 12.5", 12.5),
            ({"enum": ["low", "high"]}, "Priority high please", "high"),
            ({"const": 7}, "", 7),
            ({"type": ["null", "string"]}, "say 'hi'", "hi"),
            ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "42", 42),
            ({"type": "string", "format": "date"}, "soon", "2026-03-04"),
            ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, "1 2 3 4", [1, 2, 3]),
            ({"type": "array", "maxItems": 0}, "x", []),
            ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "boolean"}}}, "", True),
            ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, "", {"a": 1, "b": 2}),
            ({"type": "object", "required": ["name"]}, "'Ada'", {"name": "Ada"}),
        ],
    )
    def test_instance(self, schema: Mapping[str, Any], text: str, expected: Any) -> None:
        assert instance(schema, text) == expected

    def test_recursive_schemas_end(self) -> None:
        node: dict[str, Any] = {
            "type": "object",
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}},
            "required": ["name", "children"],
        }
        linked = {
            "$ref": "#/$defs/n",
            "$defs": {"n": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}},
        }
        for schema in (node, linked):
            jsonschema.validate(instance(schema, "a tree"), schema)

    @given(
        schema=st.recursive(
            st.one_of(
                st.builds(
                    lambda low, width, kind: {"type": kind, "minimum": low, "maximum": low + width},
                    st.integers(-1000, 1000),
                    st.integers(0, 50),
                    st.sampled_from(["integer", "number"]),
                ),
                st.builds(
                    lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
                    st.integers(0, 20),
                    st.integers(0, 9),
                ),
                st.just({"type": "boolean"}),
                st.lists(st.text(max_size=5) | st.integers(), min_size=1, max_size=4).map(lambda values: {"enum": values}),
            ),
            lambda inner: st.one_of(
                st.builds(
                    lambda item, least: {"type": "array", "items": item, "minItems": least, "maxItems": least + 2}, inner, st.integers(0, 3)
                ),
                st.dictionaries(st.text(max_size=5), inner, max_size=4).map(
                    lambda parts: {"type": "object", "properties": parts, "required": list(parts)[:2], "additionalProperties": False}
                ),
                st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
            ),
            max_leaves=12,
        ),
        text=st.text(max_size=60),
    )
    def test_an_instance_fits_its_schema(self, schema: Mapping[str, Any], text: str) -> None:
        jsonschema.validate(instance(schema, text), schema)

    @given(text=st.text(max_size=200))
    def test_pieces_are_the_text(self, text: str) -> None:
        assert "".join(pieces_of(text)) == text
        assert sum(count_tokens(piece) for piece in pieces_of(text)) == count_tokens(text)

    def test_an_agent_that_must_use_tools_comes_to_an_end(self) -> None:
        tools = {"get_weather": {"properties": {"city": {"type": "string"}}}, "final_report": {"properties": {"text": {"type": "string"}}}}
        messages = [("user", "weather in 'Oslo'"), ("assistant", 'get_weather{"city": "Oslo"}'), ("tool", "rain")]
        first = derive(Question("m", messages[:1], tools, "any"))
        then = derive(Question("m", messages, tools, "any"))
        assert [call.name for call in (*first.tool_calls, *then.tool_calls)] == ["get_weather", "final_report"]

    def test_json_mode_uses_the_keys_that_the_prompt_names(self) -> None:
        answer = derive(Question("m", [("user", "Return JSON with the keys `city` and 'country'.")], schema={}))
        assert set(json.loads(answer.text)) == {"city", "country"}


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
