"""Embeddings are metered, and a text is paid for once."""

from __future__ import annotations

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_openai import OpenAIEmbeddings

from llmthrift_core import Thrift, attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_langchain import ThriftCache, ThriftEmbeddings

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
