"""Budgets, fallbacks, rows that are durable at once and streams that end early: an asynchronous door does none of it on the event loop.

That nothing blocks is what the fixture of this folder asserts; here are the situations, and that they come out right.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from llama_index.core import MockEmbedding
from llama_index.core.llms import ChatMessage, MockLLM

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, BudgetExceededError, Thrift
from llmthrift_core.testing import LoopbackProvider
from tests.contracts.doors import _LOOP, AnyDoor, Door, client, uninstall_handlers
from tests.contracts.test_faulty_policies import MODELS, Policy, in_langchain, in_llamaindex

pytestmark = pytest.mark.loopback
ROUTERS = pytest.mark.parametrize("router", [in_langchain, in_llamaindex])
HOW = pytest.mark.parametrize("how", ["ainvoke", "astream"])
Make = Callable[..., AnyDoor]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    set_llm_cache(None)
    uninstall_handlers()


def errors(thrift: Thrift) -> list[str | None]:
    thrift.flush()
    return [row.error for row in sorted(thrift.ledger.calls(), key=lambda row: (row.at_us, row.attempt))]


@ROUTERS
@HOW
def test_a_model_that_fails_and_one_that_answers(thrift: Thrift, provider: LoopbackProvider, router: Make, how: str) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    provider.fail_next(status=503, model=MODELS["weak"])
    door = router(thrift, provider, Policy())
    assert door.ask("Hello?", how) == door.ask("Hello?", how)  # and a hit
    first, *rest = errors(thrift)
    assert (first is None, rest) == (False, [None, None])
    assert thrift.budgets.holds() == []
    (status,) = thrift.budgets.status()
    assert status["spent"] * 10**9 == sum(row.cost_nano_usd for row in thrift.ledger.calls()) > 0
    assert thrift.health()["failures"] == {}


@ROUTERS
@HOW
def test_every_model_fails(thrift: Thrift, provider: LoopbackProvider, router: Make, how: str) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    provider.fail_next(status=503, times=len(MODELS))
    with pytest.raises(Exception, match="503"):
        router(thrift, provider, Policy()).ask("Hello?", how)
    assert len(errors(thrift)) == len(MODELS)
    assert None not in errors(thrift)
    assert thrift.budgets.holds() == []


@ROUTERS
@HOW
def test_a_budget_without_room(thrift: Thrift, provider: LoopbackProvider, router: Make, how: str) -> None:
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    door = router(thrift, provider, Policy())
    assert door.ask("Hello?", how)
    with pytest.raises(BudgetExceededError):
        door.ask("And you?", how)
    assert len(provider.requests) == 1
    assert thrift.budgets.holds() == []


@ROUTERS
def test_a_stream_that_outgrows_its_budget(thrift: Thrift, provider: LoopbackProvider, router: Make) -> None:
    thrift.budgets.add(Budget(limit_tokens=700))
    provider.answerer = lambda question: "word " * 2000
    for _ in range(5):
        thrift.budgets.outputs.learn(MODELS["weak"], None, 20)
    with pytest.raises(BudgetExceededError):
        router(thrift, provider, Policy()).ask("Tell me everything.", "astream")
    assert errors(thrift) == ["BudgetExceededError"]
    assert thrift.budgets.holds() == []


@ROUTERS
def test_a_stream_whose_reader_leaves(thrift: Thrift, provider: LoopbackProvider, router: Make) -> None:
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    door = router(thrift, provider, Policy())

    async def leave() -> None:
        is_chain = isinstance(door, Door)
        stream = door.model.astream("Hello?") if is_chain else await door.model.astream_chat([ChatMessage("Hello?")])
        await anext(stream)
        await stream.aclose()

    _LOOP.run(leave())
    assert thrift.budgets.holds() == []
    assert errors(thrift) == ["abandoned"]


@HOW
@pytest.mark.parametrize("cached", [True, False], ids=["cached", "uncached"])
def test_an_enforcing_handler_reserves_after_the_lookup(thrift: Thrift, provider: LoopbackProvider, how: str, cached: bool) -> None:
    thrift.budgets.add(Budget(limit_requests=1, window="day"))
    if cached:
        set_llm_cache(lc.ThriftCache(thrift))
    door = Door(client(provider), [lc.ThriftCallbackHandler(thrift, enforce=True)])
    assert door.ask("Hello?", "ainvoke")
    with pytest.raises(BudgetExceededError):
        door.ask("And you?", how)
    if cached:
        assert door.ask("Hello?", "ainvoke")
    assert len(provider.requests) == 1


def with_enforcing_handler(thrift: Thrift, provider: LoopbackProvider, *_: Any) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift, enforce=True)])


def test_a_stream_that_outgrows_its_budget_under_an_enforcing_handler(thrift: Thrift, provider: LoopbackProvider) -> None:
    test_a_stream_that_outgrows_its_budget(thrift, provider, with_enforcing_handler)


@HOW
def test_an_enforcing_handler_waits_for_room(thrift: Thrift, provider: LoopbackProvider, how: str) -> None:
    """More calls than the event loop has threads wait for the one that is under way."""
    thrift.budgets.add(Budget(limit_tokens=20_000, on_exceed="queue"))
    provider.answerer = lambda question: "Yes."
    door = with_enforcing_handler(thrift, provider)

    async def ask(number: int) -> str:
        if how == "ainvoke":
            return str((await door.model.ainvoke(f"Is it {number}?", door.config)).content)
        return "".join([str(piece.content) async for piece in door.model.astream(f"Is it {number}?", door.config)])

    async def ask_all() -> list[str]:
        return await asyncio.gather(*map(ask, range(40)))

    assert _LOOP.run(ask_all()) == ["Yes."] * 40
    assert errors(thrift) == [None] * 40
    assert thrift.budgets.holds() == []


def test_a_task_that_is_cancelled_while_it_waits_for_room_leaves_nothing(thrift: Thrift, provider: LoopbackProvider) -> None:
    thrift.budgets.add(Budget(limit_tokens=20_000, on_exceed="queue"))
    door = with_enforcing_handler(thrift, provider)

    async def give_up() -> None:
        with thrift.budgets.reserve(estimate_tokens=20_000, scope={}), pytest.raises(TimeoutError):
            await asyncio.wait_for(door.model.ainvoke("Hello?", door.config), 0.3)
        assert (await door.model.ainvoke("Hello?", door.config)).content

    _LOOP.run(give_up())
    assert errors(thrift) == [None]
    assert len(provider.requests) == 1
    assert thrift.budgets.holds() == []


@pytest.mark.parametrize(
    "door", [with_enforcing_handler, lambda thrift, provider: Door(client(provider), [lc.ThriftCallbackHandler(thrift)])]
)
def test_a_handlers_rows_are_durable_when_the_call_returns(tmp_path: Path, provider: LoopbackProvider, door: Make) -> None:
    with Thrift(tmp_path / "sync.db", durability="sync") as thrift, Thrift(tmp_path / "sync.db") as other:
        made = door(thrift, provider)
        for asked in range(1, 3):
            made.ask("Hello?", "ainvoke")
            assert len(other.ledger.calls()) == asked


@ROUTERS
@HOW
def test_rows_are_durable_when_the_call_returns(tmp_path: Path, provider: LoopbackProvider, router: Make, how: str) -> None:
    with Thrift(tmp_path / "sync.db", durability="sync") as thrift, Thrift(tmp_path / "sync.db") as other:
        door = router(thrift, provider, Policy())
        for asked in range(1, 3):
            door.ask("Hello?", how)
            assert len(other.ledger.calls()) == asked


def test_a_model_without_a_price_or_usage_is_counted_by_the_ledgers_thread(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read from files for that has not been loaded yet, as in the first call of a process."""
    monkeypatch.setattr("llmthrift_core.usage.tokens._loaded", {})
    monkeypatch.setattr(thrift, "prices", type(thrift.prices)())
    answer = "Twelve words are more than one and less than a hundred of them."

    async def ask() -> None:
        chain = FakeListChatModel(responses=[answer])
        await chain.ainvoke("Hello?", {"callbacks": [lc.ThriftCallbackHandler(thrift)]})
        await lc.thrifty(chain, thrift, cache=False).ainvoke("Hello?")
        await li.thrifty(MockLLM(max_tokens=3), thrift, cache=False).achat([ChatMessage("Hello?")])
        with li.ThriftEventHandler(thrift):
            await MockLLM(max_tokens=3).achat([ChatMessage("Hello?")])

    _LOOP.run(ask())
    thrift.flush()
    rows = thrift.ledger.calls(order="oldest")
    assert [(row.estimated, row.error, row.cost_nano_usd) for row in rows] == [(1, None, None)] * 4
    assert all(row.input_tokens > 0 and row.output_tokens > 1 for row in rows)
    assert thrift.health()["failures"] == {}


@pytest.mark.parametrize(
    "embed",
    [
        lambda thrift: lc.ThriftEmbeddings(thrift, DeterministicFakeEmbedding(size=4)).aembed_documents,
        lambda thrift: li.ThriftEmbedding(thrift, MockEmbedding(embed_dim=4)).aget_text_embedding_batch,
    ],
    ids=["langchain", "llamaindex"],
)
def test_embeddings(thrift: Thrift, embed: Callable[[Thrift], Any]) -> None:
    thrift.budgets.add(Budget(limit_tokens=1_000))
    for _ in range(2):
        assert len(_LOOP.run(embed(thrift)(["one", "two"]))) == 2
    assert thrift.budgets.holds() == []
    assert {row.cache for row in thrift.ledger.calls()} == {None, "exact"}


FIRST_CALL = """
import asyncio, sys
from blockbuster import blockbuster_ctx
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from llama_index.core.llms import MockLLM
from llmthrift_core import Thrift, attribute
import llmthrift_langchain as lc, llmthrift_llamaindex as li

thrift = Thrift(sys.argv[1])
doors = [lc.thrifty(FakeListChatModel(responses=["Yes."]), thrift).ainvoke, li.thrifty(MockLLM(), thrift).acomplete]

async def main():
    for ask in doors:
        with attribute(user="ada"):
            await ask("When do you open?")

with blockbuster_ctx("llmthrift_core"):
    asyncio.run(main())
print(thrift.health()["failures"])
thrift.close()
"""


def test_the_first_call_of_a_process_reads_no_file_on_the_loop(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_CALL, str(tmp_path / "one.db")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("{}\n", 0), done.stderr
