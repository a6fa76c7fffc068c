"""Gemini's explicit caches through LangChain's client: created, renewed, read and deleted; storage is in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI

from llmthrift_core import Thrift
from llmthrift_core.calls.prefix_planners import PrefixPlanners
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import thrifty
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback
LONG = "Answer from the manual, and say on which page it stands. " * 300


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture(scope="module")
def _billing(clock: Clock) -> Iterator[LoopbackProvider]:
    with LoopbackProvider(clock=clock) as provider:
        yield provider


@pytest.fixture
def billing(_billing: LoopbackProvider) -> LoopbackProvider:
    _billing.reset()
    return _billing


def _gemini(billing: LoopbackProvider, **more: Any) -> ChatGoogleGenerativeAI:
    return ChatGoogleGenerativeAI(model="gemini-2.5-flash", google_api_key="k", base_url=billing.google_url, max_retries=1, **more)


def _ask(model: Any, number: int, *, stream: bool = False) -> None:
    prompt = [SystemMessage(LONG), HumanMessage(f"Question {number}?")]
    list(model.stream(prompt)) if stream else model.invoke(prompt)


def test_a_cache_is_made_read_renewed_and_deleted_and_its_storage_is_a_cost(
    tmp_path: Path, billing: LoopbackProvider, clock: Clock
) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = thrifty(_gemini(billing), thrift, cache=False, prompt_caching=PrefixPlanners(explicit=True))
        for number in range(12):
            _ask(model, number, stream=number % 2 == 1)
            clock.now += 60
        rows = thrift.ledger.calls(order="oldest")
        (kept,) = billing.google_caches.log
        assert [row.cache_read_tokens for row in rows] == [kept.tokens] * 12
        assert all("systemInstruction" not in request.body for request in billing.requests if "contents" in request.body)
        assert kept.until > clock.now
        assert thrift.health()["failures"] == {}
        costs = {row["kind"]: row for row in _costs(thrift)}
        price = Decimal("0.30") / 10**6
        assert costs["prompt cache creation"]["usd"] == price * kept.tokens
        stored = Decimal("3.333") * price * kept.tokens * Decimal(kept.until - kept.created) / 3600
        assert abs(costs["prompt cache storage"]["usd"] - stored) < Decimal("1e-8")
        assert thrift.savings().prefix_saved_usd == 12 * kept.tokens * price * Decimal("0.9")
        assert thrift.savings().other_cost_usd == sum(row["usd"] for row in costs.values())
    assert kept.until <= clock.now  # deleted when the ledger was closed


def _costs(thrift: Thrift) -> list[dict[str, Any]]:
    from sqlalchemy import func, select

    from llmthrift_core.storage.tables import other_costs

    thrift.flush()
    query = select(other_costs.c.kind, func.sum(other_costs.c.cost_nano_usd)).group_by(other_costs.c.kind)
    with thrift.database.read() as connection:
        return [{"kind": kind, "usd": Decimal(amount) / 10**9} for kind, amount in connection.execute(query)]


def test_without_being_told_to_it_makes_none(thrift: Thrift, billing: LoopbackProvider) -> None:
    model = thrifty(_gemini(billing), thrift, cache=False, prompt_caching=True)
    for number in range(3):
        _ask(model, number)
    assert billing.google_caches.log == []


def test_what_the_provider_refuses_is_sent_whole(tmp_path: Path, billing: LoopbackProvider, clock: Clock) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = thrifty(_gemini(billing), thrift, cache=False, prompt_caching=PrefixPlanners(explicit=True))
        billing.google_caches.refuse = True
        try:
            for number in range(3):
                _ask(model, number)
        finally:
            billing.google_caches.refuse = False
        assert [row.error for row in thrift.ledger.calls()] == [None] * 3
        assert thrift.health()["failures"] == {"prompt_caching": 1}  # and it is not asked again at once
        assert thrift.savings().other_cost_usd == 0


def test_a_cache_of_the_application_stands(thrift: Thrift, billing: LoopbackProvider) -> None:
    from langchain_google_genai import create_context_cache

    plain = _gemini(billing)
    own = create_context_cache(plain, [SystemMessage(LONG)], ttl="300s")
    model = thrifty(_gemini(billing, cached_content=own), thrift, cache=False, prompt_caching=PrefixPlanners(explicit=True))
    model.invoke([HumanMessage("Question?")])
    assert len(billing.google_caches.log) == 1
    assert thrift.ledger.calls()[0].cache_read_tokens > 1_024
