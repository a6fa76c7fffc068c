"""One script of situations through every door and every combination of doors: the ledger must tell the same story.

A row is (model, cache, error, stream, input tokens, output tokens). What the provider counted is the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import HumanMessage

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import (
    CACHING,
    DOORS,
    LANGCHAIN,
    METERING,
    MODEL,
    STREAM_CACHING,
    MakeDoor,
    uninstall_handlers,
    with_cache,
    with_global_cache_and_handler,
)

pytestmark = pytest.mark.loopback
LANGCHAIN_METERING = [door for door in LANGCHAIN if door is not with_cache]


def named(doors: list[MakeDoor]) -> Any:
    return pytest.mark.parametrize("door", doors, ids=[door.__name__.removeprefix("with_") for door in doors])


@pytest.fixture(autouse=True)
def _no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
    uninstall_handlers()


def rows(thrift: Thrift) -> list[tuple[Any, ...]]:
    thrift.flush()
    found = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    return [(r.model, r.cache, r.error, bool(r.stream), r.input_tokens, r.output_tokens) for r in found]


def billed(provider: LoopbackProvider) -> tuple[int, int]:
    return sum(entry.input_tokens for entry in provider.usage_log), sum(entry.output_tokens for entry in provider.usage_log)


@named(DOORS)
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_miss_is_one_row_with_the_providers_counts(thrift, provider, door, how):
    made = door(thrift, provider)
    assert made.ask("What is your name?", how)
    ((model, cache, error, stream, sent, received),) = rows(thrift)
    assert (cache, error, stream) == (None, None, False)
    assert model.startswith(MODEL)
    assert (sent, received) == billed(provider)
    (row,) = thrift.report(by="model").to_dicts()
    assert (row["requests"], row["attempts"], row["unpriced"]) == (1, 1, 0)
    assert row["cost_usd"] > 0


@named(METERING)
@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_stream_is_one_row_with_the_providers_counts(thrift, provider, door, how):
    made = door(thrift, provider)
    with_warning = door is with_global_cache_and_handler
    if with_warning:
        import llmthrift_langchain.enforcement as unserved

        unserved._warned = True
    assert made.ask("Tell me a story.", how)
    ((model, cache, error, stream, sent, received),) = rows(thrift)
    assert (cache, error, stream) == (None, None, True)
    assert model.startswith(MODEL)
    assert (sent, received) == billed(provider)


@named(CACHING)
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_repeat_is_a_hit_that_bills_nothing(thrift, provider, door, how):
    made = door(thrift, provider)
    first = made.ask("What is your name?", how)
    again = made.ask("What is your name?", how)
    assert again == first
    assert len(provider.requests) == 1
    miss, hit = rows(thrift)
    assert miss[4:] == billed(provider)
    assert hit[1:] == ("exact", None, False, 0, 0)
    (row,) = thrift.report(by="model").to_dicts()
    assert (row["requests"], row["cache_hits"]) == (2, 1)
    assert row["saved_usd"] == row["cost_usd"] > 0  # the hit saved exactly what the miss cost


@named(STREAM_CACHING)
@pytest.mark.parametrize("how", ["stream", "astream"])
def test_a_repeated_stream_is_replayed(thrift, provider, door, how):
    made = door(thrift, provider)
    first = made.ask("Tell me a story.", how)
    assert made.ask("Tell me a story.", how) == first
    assert len(provider.requests) == 1
    miss, hit = rows(thrift)
    assert miss[4:] == billed(provider)
    assert hit[1:] == ("exact", None, True, 0, 0)


@named(STREAM_CACHING)
def test_a_stream_and_a_whole_answer_share_an_entry(thrift, provider, door):
    made = door(thrift, provider)
    first = made.ask("Tell me a story.", "stream")
    assert made.ask("Tell me a story.", "invoke") == first
    assert len(provider.requests) == 1


@named(METERING)
def test_an_abandoned_stream_is_settled_and_not_stored(thrift, provider, door):
    import llmthrift_langchain.enforcement as unserved

    unserved._warned = True
    made = door(thrift, provider)
    made.begin_and_leave("Tell me a long story.")
    ((_, cache, error, streamed, sent, _),) = rows(thrift)
    assert (cache, error, streamed) == (None, "abandoned", True)
    assert sent > 0  # counted, since the provider's figures come last
    (row,) = thrift.ledger.calls()
    assert row.estimated
    assert thrift.cache.stats()["stores"] == 0


@named(CACHING)
def test_tool_calls_come_back_from_the_cache(thrift, provider, door):
    made = door(thrift, provider)
    first = made.call_tool("Where is order 123?")
    again = made.call_tool("Where is order 123?")
    assert first == again == [("get_order_status", {"order_id": 123})]
    assert len(provider.requests) == 1
    assert [row[1] for row in rows(thrift)] == [None, "exact"]


@named(METERING)
def test_an_error_is_a_row_and_costs_nothing(thrift, provider, door):
    made = door(thrift, provider)
    provider.fail_next(status=400, times=1)
    with pytest.raises(Exception, match="400") as raised:
        made.ask("Hello")
    ((model, cache, error, _, sent, received),) = rows(thrift)
    assert model.startswith(MODEL)
    assert (cache, error, sent, received) == (None, raised.type.__name__, 0, 0)
    (row,) = thrift.report(by="model").to_dicts()
    assert (row["requests"], row["errors"], row["cost_usd"], row["unpriced"]) == (1, 1, 0, 0)


@named(DOORS)
def test_an_unknown_model_is_unpriced_not_free(thrift, provider, door):
    made = door(thrift, provider)
    made.ask("Hello", model="house-model-7")
    (row,) = thrift.ledger.calls()
    assert row.model == "house-model-7"
    assert row.cost_usd is None
    (total,) = thrift.report(by="model").to_dicts()
    assert (total["unpriced"], total["cost_usd"]) == (1, 0)


@named(LANGCHAIN_METERING)
def test_a_batch_is_one_row_per_prompt(thrift, provider, door):
    made = door(thrift, provider)
    prompts = [f"What is {n} plus {n}?" for n in range(5)]
    made.model.batch(prompts, made.config)
    found = rows(thrift)
    assert len(found) == 5
    assert (sum(row[4] for row in found), sum(row[5] for row in found)) == billed(provider)


@named(LANGCHAIN_METERING)
def test_generate_with_several_prompts_is_one_row_each(thrift, provider, door):
    made = door(thrift, provider)
    made.model.generate([[HumanMessage("One?")], [HumanMessage("Two?")], [HumanMessage("One?")]], callbacks=made.callbacks)
    found = rows(thrift)
    assert len(found) == 3
    assert (sum(row[4] for row in found), sum(row[5] for row in found)) == billed(provider)
    if door in CACHING:
        assert [row[1] for row in found].count("exact") == 1


@named(CACHING)
def test_the_cache_can_be_passed_by_and_refreshed_per_call(thrift, provider, door):
    from llmthrift_core import cache_mode

    made = door(thrift, provider)
    made.ask("Hello")
    with cache_mode("off"):
        made.ask("Hello")
    assert len(provider.requests) == 2
    with cache_mode("refresh"):
        made.ask("Hello")
    assert len(provider.requests) == 3
    made.ask("Hello")
    assert len(provider.requests) == 3


@named(DOORS)
def test_disabled_is_a_pass_through(thrift, provider, door, monkeypatch):
    made = door(thrift, provider)
    monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
    for _ in range(2):
        made.ask("Hello")
    assert len(provider.requests) == 2
    monkeypatch.delenv("LLMTHRIFT_DISABLED")
    assert rows(thrift) == []


@named(CACHING)
def test_observing_serves_nothing_and_says_what_it_would_have_saved(thrift, provider, door, monkeypatch):
    made = door(thrift, provider)
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    for _ in range(2):
        made.ask("Hello")
    assert len(provider.requests) == 2
    assert [row[1] for row in rows(thrift)] == [None, None]
    first, second = sorted(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert first.observed_cache_nano_usd is None
    assert second.observed_cache_nano_usd == second.cost_nano_usd > 0


@named(METERING)
def test_attribution_comes_from_metadata_then_the_block_then_the_constructor(thrift, provider, door):
    from llmthrift_core import attribute

    made = door(thrift, provider)
    with attribute(user="block", feature="block", session="block", tags={"team": "web"}):
        made.ask("Hello", metadata={"user": "ada", "tags": {"tier": "gold"}})
    (row,) = thrift.ledger.calls()
    assert (row.user, row.feature, row.session) == ("ada", "block", "block")
    assert row.tags == {"team": "web", "tier": "gold"}


@named(LANGCHAIN_METERING)
def test_run_trace_and_parent_are_recorded(thrift, provider, door):
    from langchain_core.runnables import RunnableLambda

    made = door(thrift, provider)
    seen: dict[str, Any] = {}

    class Spy(BaseCallbackHandler):
        run_inline = True

        def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **_: Any) -> None:
            seen.update(run=str(run_id), parent=str(parent_run_id))

    chain = RunnableLambda(lambda text: text) | made.model
    chain.invoke("Hello", {"callbacks": [*made.callbacks, Spy()]})
    (row,) = thrift.ledger.calls()
    assert row.run_id == seen["run"]
    assert row.parent_id == seen["parent"]
    assert row.trace_id == seen["parent"]  # the chain is the root
