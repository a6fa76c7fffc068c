"""A chat model's answers by meaning, kept in a real GPTCache."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from llmthrift_core.cache import FixedThreshold, GPTCacheStore, SemanticCache
from llmthrift_langchain import ThriftCache

pytestmark = [pytest.mark.loopback, pytest.mark.usefixtures("nothing_is_installed")]
HOURS, AGAIN = "What are the opening hours?", "Which opening hours do you have?"


def test_a_chat_models_answer_survives_with_its_payload_and_usage(thrift, client, provider, open_gptcache):
    provider.answerer = lambda question: f"Answer {len(provider.requests)}"

    def opened() -> ThriftCache:
        return ThriftCache(thrift, semantic=SemanticCache(thrift, policy=FixedThreshold(0.8), store=GPTCacheStore(open_gptcache())))

    cache = opened()
    first = client(cache=cache).invoke(HOURS)
    cache.semantic.close()
    model = client(cache=opened())
    again = model.invoke(AGAIN)
    assert len(provider.requests) == 1
    assert again.content == first.content
    assert again.response_metadata["model_name"] == first.response_metadata["model_name"]
    assert [row.cache for row in thrift.ledger.calls(order="oldest")] == [None, "semantic"]
    assert thrift.ledger.calls(order="oldest")[1].cache_saved_usd > 0
    model.invoke([SystemMessage("Answer in French."), HumanMessage(AGAIN)])
    client("gpt-4o", cache=model.cache).invoke(AGAIN)
    assert len(provider.requests) == 3


def test_what_gptcache_stored_itself_never_answers_a_chat_model(thrift, client, provider, open_gptcache):
    gptcache = open_gptcache()
    gptcache.import_data([HOURS], ["From GPTCache."])
    cache = ThriftCache(thrift, semantic=SemanticCache(thrift, policy=FixedThreshold(0.1), store=GPTCacheStore(gptcache)))
    assert client(cache=cache).invoke(AGAIN).content != "From GPTCache."
    assert len(provider.requests) == 1
