"""Calls that take long, and processes whose clock is wrong."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage
from llmthrift_core.budgets.holding import Renewer
from llmthrift_core.storage import clock as clocks
from llmthrift_core.storage.clock import StoreClock, clock_of
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.valkey import ValkeyServer
from tests.core.clock import Clock

DAYS = 86_400


def test_a_call_that_takes_long_keeps_its_hold(budgets, clock):
    budgets.add(Budget(limit_usd=1))
    hold = budgets.reserve(estimate_usd=1, scope={})
    for _ in range(5):
        clock.now += 601
        with pytest.raises(BudgetExceededError):
            budgets.reserve(estimate_usd=1, scope={})
    hold.settle(cost_usd=1)
    (row,) = budgets.status()
    assert (row["spent"], row["reserved"], row["overrun"]) == (1, 0, 0)


def test_another_process_sees_that_a_hold_is_renewed(store, open_budgets, clock):
    here, there = open_budgets(store), open_budgets(store)
    here.add(Budget(limit_usd=1))
    hold = here.reserve(estimate_usd=1, scope={})
    for _ in range(3):
        clock.now += 500
        here.renew_holds()
        assert there.release_expired() == 0
    del hold  # its process has died, or dropped it
    gc.collect()
    clock.now += 601
    assert there.release_expired() == 1
    there.reserve(estimate_usd=1, scope={})


def test_holds_are_renewed_in_the_background(budgets, clock):
    budgets.add(Budget(limit_usd=1))
    hold = budgets.reserve(estimate_usd=1, scope={})
    renewer = Renewer(every_seconds=0.02)
    clock.now += 500
    renewer.follow(budgets)
    deadline = time.monotonic() + 20
    while hold.expires_us < (clock.now + 600) * 1e6 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert budgets.holds()[0]["expires_at"].timestamp() == clock.now + 600
    renewer.close()


def test_a_process_far_ahead_wipes_nothing(store, open_budgets, clock):
    good = open_budgets(store)
    for window in ("day", "month", "total"):
        good.add(Budget(limit_usd=10, window=window, name=window))
    good.reserve(estimate_usd=9, scope={}).settle(cost_usd=9)
    live = good.reserve(estimate_usd="0.5", scope={})
    before = good.status()
    clock.now += 60 * DAYS
    wrong = open_budgets(store)
    wrong.reserve(estimate_usd="0.01", scope={}).release()
    assert wrong.release_expired() == 0
    clock.now -= 60 * DAYS
    assert good.status() == before
    live.settle(cost_usd="0.5")


def test_a_process_that_comes_after_a_while_is_believed_unless_others_write_of_an_earlier_time(store, open_budgets, clock, monkeypatch):
    good = open_budgets(store)
    good.add(Budget(limit_usd=10))
    abandoned = good.reserve(estimate_usd=1, scope={}, ttl_seconds=60)
    clock.now += 60 * DAYS
    late = open_budgets(store)
    assert late.release_expired() == 0
    monkeypatch.setattr(clocks, "_DOUBT_SECONDS", 0.0)
    clock.now -= 60 * DAYS - 30
    abandoned.extend(usd=1)  # somebody lives in that time
    clock.now += 60 * DAYS
    assert late.release_expired() == 0
    assert late.release_expired() == 1


def test_retention_waits_for_a_clock_that_can_be_believed(tmp_path: Path):
    clock = Clock()
    with Thrift(tmp_path / "r.db", clock=clock) as good:
        for _ in range(10):
            good.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        good.flush()
        with Thrift(tmp_path / "r.db", retention_days=30, clock=lambda: clock.now + 60 * DAYS) as wrong:
            wrong.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
            wrong.flush()
        assert len(good.ledger.calls()) == 11


def test_retention_prunes_by_a_clock_that_goes_on(tmp_path: Path):
    clock = Clock()
    with Thrift(tmp_path / "r.db", retention_days=30, clock=clock) as thrift:
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        thrift.flush()
        clock.now += 31 * DAYS
        thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1))
        thrift.flush()
        assert len(thrift.ledger.calls()) == 1


def test_servers_tell_their_own_time(postgresql_url, valkey_url, monkeypatch):
    now = time.time()
    with Database.open(postgresql_url) as database, ValkeyServer(valkey_url) as server:
        told = [clock_of(database), clock_of(database, server)]
        monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock is wrong
        assert all(now - 60 < clock() < now + 600 for clock in told)
    assert StoreClock()() == 0.0
