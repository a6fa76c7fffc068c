"""Embeddings are metered, and a text is paid for once."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_openai import OpenAIEmbeddings

from llmthrift_core import Thrift, attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_langchain import ThriftCache, ThriftEmbeddings
from tests.contracts.doors import _LOOP

pytestmark = pytest.mark.loopback
SMALL = "text-embedding-3-small"


@pytest.fixture
def inner(provider) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(model=SMALL, base_url=provider.openai_url, api_key="x", check_embedding_ctx_length=False, max_retries=0)


def test_documents_and_queries_are_recorded_with_their_price(thrift, inner, provider):
    embeddings = ThriftEmbeddings(thrift, inner)
    with attribute(feature="search"):
        vectors = embeddings.embed_documents(["one text", "another text", "one text"])
        query = embeddings.embed_query("one text")
    assert vectors[0] == vectors[2] != vectors[1]
    assert len(query) == len(vectors[0])
    rows = thrift.ledger.calls(order="oldest")
    assert [(row.model, row.request_type, row.feature, row.estimated) for row in rows] == [(SMALL, "embedding", "search", True)] * 2
    assert rows[0].input_tokens == 4
    assert rows[0].cost_usd > 0
    assert len(provider.requests[0].body["input"]) == 2


async def test_a_text_is_paid_for_once(tmp_path, inner, provider):
    with Thrift(tmp_path / "l.db") as thrift:
        first = ThriftEmbeddings(thrift, inner).embed_documents(["a", "b"])
    with Thrift(tmp_path / "l.db") as thrift:
        embeddings = ThriftEmbeddings(thrift, inner)
        assert embeddings.embed_documents(["a", "b"]) == first
        assert (await embeddings.aembed_documents(["b", "c"]))[0] == first[1]
        assert await embeddings.aembed_query("q") == embeddings.embed_query("q")
        assert [request.body["input"] for request in provider.requests] == [["a", "b"], ["c"], ["q"]]
        assert thrift.report().total["cache_hits"] == 3
        assert thrift.savings().cache_saved_usd > 0


def test_only_metered(thrift, inner, provider):
    embeddings = ThriftEmbeddings(thrift, inner, cache=False)
    embeddings.embed_query("a")
    embeddings.embed_query("a")
    assert len(provider.requests) == 2


@pytest.mark.parametrize("is_async", [False, True])
def test_what_was_sent_and_not_answered_is_not_free_and_what_was_refused_is(thrift, inner, provider, is_async):
    embeddings = ThriftEmbeddings(thrift, inner)
    texts = ["one text", "another text"]

    def ask() -> None:
        if is_async:
            _LOOP.run(embeddings.aembed_documents(texts))
        else:
            embeddings.embed_documents(texts)

    for status in (429, 504):  # refused, and a gateway that waited no longer
        provider.fail_next(status=status)
        with pytest.raises(Exception, match=str(status)):
            ask()
    ask()
    thrift.flush()
    refused, unanswered, answered = thrift.ledger.calls(order="oldest")
    assert (refused.input_tokens, refused.cost_nano_usd, refused.estimated) == (0, 0, False)
    assert (unanswered.input_tokens, unanswered.cost_nano_usd) == (answered.input_tokens, answered.cost_nano_usd)
    assert (unanswered.output_tokens, unanswered.estimated, bool(unanswered.error)) == (0, True, True)


async def test_embeddings_that_nobody_waits_for_any_more_are_not_free(thrift):
    asked = asyncio.Event()

    class Silent(DeterministicFakeEmbedding):
        model: str = SMALL

        async def aembed_query(self, text: str) -> list[float]:
            asked.set()
            await asyncio.Event().wait()
            return []

    asking = asyncio.create_task(ThriftEmbeddings(thrift, Silent(size=4)).aembed_query("one text"))
    await asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (row,) = thrift.ledger.calls()
    assert (row.error, row.input_tokens, row.estimated) == ("CancelledError", 2, True)
    assert row.cost_usd > 0


def test_a_failure_is_recorded_and_raised(thrift, inner, provider):
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400"):
        ThriftEmbeddings(thrift, inner).embed_query("a")
    (row,) = thrift.ledger.calls()
    assert row.error
    assert not row.cost_usd


def test_models_and_sizes_do_not_share_vectors(thrift):
    small, large = (ThriftEmbeddings(thrift, DeterministicFakeEmbedding(size=size)) for size in (4, 8))
    assert len(small.embed_query("a")) == 4
    assert len(large.embed_query("a")) == 8
    with pytest.raises(ConfigurationError):
        ThriftEmbeddings(thrift, "text-embedding-3-small")


def test_the_semantic_cache_meters_the_embeddings_that_it_is_given(thrift, inner, client, provider):
    cache = ThriftCache(thrift, semantic=inner)
    client("gpt-4o-mini", cache=cache).invoke("What are your hours?")
    assert thrift.ledger.calls(model=SMALL)[0].request_type == "embedding"
