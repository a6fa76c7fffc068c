"""One process, both frameworks: one ledger, one set of budgets, one cache's statistics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core import Document, SummaryIndex

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, BudgetExceededError, attribute
from tests.contracts.doors import client, llm, uninstall_handlers

pytestmark = pytest.mark.loopback


@pytest.fixture(autouse=True)
def _no_handlers() -> Iterator[None]:
    yield
    uninstall_handlers()


def test_a_chain_and_an_engine_share_ledger_cache_and_budget(thrift, provider):
    li.ThriftEventHandler(thrift).install()
    prompt = ChatPromptTemplate.from_messages([("system", "You answer for a shop."), ("human", "{question}")])
    chain = prompt | lc.ChatRouter(thrift, models={"only": client(provider)}, cache=True) | StrOutputParser()
    index = SummaryIndex.from_documents([Document(text="Orders over 50 euro ship free of charge.")])
    engine = index.as_query_engine(llm=li.RouterLLM(thrift, models={"only": llm(provider)}))
    for _ in range(2):
        with attribute(user="ada", feature="chain"):
            chain.invoke({"question": "What ships free?"})
        with attribute(user="ada", feature="engine"):
            engine.query("What ships free?")
    assert len(provider.requests) == 2
    by_feature = {row["feature"]: row for row in thrift.report(by="feature").to_dicts()}
    for row in by_feature.values():
        assert (row["requests"], row["cache_hits"]) == (2, 1)
        assert row["saved_usd"] == row["cost_usd"] > 0
    assert set(by_feature) == {"chain", "engine"}
    stats = thrift.cache.stats()
    assert (stats["hits"], stats["stores"]) == (2, 2)
    (total,) = thrift.report(by="user").to_dicts()
    assert total["requests"] == 4
    assert (total["input_tokens"], total["output_tokens"]) == (
        sum(entry.input_tokens for entry in provider.usage_log),
        sum(entry.output_tokens for entry in provider.usage_log),
    )
    # What the chain spends, the engine lacks, and the other way round.
    thrift.budgets.add(Budget(limit_requests=2, window="day", per="user"))
    with attribute(user="ben"):
        chain.invoke({"question": "And what does not?"})
        engine.query("And what does not?")
        for call in (lambda: chain.invoke({"question": "Why?"}), lambda: engine.query("Why?")):
            with pytest.raises(BudgetExceededError):
                call()
    assert len(provider.requests) == 4


def test_the_two_frameworks_never_answer_for_each_other(thrift, provider):
    """Their answers are stored in formats of their own; one that met the other's would count it as no answer."""
    lc.thrifty(client(provider), thrift).invoke("Hello")
    li.thrifty(llm(provider), thrift).chat([li_message("Hello")])
    assert len(provider.requests) == 2


def li_message(text: str) -> object:
    from llama_index.core.llms import ChatMessage

    return ChatMessage(text)
