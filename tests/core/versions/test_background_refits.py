"""Refits in the background: one process does them, in a process of its own, and whoever dies leaves things whole."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from llmthrift_core import Thrift
from llmthrift_core.routing import RouteRequest, Tiers
from llmthrift_core.storage.tables import leases
from llmthrift_core.versions import RollBack
from llmthrift_core.versions.background_refits import BackgroundRefits, refit_apart
from llmthrift_core.versions.refitting import unfitted
from tests.core.clock import Clock
from tests.core.routing.workload import labelled
from tests.core.versions.judged import answer, learnable
from tests.core.versions.test_refit import REFIT

ROOT = Path(__file__).parents[3]
_SECONDS = 600.0  # a refit yields to everything else on the machine
TIERS = Tiers(("weak", "strong"))


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def prepared(path: Path, examples: int = 150) -> Path:
    with Thrift(path, capture="text") as thrift:
        learnable(thrift, labelled(examples, sites=True))
    return path


def held(thrift: Thrift) -> int:
    with thrift.database.read() as connection:
        return len(connection.execute(select(leases)).all())


def test_a_refit_comes_into_force_by_itself(tmp_path, caplog):
    """The password in a URL, and all else that is secret, stays out of the command line: the task goes through a pipe."""
    with Thrift(prepared(tmp_path / "books.db"), capture="text") as thrift, caplog.at_level(logging.INFO, logger="llmthrift"):
        followed = thrift.routers.follow("support", refit=REFIT, roll_back=RollBack(), check_seconds=0.05)
        until(lambda: followed.number == 1)
        assert followed.decide(RouteRequest("Please greet the customer of case 1"), TIERS).tier == "weak"
        assert thrift.routers.versions("support")[0].note.startswith("refit on ")
        assert "version 1 was saved, and is active: refit on " in caplog.text
        assert held(thrift) == 0


def test_in_memory_it_is_done_in_this_process():
    with Thrift(":memory:", capture="text") as thrift:
        learnable(thrift, labelled(100, sites=True))
        followed = thrift.routers.follow("support", refit=REFIT, check_seconds=0.05)
        until(lambda: followed.number == 1)


def test_of_two_that_are_due_one_fits(tmp_path):
    path = prepared(tmp_path / "books.db")
    opened = [Thrift(path, capture="text") for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(thrift: Thrift) -> None:
        refits = BackgroundRefits(thrift, "support", REFIT)
        barrier.wait(30)
        refits(threading.Event())
        refits(threading.Event())

    threads = [threading.Thread(target=work, args=(thrift,)) for thrift in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_SECONDS)
    assert [each.version for each in opened[0].routers.versions("support")] == [1]
    for thrift in opened:
        thrift.close()


def test_too_few_are_counted_once_and_waited_for():
    """A refit that finds too few usable examples is not started again for each judgement of something else."""
    with Thrift(":memory:", capture="text") as thrift:
        learnable(thrift, labelled(10))
        for _ in range(100):
            answer(thrift, 1.0, model="another model")
        assert thrift.flush()
        refits = BackgroundRefits(thrift, "support", REFIT)
        refits(threading.Event())
        assert refits._waiting_for == (None, 120 + 80)
        learnable(thrift, labelled(40, seed=5))
        refits(threading.Event())
        assert thrift.routers.versions("support")[0].version == 1


@pytest.mark.skipif(os.name == "nt", reason="the program that dies is a shell script")
def test_a_process_that_dies_leaves_its_lease(tmp_path, monkeypatch, caplog):
    dies = tmp_path / "dies"
    dies.write_text("#!/bin/sh\nkill -9 $$\n")
    dies.chmod(0o755)
    clock = Clock(time.time())
    with Thrift(prepared(tmp_path / "books.db"), capture="text", clock=clock) as thrift:
        refits = BackgroundRefits(thrift, "support", REFIT)
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, logger="llmthrift"):
            patched.setattr(sys, "executable", str(dies))
            refits(threading.Event())
        assert "ended with code -9 and without an answer; `llmthrift route refit support` says more" in caplog.text
        assert held(thrift) == 1
        refits(threading.Event())
        assert thrift.routers.versions("support") == []
        clock.now += 900
        refits(threading.Event())
        assert thrift.routers.store.active("support") == 1
        assert held(thrift) == 0


def test_what_a_refit_refuses_is_logged(tmp_path, caplog):
    with Thrift(tmp_path / "books.db") as thrift, caplog.at_level(logging.ERROR, logger="llmthrift"):
        for _ in range(100):
            answer(thrift, 1.0)
        thrift.flush()
        BackgroundRefits(thrift, "support", REFIT)(threading.Event())
    assert 'Thrift(capture="text")' in caplog.text


def test_it_is_given_up_when_the_thrift_is_closed(tmp_path):
    with Thrift(prepared(tmp_path / "books.db"), capture="text") as thrift:
        stopping = threading.Event()
        stopping.set()
        assert refit_apart(thrift, "support", REFIT, unfitted(REFIT, thrift.prices), stopping) is None
        assert thrift.routers.versions("support") == []


FOLLOWS = """
import sys, time
from llmthrift_core import Thrift
from tests.core.versions.test_refit import REFIT

thrift = Thrift(sys.argv[1], capture="text")
followed = thrift.routers.follow("support", refit=REFIT, check_seconds=0.01)
print("open", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes here")
def test_killed_in_the_middle_of_a_refit_everything_is_whole_and_another_does_it(tmp_path):
    path = prepared(tmp_path / "books.db", 400)
    clock = Clock(time.time())
    with Thrift(path, capture="text", clock=clock) as later:
        with subprocess.Popen(
            [sys.executable, "-c", FOLLOWS, str(path)], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
        ) as process:
            until(lambda: held(later))
            os.killpg(process.pid, signal.SIGKILL)
        assert later.database.check().ok
        assert (held(later), later.routers.versions("support")) == (1, [])
        clock.now = time.time() + 900
        BackgroundRefits(later, "support", REFIT)(threading.Event())
        assert later.routers.store.active("support") == 1
