"""`explain(question)` without a scope: what an application's cache would answer, in both frameworks and every store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.cache import CachePolicy, FixedThreshold, SemanticCache
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import client, llm

pytestmark = pytest.mark.loopback
QUESTION, LIKE_IT = "How do I reset my password?", "how can i reset my password"


@pytest.fixture(params=["sqlite", "postgresql", "valkey"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Thrift]:
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else tmp_path / "l.db"
    valkey_url = request.getfixturevalue("valkey_url") if request.param == "valkey" else None
    with Thrift(url, valkey_url=valkey_url) as opened:
        yield opened


def ask(framework: str, thrift: Thrift, provider: LoopbackProvider, cache: SemanticCache, system: str, question: str) -> None:
    if framework == "langchain":
        model: Any = client(provider, temperature=0, cache=lc.ThriftCache(thrift, semantic=cache))
        model.invoke([("system", system), ("user", question)])
    else:
        model = li.thrifty(llm(provider), thrift, semantic=cache)
        model.chat([ChatMessage(system, role="system"), ChatMessage(question)])


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_an_application_asks_without_knowing_a_scope(stored, provider, framework):
    cache = SemanticCache(stored, policy=FixedThreshold(0.75))
    assert cache.explain(LIKE_IT).reason == "nothing is cached in this namespace"
    ask(framework, stored, provider, cache, "You answer for a shop.", QUESTION)
    ask(framework, stored, provider, cache, "You answer for a bank.", "Do you open on Sundays?")
    found = cache.explain(LIKE_IT)
    assert (found.decision, found.considered[0].question) == ("hit", QUESTION)
    where = f"where the last question was {QUESTION!r}, of 2 searched"
    assert found.scope == f"the scope number 2 from the newest of gpt-4o-mini-2024-07-18, {where}"
    assert "newest scope of gpt-4o-mini" in cache.explain("Do you open on Sundays?").scope
    refused = cache.explain("How do I reset password number 7?")
    assert refused.decision == "miss"
    assert refused.considered[0].refused is not None
    assert cache.explain(LIKE_IT, "").reason == "nothing is cached in this scope"
    assert cache.stats()["misses"] == 2  # what is explained is not counted


def test_a_user_sees_their_own_where_answers_are_shared_by_user(thrift):
    cache = SemanticCache(thrift, policy=FixedThreshold(0.75), limits=CachePolicy(share="user"))
    for user in ("ada", "ben"):
        with attribute(user=user):
            cache.store(f"What did {user} order?", "A lamp.", "shop")
    with attribute(user="ada"):
        assert "ada" in cache.explain("What did ada order?").scope
        assert [each.question for each in cache.explain("What did ben order?").considered] == ["What did ada order?"]
