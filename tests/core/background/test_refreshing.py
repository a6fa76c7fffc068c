"""What is known grows old, and is read anew in the background."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from llmthrift_core.background.refreshing import Refreshing
from tests.core.clock import Clock


class Reader:
    def __init__(self, clock: Clock, *, fails: bool = False) -> None:
        self.may_read = threading.Event()
        self.may_read.set()
        self.begun = threading.Semaphore(0)
        self.read = 0
        self.fails = fails
        self.failures: list[Exception] = []
        self.refreshing = Refreshing(self.reads, seconds=60, clock=clock, failed=self.failures.append, name="test-refreshing")

    def reads(self) -> None:
        self.begun.release()
        assert self.may_read.wait(30)
        self.read += 1
        if self.fails:
            raise ValueError("gone")


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


def threads() -> int:
    return sum(thread.name == "test-refreshing" for thread in threading.enumerate())


def test_it_reads_when_it_is_asked_and_old(clock: Clock) -> None:
    reader = Reader(clock)
    assert threads() == 0
    for moved, read in ((0, 1), (59, 1), (2, 2), (0, 2), (-3_600, 3)):  # a clock that was set back says nothing of the age
        clock.now += moved
        reader.refreshing.if_old()
        assert reader.refreshing.wait(30)
        assert reader.read == read, moved
    reader.refreshing.now()
    assert reader.read == 4
    clock.now += 59
    reader.refreshing.if_old()
    assert reader.refreshing.wait(30)
    assert reader.read == 4


def test_nobody_waits_and_one_reading_is_under_way_at_a_time(clock: Clock) -> None:
    reader = Reader(clock)
    reader.may_read.clear()
    reader.refreshing.if_old()
    assert reader.begun.acquire(timeout=30)
    clock.now += 61
    for _ in range(5):
        reader.refreshing.if_old()
    assert (threads(), reader.read) == (1, 0)
    assert not reader.refreshing.wait(0.001)
    reader.may_read.set()
    assert reader.refreshing.wait(30)
    assert reader.read == 1
    reader.refreshing.if_old()  # what was asked for meanwhile is not forgotten
    assert reader.refreshing.wait(30)
    assert reader.read == 2


def test_failures_are_counted_and_told_and_it_is_tried_again(clock: Clock) -> None:
    reader = Reader(clock, fails=True)
    for _ in range(3):
        reader.refreshing.if_old()
        assert reader.refreshing.wait(30)
        clock.now += 61
    assert reader.refreshing.errors == 3
    assert [str(each) for each in reader.failures] == ["gone"] * 3


def test_nothing_is_read_once_it_is_closed_or_while_disabled(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(clock)
    with monkeypatch.context() as patched:
        patched.setenv("LLMTHRIFT_DISABLED", "1")
        reader.refreshing.if_old()
        reader.refreshing.now()
        assert threads() == 0
    reader.refreshing.close()
    reader.refreshing.if_old()
    reader.refreshing.now()
    assert (threads(), reader.read) == (0, 0)


def test_it_keeps_nobody_alive(clock: Clock) -> None:
    reader = Reader(clock)
    reader.refreshing.now()
    refreshing, gone = reader.refreshing, weakref.ref(reader)
    del reader
    gc.collect()
    assert gone() is None
    refreshing.now()
    assert refreshing.errors == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_reads_for_itself(clock: Clock) -> None:
    reader = Reader(clock)
    reader.may_read.clear()
    reader.refreshing.if_old()
    assert reader.begun.acquire(timeout=30)
    child = os.fork()
    if child == 0:
        reader.may_read = threading.Event()
        reader.may_read.set()
        reader.begun = threading.Semaphore(0)
        clock.now += 61
        reader.refreshing.if_old()
        os._exit(0 if reader.refreshing.wait(30) and reader.read == 1 else 1)
    reader.may_read.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    reader.refreshing.close()
