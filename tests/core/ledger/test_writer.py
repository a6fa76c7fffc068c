"""The queue in front of the database: groups, failures, poison, limits, fork and exit."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence

import pytest

from llmthrift_core.errors import RowRejectedError, StorageError
from llmthrift_core.ledger import writer as writing
from llmthrift_core.ledger.batch import Outcome
from llmthrift_core.ledger.record import CallRecord, Entry
from llmthrift_core.ledger.writer import Writer


def record(name: str) -> CallRecord:
    return CallRecord(request_id=name, call_id=name, at_us=0, model="m")


class Store:
    """Stands for the database: remembers what was committed, and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.failing: StorageError | None = None
        self.refused: set[str] = set()
        self.entered = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def commit(self, entries: Sequence[Entry]) -> Outcome:
        self.entered.set()
        assert self.may_go_on.wait(60)
        if self.failing is not None:
            raise self.failing
        names = [entry.request_id for entry in entries]
        if self.refused.intersection(names):
            raise RowRejectedError("cannot write: a value cannot be stored")
        self.batches.append(names)
        return Outcome(len(names), 0)

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_SHORTEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(writing, "_LONGEST_PAUSE_SECONDS", 0.02)


def test_entries_are_committed_in_order_without_a_flush() -> None:
    store = Store()
    writer = Writer(store.commit)
    for number in range(100):
        writer.put(record(f"r{number}"))
    eventually(lambda: len(store.names) == 100)
    assert store.names == [f"r{number}" for number in range(100)]
    eventually(lambda: writer.written == 100)
    assert writer.pending == writer.lost == 0
    writer.close(5)


def test_a_flush_commits_what_was_put_before_it() -> None:
    store = Store()
    writer = Writer(store.commit)
    writer.put(record("a"))
    assert writer.flush(60)
    assert store.names == ["a"]
    assert writer.flush(60)
    writer.close(5)


def test_a_flush_waits_for_a_commit_under_way() -> None:
    store = Store()
    store.may_go_on.clear()
    writer = Writer(store.commit)
    writer.put(record("a"))
    assert store.entered.wait(60)
    assert not writer.flush(0.05)
    store.may_go_on.set()
    assert writer.flush(60)
    assert store.names == ["a"]
    writer.close(5)


def test_sync_entries_are_committed_when_put_returns_and_threads_share_commits() -> None:
    store = Store()
    writer = Writer(store.commit, sync=True)
    missing = []

    def put(number: int) -> None:
        writer.put(record(f"r{number}"))
        if f"r{number}" not in store.names:
            missing.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(30)]
    store.may_go_on.clear()
    for thread in threads:
        thread.start()
    eventually(lambda: writer.pending == 30)
    store.may_go_on.set()
    for thread in threads:
        thread.join(60)
    assert missing == []
    assert sorted(store.names) == sorted(f"r{number}" for number in range(30))
    assert len(store.batches) < 30
    writer.close(5)


def test_entries_survive_a_failure_and_health_recovers(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.failing = StorageError("the disk is full")
    writer = Writer(store.commit)
    writer.put(record("a"))
    writer.put(record("b"))
    eventually(lambda: writer.last_error is not None)
    assert writer.last_error == "the disk is full"
    assert writer.pending == 2
    assert not writer.flush(0.03)
    store.failing = None
    eventually(lambda: store.names == ["a", "b"])
    eventually(lambda: writer.last_error is None)
    assert writer.lost == 0
    assert [message.levelno for message in caplog.records] == [logging.ERROR, logging.WARNING]
    writer.close(5)


def test_a_sync_put_returns_after_one_failed_attempt_and_the_entry_is_tried_again() -> None:
    store = Store()
    store.failing = StorageError("locked")
    writer = Writer(store.commit, sync=True)
    writer.put(record("a"))
    assert writer.pending == 1
    writer.put(record("b"))
    store.failing = None
    eventually(lambda: store.names == ["a", "b"])
    writer.close(5)


def test_entries_are_given_up_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.failing = StorageError("locked")
    writer = Writer(store.commit, give_up_seconds=0.05)
    for number in range(5):
        writer.put(record(f"r{number}"))
    eventually(lambda: "lost 5" in caplog.text)  # which is said after it is counted
    assert writer.lost == 5
    assert writer.pending == 0
    store.failing = None
    writer.put(record("later"))
    eventually(lambda: store.names == ["later"])
    writer.close(5)


def test_a_full_queue_waits_a_little_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_ROOM_SECONDS", 60.0)
    store = Store()
    store.may_go_on.clear()
    writer = Writer(store.commit, capacity=2)
    writer.put(record("a"))
    assert store.entered.wait(60)
    writer.put(record("b"))
    writer.put(record("c"))
    threading.Timer(0.02, store.may_go_on.set).start()
    writer.put(record("d"))
    assert writer.flush(60)
    assert store.names == ["a", "b", "c", "d"]
    assert writer.lost == 0
    writer.close(5)


async def test_a_full_queue_never_holds_up_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_ROOM_SECONDS", 1000.0)
    store = Store()
    store.may_go_on.clear()
    writer = Writer(store.commit, capacity=2)
    writer.put(record("a"))
    assert await asyncio.to_thread(store.entered.wait, 60)
    for name in "bcd":
        writer.put(record(name))
    assert writer.lost == 1
    store.may_go_on.set()
    assert await asyncio.to_thread(writer.flush, 60)
    assert store.names == ["a", "b", "c"]
    await asyncio.to_thread(writer.close, 5)


def test_a_queue_that_stays_full_loses_what_comes_and_counts_it(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.may_go_on.clear()
    writer = Writer(store.commit, capacity=2)
    writer.put(record("a"))
    assert store.entered.wait(60)
    for name in "bcde":
        writer.put(record(name))
    assert writer.lost == 2
    assert caplog.text.count("the queue is full") == 1
    store.may_go_on.set()
    assert writer.flush(60)
    assert store.names == ["a", "b", "c"]
    writer.close(5)


def test_a_failing_database_with_a_full_queue_does_not_slow_the_caller_down(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    store.failing = StorageError("locked")
    writer = Writer(store.commit, capacity=2)
    writer.put(record("a"))
    eventually(lambda: writer.last_error is not None)
    writer.put(record("b"))
    writer.put(record("c"))
    monkeypatch.setattr(writing, "_ROOM_SECONDS", 1000.0)
    writer.put(record("d"))
    assert writer.lost == 1
    store.failing = None
    writer.close(5)


@pytest.mark.parametrize("position", [0, 17, 99])
def test_a_poisoned_entry_is_lost_alone(position: int, caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.refused = {f"r{position}"}
    writer = Writer(store.commit)
    for number in range(100):
        writer.put(record(f"r{number}"))
    writer.flush(60)
    assert sorted(store.names) == sorted(f"r{number}" for number in range(100) if number != position)
    assert (writer.lost, writer.written) == (1, 99)
    assert f"r{position}" not in caplog.text
    writer.close(5)


def test_a_poisoned_entry_is_repaired_where_that_helps() -> None:
    store = Store()
    store.refused = {"a\0b"}
    writer = Writer(store.commit)
    writer.put(record("a\0b"))
    assert writer.flush(60)
    assert store.names == ["ab"]
    assert (writer.repaired, writer.lost) == (1, 0)
    writer.close(5)


def test_an_entry_that_cannot_even_be_read_is_lost_alone() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    store = Store()
    store.refused = {"bad"}
    bad = record("bad")
    bad.route_reason = Hostile()  # type: ignore[assignment]
    writer = Writer(store.commit)
    for entry in (record("a"), bad, record("b")):
        writer.put(entry)
    assert not writer.flush(60)
    assert store.names == ["a", "b"]
    assert writer.lost == 1
    writer.close(5)


def test_a_poisoned_entry_and_a_failure_together_lose_nothing_else() -> None:
    store = Store()
    store.refused = {"bad"}
    writer = Writer(store.commit)
    commits = 0

    def commit(entries: Sequence[Entry]) -> Outcome:
        nonlocal commits
        commits += 1
        if commits in (3, 5):
            raise StorageError("locked")
        return store.commit(entries)

    writer = Writer(commit)
    for number in range(10):
        writer.put(record("bad" if number == 4 else f"r{number}"))
    writer.flush(60)
    assert sorted(store.names) == [f"r{number}" for number in range(10) if number != 4]
    assert writer.lost == 1
    writer.close(5)


def test_an_unexpected_exception_does_not_end_the_writer() -> None:
    store = Store()
    calls = 0

    def commit(entries: Sequence[Entry]) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        return store.commit(entries)

    writer = Writer(commit)
    writer.put(record("a"))
    writer.flush(60)
    writer.put(record("b"))
    assert writer.flush(60)
    assert "b" in store.names
    writer.close(5)


def test_close_flushes_and_later_entries_are_counted_as_lost() -> None:
    store = Store()
    writer = Writer(store.commit)
    writer.put(record("a"))
    assert writer.close(5)
    assert store.names == ["a"]
    writer.put(record("b"))
    assert writer.lost == 1
    assert writer.close(5)
    assert writer._thread is None or not writer._thread.is_alive()


def test_close_counts_what_cannot_be_written() -> None:
    store = Store()
    store.failing = StorageError("locked")
    writer = Writer(store.commit)
    writer.put(record("a"))
    assert not writer.close(0.05)
    assert (writer.lost, writer.pending) == (1, 0)


def test_an_idle_writer_ends_its_thread_and_starts_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 0.02)
    store = Store()

    def use_without_closing() -> weakref.ref[Writer]:
        writer = Writer(store.commit)
        for name in ("a", "b"):
            writer.put(record(name))
            eventually(lambda: writer._thread is None)
        return weakref.ref(writer)

    gone = use_without_closing()
    assert store.names == ["a", "b"]

    def is_collected() -> bool:
        gc.collect()
        return gone() is None

    eventually(is_collected)


def test_nothing_starts_before_the_first_entry() -> None:
    before = threading.active_count()
    writer = Writer(Store().commit)
    assert threading.active_count() == before
    writer.close(1)


def test_a_child_starts_empty_and_the_parent_keeps_its_entries() -> None:
    store = Store()
    store.may_go_on.clear()
    writer = Writer(store.commit)
    writer.put(record("parent"))
    assert store.entered.wait(60)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.may_go_on = threading.Event()
            store.may_go_on.set()
            writer.put(record("child"))
            if writer.flush(60) and store.names == ["child"] and writer.written == 1:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.may_go_on.set()
    assert writer.flush(60)
    assert store.names == ["parent"]
    writer.close(5)


def test_many_threads_lose_nothing() -> None:
    store = Store()
    writer = Writer(store.commit)

    def put(thread: int) -> None:
        for number in range(500):
            writer.put(record(f"{thread}-{number}"))
            if number % 100 == 0:
                writer.flush(60)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(60)
    assert len(store.names) == len(set(store.names)) == 4000
    assert writer.written == 4000
    writer.close(5)
