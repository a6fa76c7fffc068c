"""The handler: each call once, whatever nests in what, fails, breaks off, or never ends."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core import MockEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.llms import CustomLLM, MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags

from llmthrift_core import Thrift, attribute
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty
from llmthrift_llamaindex import handler as handler_module
from tests.llamaindex.conftest import billed, counted, rows, run

MESSAGES = [ChatMessage("Tell me a long story.")]


class Bare(CustomLLM):
    """What users write: no model name, a `raw` of any shape."""

    raw: Any = None
    more: dict[str, Any] = {}
    fails: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if self.fails:
            raise ValueError("the prompt was: " + prompt)
        return CompletionResponse(text="Hello there.", raw=self.raw, additional_kwargs=self.more)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        def pieces() -> Any:
            for end in (5, 12):
                yield CompletionResponse(text="Hello there."[:end], delta="Hello there."[end - 5 : end], raw=self.raw)

        return pieces()


class InThread(Bare):
    """Calls itself in another thread, as integrations without an async client do."""

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await asyncio.to_thread(self.chat, messages, **kwargs)


async def read(stream: Any) -> str:
    return "".join([piece.delta or "" async for piece in await stream])


NESTED = {
    "complete": lambda llm: llm.complete("Hi"),
    "chat": lambda llm: llm.chat(MESSAGES),
    "stream_chat": lambda llm: list(llm.stream_chat(MESSAGES)),
    "stream_complete": lambda llm: list(llm.stream_complete("Hi")),
    "achat": lambda llm: run(llm.achat(MESSAGES)),
    "acomplete": lambda llm: run(llm.acomplete("Hi")),
    "astream_chat": lambda llm: run(read(llm.astream_chat(MESSAGES))),
    "astream_complete": lambda llm: run(read(llm.astream_complete("Hi"))),
}


@pytest.mark.parametrize("how", NESTED)
@pytest.mark.parametrize("llm", [Bare(), MockLLM(max_tokens=3), InThread()], ids=["bare", "mock", "thread"])
@pytest.mark.parametrize("is_wrapped", [True, False])
def test_an_llm_that_calls_itself_counts_once(thrift, handler, how, llm, is_wrapped):
    NESTED[how](thrifty(llm, thrift) if is_wrapped else llm)
    (row,) = rows(thrift)
    assert row.model == llm.class_name()  # "unknown" says less
    assert (row.error, row.estimated, row.cost_usd) == (None, True, None)
    assert row.output_tokens > 0


def test_a_call_while_a_stream_is_open_is_not_inside_of_it(thrift, handler):
    stream = Bare().stream_complete("One")
    next(stream)
    Bare().complete("Two")
    list(stream)
    assert len(rows(thrift)) == 2


@pytest.mark.parametrize("raw", [None, {}, {"usage": None}, {"usage": {"prompt_tokens": None}}, "text", 7, MockLLM(), {"usage": {"n": 1}}])
def test_a_response_without_usage_is_estimated(thrift, handler, raw):
    Bare(raw=raw).complete("Say hello to me, please.")
    (row,) = rows(thrift)
    assert row.estimated
    assert (row.input_tokens, row.output_tokens) > (0, 0)


@pytest.mark.parametrize("method", ["chat", "achat"])
def test_a_failure_is_a_row_without_the_text_of_its_error(thrift, handler, tmp_path, method):
    with pytest.raises(ValueError, match="the prompt was"):
        NESTED[method](Bare(fails=True))
    (row,) = rows(thrift)
    assert (row.error, row.cost_usd, row.input_tokens) == ("ValueError", 0, 0)
    assert b"the prompt was" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.loopback
def test_a_failing_stream_is_a_row(thrift, provider, handler, openai):
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400") as raised:
        list(openai().stream_chat(MESSAGES))
    (row,) = rows(thrift)
    assert row.error == raised.type.__name__


@pytest.mark.loopback
@pytest.mark.parametrize("client", ["openai", "anthropic", "responses"])
def test_an_abandoned_stream_is_a_row_of_what_had_come(thrift, provider, handler, request, client):
    stream = request.getfixturevalue(client)().stream_chat(MESSAGES)
    text = "".join(piece.delta or "" for _, piece in zip(range(12), stream, strict=False))
    stream.close()
    (row,) = rows(thrift)
    assert text
    assert (row.error, bool(row.stream), row.estimated) == ("abandoned", True, True)
    assert row.input_tokens > 0 < row.output_tokens
    assert row.first_token_us is not None


@pytest.mark.loopback
def test_a_stream_without_usage_is_estimated(thrift, provider, handler, openai):
    list(openai(usage=False).stream_chat(MESSAGES))
    (row,) = rows(thrift)
    assert row.estimated
    assert row.output_tokens > 20


def test_a_stream_that_nobody_reads_ends_at_last(thrift, monkeypatch):
    monkeypatch.setattr(handler_module, "_EXPIRY_EVERY", 1)
    monkeypatch.setattr(handler_module, "_OPEN_SECONDS", 0.0)
    with ThriftEventHandler(thrift):
        kept = Bare().stream_complete("Hi")
        Bare().complete("Hi")
    assert [(row.error, row.cost_usd) for row in rows(thrift)] == [("abandoned", 0), (None, None)]
    list(kept)  # too late: it has been recorded
    assert len(rows(thrift)) == 2


def test_uninstalling_records_what_is_under_way_and_nothing_else(thrift):
    handler = ThriftEventHandler(thrift).install()
    handler.install()
    assert sum(each is handler for each in get_dispatcher().event_handlers) == 1
    stream = Bare().stream_complete("Hi")
    next(stream)
    handler.uninstall()
    Bare().complete("Unseen")
    list(stream)
    assert len(rows(thrift)) == 1
    assert all(each is not handler for each in get_dispatcher().event_handlers)
    with handler:
        Bare().complete("Seen")
    assert len(rows(thrift)) == 2


def test_attribution_is_taken_from_tags_then_the_block_then_the_handler(thrift):
    nested = {"user": "ada", "tags": {"team": "web", "deep": {"er": 1}}, "feature": {"not": "a name"}, "session": None, "other": "x"}
    with ThriftEventHandler(thrift, user="h", feature="h", session="h", tags={"by": "handler"}), attribute(user="b", feature="block"):
        with instrument_tags({"user": "outer"}), instrument_tags(nested):
            Bare().complete("Hi")
        Bare().complete("Hi")
    first, second = rows(thrift)
    assert (first.user, first.feature, first.session) == ("ada", "block", "h")
    assert first.tags == {"team": "web", "by": "handler"}
    assert (second.user, second.feature, second.tags) == ("b", "block", {"by": "handler"})


def test_trouble_in_the_handler_never_reaches_the_call(thrift, handler, monkeypatch, caplog):
    monkeypatch.setattr(thrift, "begin", lambda request: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert Bare().complete("Hi").text == "Hello there."
    assert thrift.health()["failures"]["handler"] == 1
    monkeypatch.undo()
    event = LLMChatEndEvent(messages=[], response=None, span_id="never begun")
    handler.handle(event)
    handler.handle(LLMChatStartEvent(model_dict={}, messages=[], additional_kwargs={}, span_id=None))
    assert rows(thrift) == []


def test_no_key_is_stored(thrift, handler, tmp_path):
    class Keyed(Bare):
        api_key: str = "sk-very-secret"

    llm = Keyed()
    assert llm.to_dict()["api_key"] == "sk-very-secret"
    thrifty(llm, thrift).complete("Hi")
    llm.complete("Hi")
    thrift.flush()
    assert b"sk-very-secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.loopback
def test_threads_and_event_loops_at_once(thrift, provider, handler, openai):
    plain, wrapped = openai(), thrifty(openai(), thrift)

    def thread(number: int) -> None:
        for turn in range(3):
            plain.chat([ChatMessage(f"{number} and {turn}?")])
            list(wrapped.stream_chat([ChatMessage(f"{number} or {turn}?")]))

    async def many() -> None:
        questions = [plain.achat([ChatMessage(f"loop {n}?")]) for n in range(8)]
        questions += [wrapped.achat([ChatMessage(f"wrapped loop {n}?")]) for n in range(8)]
        await asyncio.gather(*questions)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    run(many())
    for each in threads:
        each.join()
    assert len(rows(thrift)) == 40
    assert counted(thrift) == billed(provider)


def test_another_thrifts_handler_does_not_bill_a_hit(thrift, tmp_path):
    with Thrift(tmp_path / "other.db") as other, ThriftEventHandler(other):
        llm = thrifty(Bare(), thrift)
        for _ in range(2):
            llm.complete("Hi")
        assert [row.cache for row in rows(thrift)] == [None, "exact"]
        assert len(rows(other)) == 1


# --- embeddings ---


@pytest.mark.loopback
def test_embeddings_are_counted_batch_by_batch(thrift, provider, handler):
    embedding = OpenAIEmbedding(api_base=provider.openai_url, api_key="none", embed_batch_size=2, max_retries=0)
    texts = [f"This is text number {number}." for number in range(5)]
    embedding.get_text_embedding_batch(texts)
    embedding.get_query_embedding("Which?")
    made = rows(thrift)
    assert len(made) == len(provider.requests) == 4
    assert {(row.model, row.provider, row.request_type, row.estimated) for row in made} == {
        ("text-embedding-ada-002", "openai", "embedding", True)
    }
    assert all(row.cost_usd > 0 for row in made)


def test_async_batches_of_embeddings_are_counted(thrift, handler):
    run(MockEmbedding(embed_dim=2, embed_batch_size=2).aget_text_embedding_batch(["one", "two", "three"]))
    first, second = rows(thrift)
    assert first.input_tokens == 2 * second.input_tokens > 0


def test_a_failing_embedding_is_a_row(thrift, handler):
    class Failing(MockEmbedding):
        def _get_text_embedding(self, text: str) -> Any:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Failing(embed_dim=2).get_text_embedding_batch(["one"])
    assert [(row.error, row.request_type) for row in rows(thrift)] == [("RuntimeError", "embedding")]


@pytest.mark.loopback
@pytest.mark.parametrize("how", NESTED)
@pytest.mark.parametrize("where", ["file", "postgresql"])
def test_two_that_are_open_on_one_database_record_a_call_once(openai, provider, request, tmp_path, how: str, where: str):
    url = str(tmp_path / "l.db") if where == "file" else request.getfixturevalue("postgresql_url")
    other = f"sqlite:///{url}" if where == "file" else url.replace("postgresql://", "postgres://")
    with Thrift(url) as one, Thrift(other) as two, ThriftEventHandler(one), ThriftEventHandler(two):
        for llm in (openai(), thrifty(openai(), two, cache=False), RouterLLM(one, models={"only": thrifty(openai(), two, cache=False)})):
            assert NESTED[how](llm)
        two.flush()
        assert len(rows(one)) == len(provider.requests) == 3
        assert counted(one) == billed(provider)
