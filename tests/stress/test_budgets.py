"""Processes spend from one budget at once, and some are killed while they hold its money."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift
from tests.long import LONG
from tests.processes import FORK_SERVER

_PROCESSES = 4
_ROUNDS = 5 if LONG else 1


def _spend(where: dict[str, str], seed: int, granted: Any) -> None:
    chance = random.Random(seed)
    with Thrift(**where) as thrift:
        while True:
            amount = chance.randint(1, 9)
            try:
                hold = thrift.budgets.reserve(estimate_tokens=amount, scope={})
            except BudgetExceededError:
                if amount == 1:
                    return
                continue
            if chance.random() < 0.2:
                hold.release()
                continue
            used = chance.randint(0, amount)
            hold.settle(cost_usd=0, tokens=used)
            with granted.get_lock():
                granted.value += used


def _place(kind: str, name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """Where budgets are kept, as arguments of Thrift."""
    if kind == "postgresql":
        return {"url": request.getfixturevalue("postgresql_url")}
    place = {"url": str(request.getfixturevalue("tmp_path") / f"{name}.db")}
    return place if kind == "file" else {**place, "valkey_url": request.getfixturevalue("valkey_url")}


@pytest.mark.parametrize("kind", ["file", "postgresql", "valkey"])
def test_processes_spend_a_budget_to_its_end_and_no_further(kind: str, request: pytest.FixtureRequest) -> None:
    for number in range(_ROUNDS):
        where, name = _place(kind, str(number), request), f"budget {number}"
        with Thrift(**where) as thrift:
            thrift.budgets.add(Budget(limit_tokens=2_000, name=name))
        granted = FORK_SERVER.Value("q", 0)
        processes = [FORK_SERVER.Process(target=_spend, args=(where, seed, granted)) for seed in range(_PROCESSES)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        with Thrift(**where) as thrift:
            (row,) = thrift.budgets.status()
            thrift.budgets.remove(name)
        assert (row["reserved"], row["overrun"]) == (0, 0)
        assert row["spent"] == granted.value == 2_000


def _hold_for_ever(where: dict[str, str], ready: Any) -> None:
    with Thrift(**where) as thrift:
        while True:
            try:
                hold = thrift.budgets.reserve(estimate_tokens=10, scope={}, ttl_seconds=1.5)
            except BudgetExceededError:
                ready.set()
                time.sleep(0.01)
            else:
                if hash(hold.id) % 3 == 0:
                    hold.settle(cost_usd=0, tokens=0)
                if hash(hold.id) % 5 == 0:
                    ready.set()


@pytest.mark.parametrize("kind", ["file", "valkey"])
def test_the_money_of_killed_processes_comes_back(kind: str, request: pytest.FixtureRequest) -> None:
    where = _place(kind, "b", request)
    with Thrift(**where) as thrift:
        thrift.budgets.add(Budget(limit_tokens=1_000, name="all"))
        for number in range(2 * _ROUNDS):
            ready = FORK_SERVER.Event()
            process = FORK_SERVER.Process(target=_hold_for_ever, args=(where, ready))
            process.start()
            assert ready.wait(60)
            time.sleep(random.Random(number).random() * 0.05)
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join(30)
            (row,) = thrift.budgets.status()
            assert row["spent"] + row["reserved"] <= 1_000
        deadline = time.monotonic() + 120
        while thrift.budgets.status()[0]["reserved"] and time.monotonic() < deadline:
            time.sleep(0.1)
        (row,) = thrift.budgets.status()
        assert (row["spent"], row["reserved"], row["remaining"]) == (0, 0, 1_000)
        assert thrift.database.check().ok
        with thrift.budgets.reserve(estimate_tokens=1_000, scope={}):
            pass
