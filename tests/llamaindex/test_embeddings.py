"""Embeddings: paid for once per model, parameters, kind and text."""

from __future__ import annotations

import copy
import pickle

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.openai import OpenAIEmbedding

from llmthrift_core import Budget, BudgetExceededError, attribute
from llmthrift_core.errors import ConfigurationError
from llmthrift_llamaindex import ThriftEmbedding
from tests.llamaindex.conftest import rows, run

pytestmark = pytest.mark.loopback
TEXTS = [f"This is text number {number}." for number in range(5)]


@pytest.fixture
def inner(provider):
    def make(**options):
        given = {"api_base": provider.openai_url, "api_key": "sk-very-secret", "max_retries": 0, "embed_batch_size": 2}
        return OpenAIEmbedding(model="text-embedding-3-small", **{**given, **options})

    return make


def test_a_text_is_embedded_once_and_comes_back_to_the_bit(thrift, provider, handler, inner):
    plain = inner().get_text_embedding_batch(TEXTS)
    provider.reset()
    before = len(rows(thrift))
    embedding = ThriftEmbedding(thrift, inner())
    assert embedding.get_text_embedding_batch(TEXTS) == plain
    assert len(provider.requests) == 3  # in batches of two
    assert embedding.get_text_embedding_batch([*TEXTS, "And one more.", "And one more."]) == [
        *plain,
        *[embedding.get_text_embedding("And one more.")] * 2,
    ]
    assert len(provider.requests) == 4
    assert [received.body["input"] for received in provider.requests][-1] == ["And one more."]
    made = rows(thrift)[before:]
    assert [row.cache for row in made].count(None) == 4
    assert {(row.model, row.provider, row.request_type, row.estimated) for row in made if row.cache is None} == {
        ("text-embedding-3-small", "openai", "embedding", True)
    }
    assert thrift.report().total["saved_usd"] > 0


def test_queries_models_and_dimensions_are_kept_apart(thrift, provider, inner):
    for options in ({}, {"dimensions": 8}):
        ThriftEmbedding(thrift, inner(**options)).get_text_embedding("One.")
        ThriftEmbedding(thrift, inner(**options)).get_query_embedding("One.")
    assert len(provider.requests) == 4
    embedding = ThriftEmbedding(thrift, inner(dimensions=8, api_key="sk-another"))
    assert len(embedding.get_query_embedding("One.")) == embedding.dimensions == 8
    assert len(provider.requests) == 4


def test_async_and_threads_share_what_is_known(thrift, provider, inner):
    embedding = ThriftEmbedding(thrift, inner(reuse_client=False))
    first = run(embedding.aget_text_embedding_batch(TEXTS))
    assert run(embedding.aget_text_embedding("This is text number 0.")) == first[0]
    assert run(embedding.aget_query_embedding("Which?")) == embedding.get_query_embedding("Which?")
    assert len(provider.requests) == 4


def test_budgets_stop_embeddings(thrift, provider, inner):
    thrift.budgets.add(Budget(limit_tokens=8, window="day", per="user"))
    embedding = ThriftEmbedding(thrift, inner())
    with attribute(user="ada"):
        embedding.get_query_embedding("How are you?")
        with pytest.raises(BudgetExceededError):
            embedding.get_text_embedding_batch(TEXTS)
        assert embedding.get_query_embedding("How are you?")  # costs nothing
    with attribute(user="ben"):
        embedding.get_query_embedding("And you?")
    assert len(provider.requests) == 2


def test_a_failure_is_a_row(thrift, provider, inner):
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400") as raised:
        ThriftEmbedding(thrift, inner()).get_query_embedding("Hi")
    assert [row.error for row in rows(thrift)] == [raised.type.__name__]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_what_was_sent_and_not_answered_is_not_free_and_what_was_refused_is(thrift, provider, handler, inner, is_wrapped, is_async):
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    embedding = inner(embed_batch_size=10, reuse_client=False)
    embedding = ThriftEmbedding(thrift, embedding) if is_wrapped else embedding
    ask = (lambda: run(embedding.aget_text_embedding_batch(TEXTS))) if is_async else (lambda: embedding.get_text_embedding_batch(TEXTS))
    for status in (429, 504):  # refused, and a gateway that waited no longer
        provider.fail_next(status=status)
        with pytest.raises(Exception, match=str(status)):
            ask()
    ask()
    refused, unanswered, answered = rows(thrift)
    assert (refused.input_tokens, refused.cost_nano_usd, refused.estimated) == (0, 0, False)
    assert (unanswered.input_tokens, unanswered.cost_nano_usd) == (answered.input_tokens, answered.cost_nano_usd)
    assert (unanswered.output_tokens, unanswered.estimated, bool(unanswered.error)) == (0, True, True)
    assert thrift.budgets.status()[0]["spent"] == (unanswered.cost_usd + answered.cost_usd if is_wrapped else 0)


def test_an_index_and_a_pipeline_use_it(thrift, provider, inner):
    embedding = ThriftEmbedding(thrift, inner())
    documents = [Document(text="Orders ship free of charge."), Document(text="Refunds take a week.")]
    for _ in range(2):
        index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
        assert "Refunds" in index.as_retriever(similarity_top_k=1).retrieve("Refunds take a week.")[0].text
    asked = len(provider.requests)
    IngestionPipeline(transformations=[SentenceSplitter(), embedding]).run(documents=documents)
    assert len(provider.requests) == asked == 2


def test_copies_pickles_and_what_is_no_embedding(thrift, provider, inner):
    embedding = ThriftEmbedding(thrift, inner())
    vector = embedding.get_query_embedding("Hi")
    for twin in (copy.deepcopy(embedding), pickle.loads(pickle.dumps(embedding))):
        assert twin.get_query_embedding("Hi") == vector
    assert len(provider.requests) == 1
    for wrong in ("text-embedding-3-small", embedding, None):
        with pytest.raises(ConfigurationError, match="must be an embedding of LlamaIndex"):
            ThriftEmbedding(thrift, wrong)


def test_disabled_is_a_pass_through(thrift, provider, inner, monkeypatch):
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    for _ in range(2):
        ThriftEmbedding(thrift, inner()).get_query_embedding("Hi")
    assert len(provider.requests) == 2


def test_only_metering(thrift):
    embedding = ThriftEmbedding(thrift, MockEmbedding(embed_dim=2), cache=False)
    for _ in range(2):
        embedding.get_query_embedding("Hi")
    assert [row.cache for row in rows(thrift)] == [None, None]
