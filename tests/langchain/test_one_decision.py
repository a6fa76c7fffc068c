"""What providers keep of a prompt decides with routing and with shortening: one decision in dollars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from llmthrift_core import Thrift, attribute
from llmthrift_core.calls.shortening import LEFT
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.routing import Sticky
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, thrifty
from tests.core.clock import Clock

pytestmark = pytest.mark.loopback
LONG = "Answer from the manual, and say on which page it stands. " * 300
MODELS = {"simple": "claude-haiku-4-5", "complex": "claude-sonnet-4-5"}


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture(scope="module")
def _billing(clock: Clock) -> Iterator[LoopbackProvider]:
    with LoopbackProvider(lambda _: "Fine.", prompt_caches=True, clock=clock) as provider:
        yield provider


@pytest.fixture
def billing(_billing: LoopbackProvider) -> LoopbackProvider:
    _billing.reset()
    return _billing


def _claude(provider: LoopbackProvider, name: str) -> ChatAnthropic:
    return ChatAnthropic(model=name, base_url=provider.anthropic_url, api_key="k", max_retries=0)


def _turns(count: int) -> list[BaseMessage]:
    turns: list[BaseMessage] = [SystemMessage(LONG), HumanMessage("First? " + "Look it up. " * 200)]
    for number in range(count):
        turns += [AIMessage("Fine."), HumanMessage(f"And {number}? " + "Look that up as well. " * 150)]
    return turns


def _router(thrift: Thrift, billing: LoopbackProvider, wanted: list[str], clock: Clock) -> ChatRouter:
    models = {tier: _claude(billing, name) for tier, name in MODELS.items()}
    policy = Sticky(lambda _: wanted[0], MODELS, catalog=thrift.prices, clock=clock)
    return ChatRouter(thrift=thrift, models=models, policy=policy, cache=False, prompt_caching=True)


def test_another_process_keeps_the_model_whose_provider_has_the_prompt(tmp_path: Path, billing: LoopbackProvider, clock: Clock) -> None:
    wanted = ["complex"]
    with Thrift(tmp_path / "one.db", clock=clock) as first, attribute(session="talk"):
        router = _router(first, billing, wanted, clock)
        for count in range(4):
            clock.now += 10
            router.invoke(_turns(count))
    wanted[0] = "simple"  # cheaper, but for the prefix that it does not have
    with Thrift(tmp_path / "one.db", clock=clock) as second, attribute(session="talk"):
        clock.now += 10
        _router(second, billing, wanted, clock).invoke(_turns(4))
        (row,) = second.ledger.calls(order="newest")[:1]
        assert (row.tier, row.model) == ("complex", "claude-sonnet-4-5")
        assert row.cache_read_tokens > 0.7 * row.input_tokens
        clock.now += 4_000  # nothing is kept any more
        _router(second, billing, wanted, clock).invoke(_turns(5))
        assert second.ledger.calls(order="newest")[0].tier == "simple"
        assert second.health()["failures"] == {}


def _shorter(thrift: Thrift, billing: LoopbackProvider, **options: Any) -> ChatRouter:
    policy = Shorten([steps.History(max_turns=2)], **options)
    return thrifty(_claude(billing, "claude-sonnet-4-5"), thrift, cache=False, prompt_caching=True, shorten=policy)


def test_a_prompt_whose_beginning_is_kept_is_left_as_it_is_where_that_is_cheaper(
    tmp_path: Path, billing: LoopbackProvider, clock: Clock
) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        model = _shorter(thrift, billing)
        for count in range(6):
            clock.now += 10
            model.invoke(_turns(count))
        rows = thrift.ledger.calls(order="oldest")
        assert all(row.cache_read_tokens > 0.7 * row.input_tokens for row in rows[1:])
        assert json.loads(rows[-1].shorten_steps) == [[LEFT, 0]]
        assert thrift.savings().shortening_saved_usd == 0
        clock.now += 4_000
        model.invoke(_turns(6))  # nothing is kept: the shorter one is cheaper
        newest = thrift.ledger.calls(order="newest")[0]
        assert newest.shortened_tokens > 0
        assert thrift.savings().shortening_saved_usd > 0
        assert thrift.health()["failures"] == {}


def test_a_prefix_that_is_broken_all_the_same_is_a_loss(tmp_path: Path, billing: LoopbackProvider, clock: Clock) -> None:
    with Thrift(tmp_path / "one.db", clock=clock) as thrift:
        plain = thrifty(_claude(billing, "claude-sonnet-4-5"), thrift, cache=False, prompt_caching=True)
        for count in range(6):
            clock.now += 10
            plain.invoke(_turns(count))
        kept = thrift.ledger.calls(order="newest")[0]
        short = thrifty(
            _claude(billing, "claude-sonnet-4-5"), thrift, cache=False, prompt_caching=True, shorten=_Halved(limit=kept.input_tokens // 2)
        )
        short.invoke(_turns(6))
        row = thrift.ledger.calls(order="newest")[0]
        assert row.shortened_tokens > 0
        assert row.cache_read_tokens == 0
        # The whole prompt would have been read but for its end: what was sent costs more, though it is half as long.
        assert row.shortening_saved_usd is not None
        assert row.shortening_saved_usd < 0
        savings = thrift.savings()
        assert savings.without_usd == savings.spent_usd + savings.prefix_saved_usd + savings.shortening_saved_usd
        sent = row.input_tokens + row.shortened_tokens
        plain_usd = (Decimal(3) * sent + Decimal(15) * row.output_tokens) / 10**6
        assert row.cost_usd + row.shortening_saved_usd + row.prefix_saved_usd == plain_usd


class _Halved:
    """Cuts the system prompt at its begin, and must: it allows no more."""

    def __init__(self, limit: int) -> None:
        self.max_input_tokens = limit

    def identity(self) -> str:
        return "halved"

    def __call__(self, messages: Any, model: str | None = None) -> Any:
        from types import SimpleNamespace

        first, *rest = [dict(each) for each in messages]
        first["content"] = first["content"][len(first["content"]) // 2 :]
        return SimpleNamespace(messages=[first, *rest], tokens_before=9_000, tokens_after=9_000 - 1_800, steps=())
