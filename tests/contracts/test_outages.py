"""The store goes away: before a call, while it is under way, and when it is recorded. Through every kind of door.

Metering and caching fail open, budgets fail closed, nobody waits for long, and when the store is back every call is in the ledger once.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache

import llmthrift_langchain as lc
from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage, attribute
from llmthrift_core.errors import StorageError
from llmthrift_core.storage.circuit import Circuit
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Question
from tests.contracts.doors import (
    AnyDoor,
    Door,
    MakeDoor,
    client,
    uninstall_handlers,
    with_cache,
    with_handler,
    with_llamaindex_handler,
    with_llamaindex_router,
    with_llamaindex_thrifty,
    with_router,
)
from tests.contracts.outages import (  # noqa: F401 - fixtures
    BUSY_SECONDS,
    Locked,
    Outage,
    Stopped,
    new_postgresql,
    outage,
    own_postgresql,
    own_valkey,
)

pytestmark = pytest.mark.loopback

HOW = ["invoke", "ainvoke", "stream", "astream"]
ALL = ["sqlite locked", "sqlite read-only", "sqlite full", "postgresql hangs", "valkey hangs", "postgresql stopped", "valkey stopped"]


def with_thrifty(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(lc.thrifty(client(provider), thrift))


def with_enforcing_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift, enforce=True)])


ENFORCING: list[MakeDoor] = [with_enforcing_handler, with_thrifty, with_router, with_llamaindex_thrifty, with_llamaindex_router]
OPEN: list[MakeDoor] = [*ENFORCING, with_handler, with_cache, with_llamaindex_handler]


def away(kinds: list[str]) -> Any:
    return pytest.mark.parametrize("outage", kinds, indirect=True, ids=[kind.replace(" ", "_") for kind in kinds])


@pytest.fixture(autouse=True)
def _nothing_global() -> Iterator[None]:
    yield
    set_llm_cache(None)
    uninstall_handlers()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attempts on servers that did not answer: each is what a caller has waited for."""
    found: list[str] = []
    failed = Circuit.failed

    def count(self: Circuit, error: Any) -> None:
        found.append(str(error))
        failed(self, error)

    monkeypatch.setattr(Circuit, "failed", count)
    return found


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


def is_settled(thrift: Thrift) -> bool:
    return thrift.flush() and not thrift.health()["budgets"]["pending_settlements"]


def asked(door: AnyDoor, question: str, how: str = "invoke") -> str:
    """The answer, or the name of what was raised."""
    try:
        return door.ask(question, how)
    except Exception as error:
        return type(error).__name__


@away(ALL)
def test_calls_go_on_and_are_recorded_when_the_store_is_back(outage: Outage, provider: LoopbackProvider, attempts: list[str]) -> None:  # noqa: F811
    with Thrift(**outage.options) as thrift:
        doors = [make(thrift, provider) for make in OPEN]
        assert all(door.ask(f"Before, {number}?") for number, door in enumerate(doors))
        assert thrift.flush()
        outage.begin()
        for number, door in enumerate(doors):
            for how in HOW:
                assert not asked(door, f"During, {number} {how}?", how).endswith("Error")
        # One attempt found out, and those of calls and of the ledger's thread that came after a pause. Not one for each of 32 calls.
        assert len(attempts) <= 16
        health = thrift.health()
        assert (health["status"], health["ledger"]["lost"]) == ("degraded", 0)
        outage.end()
        eventually(thrift.flush)
        rows = thrift.ledger.calls()
        assert len({row.request_id for row in rows}) == len(rows) == len(provider.requests) - 2  # a cache alone sees no streams
        assert thrift.health()["ledger"]["lost"] == 0


@away(ALL)
def test_budgets_that_are_known_refuse_and_those_that_allow_do_not(outage: Outage, provider: LoopbackProvider) -> None:  # noqa: F811
    with Thrift(**outage.options) as thrift:
        thrift.budgets.add(Budget(limit_usd=1, name="strict", match={"feature": "strict"}))
        thrift.budgets.add(Budget(limit_usd=1, name="loose", match={"feature": "loose"}, on_store_error="allow"))
        doors = [make(thrift, provider) for make in ENFORCING]
        with attribute(feature="strict"):
            assert all(door.ask(f"Before, {number}?") for number, door in enumerate(doors))
        assert thrift.flush()
        outage.begin()
        reached = len(provider.requests)
        for number, door in enumerate(doors):
            for how in HOW:
                with attribute(feature="strict"), pytest.raises(StorageError):
                    door.ask(f"During, {number} {how}?", how)
        assert len(provider.requests) == reached
        with attribute(feature="loose"):
            assert all(door.ask(f"Loose, {number}?") for number, door in enumerate(doors))
        assert len(provider.requests) == reached + len(doors)
        outage.end()  # else closing waits for the store


@pytest.mark.parametrize("how", HOW)
@away(ALL)
def test_a_call_under_way_keeps_its_answer_its_row_and_its_spend(outage: Outage, how: str) -> None:  # noqa: F811
    def answer(question: Question) -> str:
        if "leave" in question.last_user_text:
            outage.begin()
        return "Here you are."

    with LoopbackProvider(answer) as provider, Thrift(**outage.options) as thrift:
        thrift.budgets.add(Budget(limit_usd=1, name="b"))
        for make in ENFORCING:
            door = make(thrift, provider)
            assert door.ask(f"{make.__name__}: leave", how) == "Here you are."
            assert thrift.health()["budgets"]["pending_settlements"] == 1
            assert thrift.health()["ledger"]["lost"] == 0
            outage.end()
            eventually(lambda: is_settled(thrift))
            if outage.is_slow or how not in ("invoke", "astream"):
                break  # once is enough: on other stores every door meets it
        rows = thrift.ledger.calls()
        assert len(rows) == len(provider.requests)
        if not outage.forgets:
            (status,) = thrift.budgets.status()
            assert (status["spent"], status["reserved"]) == (sum(row.cost_usd for row in rows), 0)


@pytest.mark.parametrize("make", [with_enforcing_handler, with_thrifty, with_llamaindex_thrifty])
@away(["sqlite locked", "sqlite read-only", "valkey hangs", "postgresql stopped"])
def test_a_stream_that_outgrows_its_hold_goes_on_where_the_budget_allows_it(outage: Outage, make: MakeDoor) -> None:  # noqa: F811
    def answer(question: Question) -> str:
        if "long" not in question.last_user_text:
            return "Yes."
        outage.begin()
        return "word " * 800

    with LoopbackProvider(answer) as provider, Thrift(**outage.options) as thrift:
        thrift.budgets.add(Budget(limit_usd=100, name="b", on_store_error="allow"))
        door = make(thrift, provider)
        for number in range(6):
            assert door.ask(f"Short, {number}?", "stream") == "Yes."  # so that little is set aside for the next
        assert door.ask("Now a long one.", "stream") == "word " * 800
        assert thrift.health()["ledger"]["lost"] == 0
        outage.end()  # else closing waits for the store


@pytest.mark.parametrize("make", OPEN)
def test_a_file_that_is_deleted_under_a_call_costs_neither_the_call_nor_its_row(tmp_path: Path, make: MakeDoor) -> None:
    def answer(question: Question) -> str:
        if "leave" in question.last_user_text:
            (tmp_path / "l.db").unlink()
        return "Here you are."

    with LoopbackProvider(answer) as provider, Thrift(tmp_path / "l.db") as thrift:
        thrift.budgets.add(Budget(limit_usd=1, name="before"))
        door = make(thrift, provider)
        for how in ("invoke", "ainvoke"):
            assert door.ask(f"One, {how}?", how) == "Here you are."
            assert thrift.flush()
            assert door.ask(f"Now leave, {how}.", how) == "Here you are."
            assert thrift.flush()
            (row,) = thrift.ledger.calls()  # what was recorded before is gone with the file
            assert (row.error, row.cost_usd > 0) == (None, True)
            health = thrift.health()
            assert (health["status"], "is gone" in health["database_trouble"]) == ("degraded", True)
            assert (health["ledger"]["lost"], health["budgets"]["pending_settlements"], health["failures"]) == (0, 0, {})
            assert thrift.budgets.status() == []  # and so are budgets: whoever needs them adds them again
            thrift.budgets.add(Budget(limit_tokens=1, name="after", match={"feature": "after"}))
            if make in ENFORCING:
                with attribute(feature="after"), pytest.raises(BudgetExceededError):
                    door.ask("Is there room?", how)


def test_a_server_that_is_restarted_under_traffic_costs_neither_a_call_nor_a_row(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("own_postgresql")
    options = new_postgresql(server)
    stopped = Stopped(server.stop, server.start)
    with Thrift(**options, busy_timeout_seconds=BUSY_SECONDS) as thrift:
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        assert thrift.flush()
        ended = threading.Event()
        recorded: list[int] = [0] * 4

        def record(number: int) -> None:
            while not ended.is_set():
                thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
                recorded[number] += 1
                time.sleep(0.002)

        threads = [threading.Thread(target=record, args=(number,)) for number in range(len(recorded))]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: min(recorded) > 50)
            stopped.begin()
            before = min(recorded)
            eventually(lambda: min(recorded) > before + 50)
        finally:
            stopped.end()
            ended.set()
            for thread in threads:
                thread.join()
        eventually(thrift.flush)
        assert thrift.report().total["requests"] == sum(recorded) + 1
        assert thrift.health()["ledger"]["lost"] == 0


@away(["postgresql hangs", "postgresql stopped"])
def test_whoever_looks_is_told_at_once(outage: Outage, attempts: list[str]) -> None:  # noqa: F811
    with Thrift(**outage.options) as thrift:
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        assert thrift.report().total["requests"] == 1
        outage.begin()
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        looks: list[Callable[[], Any]] = [thrift.report, thrift.savings, thrift.ledger.calls, thrift.budgets.status]
        for look in looks:
            with pytest.raises(StorageError):
                look()
        assert len(attempts) <= 3
        assert thrift.health()["status"] == "degraded"


def test_a_settlement_outlives_a_killed_process_in_a_spool(tmp_path: Path) -> None:
    spool = tmp_path / "rows.jsonl"
    options: dict[str, Any] = {"url": tmp_path / "l.db", "busy_timeout_seconds": BUSY_SECONDS, "spool": spool}
    locked = Locked(tmp_path / "l.db")
    with Thrift(**options) as thrift:
        thrift.budgets.add(Budget(limit_usd=10, name="b"))
        code = (
            "import sys; from llmthrift_core import Thrift; url, spool = sys.argv[1:]\n"
            f"thrift = Thrift(url, busy_timeout_seconds={BUSY_SECONDS}, spool=spool)\n"
            "hold = thrift.budgets.reserve(estimate_usd=4, scope={}); print('held', flush=True); sys.stdin.readline()\n"
            "hold.settle(cost_usd=3); print('settled', flush=True); sys.stdin.readline()\n"
        )
        arguments = [sys.executable, "-c", code, str(options["url"]), str(spool)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            locked.begin()
            try:
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "settled\n"
                process.kill()
                process.wait()
            finally:
                locked.end()
        (row,) = thrift.budgets.status()
        assert (row["spent"], row["reserved"]) == (0, 4)
    with Thrift(**options) as thrift:
        eventually(lambda: not list(tmp_path.glob("*.settlements*")))
        (row,) = thrift.budgets.status()
        assert (row["spent"], row["reserved"]) == (3, 0)


def test_rows_outlive_their_process_in_a_spool(tmp_path: Path, provider: LoopbackProvider) -> None:
    spool = tmp_path / "rows.jsonl"
    options: dict[str, Any] = {"url": tmp_path / "l.db", "busy_timeout_seconds": 0.1, "spool": spool, "capture": "text"}
    locked = Locked(tmp_path / "l.db")
    with Thrift(**options) as thrift:
        door = with_thrifty(thrift, provider)
        thrift.flush()
        locked.begin()
        with attribute(user="ada", tags={"team": "search"}):
            assert door.ask("What is a spool?")
        eventually(lambda: thrift.health()["ledger"]["spooled"] == 2)  # the call and its text
        assert thrift.health()["status"] == "degraded"
    (kept,) = tmp_path.glob("rows.jsonl*")  # renamed, if it was tried again
    text = kept.read_text()
    assert "sk-" not in text
    assert kept.stat().st_mode & 0o077 == 0
    kept.write_text(text + '{"entry":"call","request_id":"cut o')
    locked.end()
    with Thrift(**options) as thrift:
        eventually(lambda: thrift.flush() and not list(tmp_path.glob("rows.jsonl*")))
        (row,) = thrift.ledger.calls()
        assert (row.user, row.tags, row.model) == ("ada", {"team": "search"}, "gpt-4o-mini-2024-07-18")
        assert row.cost_usd is not None
        assert row.cost_usd > 0
        assert thrift.health()["ledger"]["lost"] == 0
    spool.write_text(text)  # replayed twice, as by a process that died before it removed the file
    with Thrift(**options) as thrift:
        eventually(lambda: thrift.flush() and not list(tmp_path.glob("rows.jsonl*")))
        assert len(thrift.ledger.calls()) == 1
        assert thrift.report().total["requests"] == 1
