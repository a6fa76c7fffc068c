"""Who asks the same at once shares one call: in one process, through every door, and over processes that share a store."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from llmthrift_core import Thrift, Usage
from llmthrift_core.cache import CachePolicy
from llmthrift_core.cache import leases as leases_module
from llmthrift_core.cache.leases import CallLeases, Elsewhere, Lent
from llmthrift_core.cache.single_flight import whoami
from llmthrift_core.cache.sql_store import SqlEntries
from llmthrift_core.cache.valkey_store import ValkeyEntries
from llmthrift_core.calls.request import CacheUse, Request, Response
from llmthrift_langchain import ThriftCache, ThriftCallbackHandler, thrifty
from tests.contracts import one_call
from tests.processes import FORK_SERVER

CALLERS = 20


class Slow(BaseChatModel):
    """Answers when it is let, and counts."""

    asked: ClassVar[list[str]] = []
    go: ClassVar[threading.Event] = threading.Event()
    flawed: ClassVar[str | None] = None
    failures: ClassVar[list[Exception]] = []

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].content)
        assert self.go.wait(60)
        return self._answer()

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].content)
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        return self._answer()

    def _answer(self) -> ChatResult:
        if self.failures:
            raise self.failures.pop()
        end = {} if self.flawed is None else {"finish_reason": self.flawed}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Fine.", response_metadata=end))])


class SlowText(LLM):
    """A completion model of the kind."""

    @property
    def _llm_type(self) -> str:
        return "slow text"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        Slow.asked.append(prompt)
        assert Slow.go.wait(60)
        if Slow.failures:
            raise Slow.failures.pop()
        return "Fine."


@pytest.fixture(autouse=True)
def slow() -> type[Slow]:
    Slow.asked, Slow.go, Slow.flawed, Slow.failures = [], threading.Event(), None, []
    return Slow


def _looked_up(thrift: Thrift, number: int) -> None:
    """Wait until so many have looked into the cache."""
    for _ in range(6_000):
        counts = thrift.cache.stats()
        if counts["hits"] + counts["misses"] >= number:
            return
        threading.Event().wait(0.01)
    raise AssertionError(counts)


def _doors(thrift: Thrift) -> dict[str, Callable[[], Any]]:
    return {
        "cache": lambda: Slow(cache=ThriftCache(thrift)),
        "cache and handler": lambda: Slow(cache=ThriftCache(thrift), callbacks=[ThriftCallbackHandler(thrift)]),
        "completions": lambda: SlowText(cache=ThriftCache(thrift)),
        "thrifty": lambda: thrifty(Slow(), thrift),
    }


@pytest.mark.parametrize("door", ["cache", "cache and handler", "completions", "thrifty"])
def test_threads_share_one_call(thrift: Thrift, door: str) -> None:
    model = _doors(thrift)[door]()
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = [pool.submit(model.invoke, "q") for _ in range(CALLERS)]
        _looked_up(thrift, CALLERS)
        Slow.go.set()
        assert all(getattr(each.result(60), "content", each.result()) == "Fine." for each in answers)
    counts = thrift.cache.stats()
    assert (len(Slow.asked), counts["hits"], counts["misses"], counts["stores"]) == (1, CALLERS - 1, 1, 1)
    total = thrift.report().total
    assert (total["requests"], total["cache_hits"]) == (CALLERS, CALLERS - 1)


@pytest.mark.parametrize("door", ["cache", "cache and handler", "thrifty"])
def test_tasks_share_one_call(thrift: Thrift, door: str) -> None:
    model = _doors(thrift)[door]()

    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(model.ainvoke("q")) for _ in range(CALLERS)]
        await asyncio.to_thread(_looked_up, thrift, CALLERS)
        Slow.go.set()
        return await asyncio.gather(*tasks)

    assert {each.content for each in asyncio.run(ask())} == {"Fine."}
    counts = thrift.cache.stats()
    assert (len(Slow.asked), counts["hits"], counts["misses"]) == (1, CALLERS - 1, 1)


@pytest.mark.parametrize("door", ["cache", "cache and handler", "completions", "thrifty"])
def test_after_a_leader_that_failed_one_goes_next(thrift: Thrift, door: str) -> None:
    """LangChain tells a cache nothing of a call that fails."""
    model = _doors(thrift)[door]()
    Slow.failures = [RuntimeError("no")]
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(model.invoke, "q") for _ in range(5)]
        _looked_up(thrift, 5)
        Slow.go.set()
        outcomes = [each.exception(60) for each in answers]
    assert sorted(type(each).__name__ for each in outcomes) == ["NoneType"] * 4 + ["RuntimeError"]
    assert len(Slow.asked) == 2


@pytest.mark.parametrize("door", ["cache", "cache and handler", "thrifty"])
def test_after_a_task_that_failed_one_goes_next(thrift: Thrift, door: str) -> None:
    model = _doors(thrift)[door]()
    Slow.failures = [RuntimeError("no")]

    async def ask() -> list[Any]:
        tasks = [asyncio.create_task(model.ainvoke("q")) for _ in range(5)]
        await asyncio.to_thread(_looked_up, thrift, 5)
        Slow.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(ask())
    assert sorted(type(each).__name__ for each in outcomes) == ["AIMessage"] * 4 + ["RuntimeError"]
    assert len(Slow.asked) == 2


@pytest.mark.parametrize("door", ["cache", "cache and handler", "thrifty"])
def test_a_failed_leader_goes_on_to_other_work(thrift: Thrift, door: str) -> None:
    """A thread that caught the error, and lives on, is not waited for."""
    model = _doors(thrift)[door]()
    Slow.failures = [RuntimeError("no")]
    done = threading.Event()

    def lead() -> None:
        with pytest.raises(RuntimeError):
            model.invoke("q")
        assert done.wait(60)

    leader = threading.Thread(target=lead)
    leader.start()
    _looked_up(thrift, 1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.invoke, "q")
        _looked_up(thrift, 2)
        Slow.go.set()
        assert answer.result(60).content == "Fine."
    done.set()
    leader.join()


@pytest.mark.parametrize("door", ["cache", "cache and handler", "thrifty"])
def test_an_answer_that_is_not_kept_is_nobodys_but_its_callers(thrift: Thrift, door: str) -> None:
    """All go at once then, rather than one after the other."""
    model = _doors(thrift)[door]()
    Slow.flawed = "length"
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(model.invoke, "q") for _ in range(5)]
        _looked_up(thrift, 5)
        Slow.go.set()
        assert all(each.result(60).content == "Fine." for each in answers)
    assert len(Slow.asked) == 5
    assert thrift.cache.stats()["stores"] == 0


def test_a_caller_waits_no_longer_than_he_would_for_his_own_call(thrift: Thrift) -> None:
    leader, hasty = thrifty(Slow(), thrift), thrifty(Slow(), thrift)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(leader.invoke, "q")
        _looked_up(thrift, 1)
        second = pool.submit(hasty.invoke, "q", timeout=0.05)
        for _ in range(6_000):
            if len(Slow.asked) == 2:
                break
            threading.Event().wait(0.01)
        Slow.go.set()
        assert first.result(60).content == second.result(60).content == "Fine."
    assert len(Slow.asked) == 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("door", ["cache", "cache and handler", "completions", "thrifty"])
def test_who_asks_again_after_a_failure_does_not_wait_for_himself(
    thrift: Thrift, monkeypatch: pytest.MonkeyPatch, door: str, how: str
) -> None:
    def stop(*_: Any) -> None:
        raise AssertionError("waits for a call in another process, and there is none")

    monkeypatch.setattr(Elsewhere, "begin", stop)
    model, kept = _doors(thrift)[door](), []
    Slow.go.set()
    for _ in range(3):
        Slow.failures = [RuntimeError("no")]
        with pytest.raises(RuntimeError) as failed:
            model.invoke("q") if how == "invoke" else asyncio.run(model.ainvoke("q"))
        kept.append(failed)  # an error that is kept keeps what its frames hold
    answer = model.invoke("q") if how == "invoke" else asyncio.run(model.ainvoke("q"))
    assert getattr(answer, "content", answer) == "Fine."
    assert len(Slow.asked) == 4


def test_a_lease_that_passed_on_is_given_back_by_whom_it_passed_to(thrift: Thrift) -> None:
    leases, store, key = thrift.cache.leases, SqlEntries(thrift.database), CachePolicy().key(b"question")
    first, second = leases.take(key), leases.take(key)
    assert isinstance(first, Lent)
    assert isinstance(second, Lent)
    first.end()
    del first
    assert store.leased_until(key, 0) is not None
    second.end()
    assert store.leased_until(key, 0) is None


@pytest.mark.parametrize("where", ["sqlite", "postgresql", "valkey"])
def test_eight_workers_make_one_call(tmp_path: Path, request: pytest.FixtureRequest, where: str) -> None:
    database = request.getfixturevalue("postgresql_url") if where == "postgresql" else str(tmp_path / "shared.db")
    valkey = request.getfixturevalue("valkey_url") if where == "valkey" else ""
    calls = tmp_path / "calls"
    with Thrift(database) as thrift:  # the tables are there
        together, answers = FORK_SERVER.Barrier(8), FORK_SERVER.Queue()
        given = (database, valkey, str(calls), together, answers)
        workers = [FORK_SERVER.Process(target=one_call.ask, args=given) for _ in range(8)]
        for worker in workers:
            worker.start()
        assert [answers.get(timeout=120) for _ in workers] == ["the answer"] * 8
        for worker in workers:
            worker.join(120)
            assert worker.exitcode == 0
        assert calls.read_text() == "x"
        total = thrift.report().total
        assert (total["requests"], total["cache_hits"]) == (8, 7)


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_a_worker_that_dies_holds_up_the_others_until_its_lease_ends(tmp_path: Path, request: pytest.FixtureRequest, where: str) -> None:
    database = request.getfixturevalue("postgresql_url") if where == "postgresql" else str(tmp_path / "shared.db")
    now = [1_800_000_000.0]
    policy, dead = CachePolicy(), uuid4().hex
    with Thrift(database, clock=lambda: now[0]) as thrift:
        key, now_us = policy.key(b"question"), int(now[0] * 1e6)
        assert SqlEntries(thrift.database).take_lease(key, dead, now_us, now_us + 10_000_000)
        call = thrift.begin(Request("m", cache=CacheUse(key, policy, bytes.decode, caller=whoami())))
        assert isinstance(call.waiting, Elsewhere)
        now[0] += 11
        call.waiting.wait()
        assert call.resume().waiting is None
        call.finish(Response(Usage(input_tokens=1), payload=lambda: b"answer"))
        assert thrift.cache.lookup(key, policy) is not None
        assert SqlEntries(thrift.database).leased_until(key, now_us) is None


def _leases(thrift: Thrift) -> CallLeases:
    """Those of another process, as it were."""
    store = SqlEntries(thrift.database) if thrift.valkey is None else ValkeyEntries(thrift.valkey)
    return CallLeases(store, clock=time.time, note=lambda error, started: None, may_write=lambda: True)


@pytest.mark.parametrize("where", ["sqlite", "postgresql", "valkey"])
def test_of_those_who_wait_for_a_call_that_failed_or_died_exactly_one_takes_over(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    database = request.getfixturevalue("postgresql_url") if where == "postgresql" else str(tmp_path / "shared.db")
    valkey = request.getfixturevalue("valkey_url") if where == "valkey" else None
    key = CachePolicy().key(b"question")
    with Thrift(database, valkey_url=valkey) as thrift:
        leader, *waiting = (_leases(thrift) for _ in range(5))
        held = leader.take(key)
        assert isinstance(held, Lent)
        assert {type(each.take(key)) for each in waiting} == {Elsewhere}
        held.end(passes_on=True)
        assert {each.state_of(key) for each in waiting} == {"expired"}
        with ThreadPoolExecutor(len(waiting)) as pool:
            taken = list(pool.map(lambda each: each.take(key), waiting))
        (held,) = (each for each in taken if isinstance(each, Lent))
        assert {each.state_of(key) for each in waiting} == {"held"}
        held.end(passes_on=True)
        monkeypatch.setattr(leases_module, "LEASE_SECONDS", 0.001)
        dead = _leases(thrift)
        lost = dead.take(key)  # for a thousandth of a second, and never renewed
        assert isinstance(lost, Lent)
        time.sleep(0.1)
        assert {each.state_of(key) for each in waiting} == {"expired"}
        monkeypatch.setattr(leases_module, "LEASE_SECONDS", 10.0)
        with ThreadPoolExecutor(len(waiting)) as pool:
            taken = list(pool.map(lambda each: each.take(key), waiting))
        (held,) = (each for each in taken if isinstance(each, Lent))
        held.end()
        assert {each.state_of(key) for each in waiting} == {"free"}
