"""Work that is done again and again."""

from __future__ import annotations

import gc
import logging
import os
import threading

import pytest

from llmthrift_core.background.repeating import Repeating


class Worker:
    def __init__(self, *, fails: bool = False) -> None:
        self.done = threading.Semaphore(0)
        self.fails = fails
        self.repeating = Repeating(self.work, seconds=0.001, name="test-repeating")

    def work(self, stopping: threading.Event) -> None:
        self.done.release()
        if self.fails:
            raise ValueError("a secret")


def threads() -> int:
    return sum(thread.name == "test-repeating" for thread in threading.enumerate())


def test_it_works_until_it_is_closed():
    worker = Worker()
    assert threads() == 0
    worker.repeating.start()
    worker.repeating.start()
    assert threads() == 1
    for _ in range(3):
        assert worker.done.acquire(timeout=30)
    worker.repeating.close()
    assert threads() == 0
    worker.repeating.start()
    assert threads() == 0


def test_it_ends_with_its_owner():
    worker = Worker()
    worker.repeating.start()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "test-repeating")
    assert worker.done.acquire(timeout=30)
    del worker
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def test_a_failure_is_logged_without_its_text_and_the_work_goes_on(caplog):
    worker = Worker(fails=True)
    with caplog.at_level(logging.ERROR, logger="llmthrift"):
        worker.repeating.start()
        for _ in range(3):
            assert worker.done.acquire(timeout=30)
        worker.repeating.close()
    assert "ValueError" in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_anew():
    worker = Worker()
    worker.repeating.start()
    assert worker.done.acquire(timeout=30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            worker.done = threading.Semaphore(0)
            worker.repeating.start()
            code = 0 if worker.done.acquire(timeout=30) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worker.repeating.close()
