"""Calls that wait for room: in order, no longer than was said, and without the threads that others need to make room."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, Usage
from llmthrift_core.calls.call import Call
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.outgoing import Outgoing


def _in_line(budgets, sizes, taken):
    """Threads that ask for so many tokens, one after the other, each with the others already in line."""
    threads = []
    for size in sizes:
        begun = threading.Event()

        def ask(size=size, begun=begun):
            begun.set()
            hold = budgets.reserve(estimate_tokens=size, scope={})
            taken.append(size)
            time.sleep(0.02)
            hold.settle(cost_usd=0, tokens=0)

        threads.append(threading.Thread(target=ask))
        threads[-1].start()
        begun.wait()
        time.sleep(0.1)
    return threads


def test_a_large_call_is_served_before_the_small_ones_behind_it(budgets):
    budgets.add(Budget(limit_tokens=100, on_exceed="queue", max_wait_seconds=30))
    first, second = budgets.reserve(estimate_tokens=60, scope={}), budgets.reserve(estimate_tokens=40, scope={})
    taken: list[int] = []
    threads = _in_line(budgets, [100, 30, 30], taken)
    second.release()  # room for a small one, which came later
    time.sleep(0.2)
    assert taken == []
    first.release()
    for thread in threads:
        thread.join()
    assert taken == [100, 30, 30]


def test_who_cannot_be_helped_by_waiting_lets_others_pass(budgets):
    budgets.add(Budget(limit_tokens=100, on_exceed="queue", max_wait_seconds=3))
    budgets.reserve(estimate_tokens=50, scope={}).settle(cost_usd=0, tokens=50)
    refused: list[BudgetExceededError] = []

    def ask_too_much():
        with pytest.raises(BudgetExceededError) as caught:
            budgets.reserve(estimate_tokens=60, scope={})
        refused.append(caught.value)

    thread = threading.Thread(target=ask_too_much)
    began = time.monotonic()
    thread.start()
    time.sleep(0.2)
    budgets.reserve(estimate_tokens=50, scope={}).release()
    assert not refused
    assert time.monotonic() - began < 3
    thread.join()
    assert len(refused) == 1


def test_everybody_in_line_waits_as_long_as_was_said_and_no_longer(budgets):
    budgets.add(Budget(limit_tokens=100, on_exceed="queue", max_wait_seconds=0.4))
    budgets.reserve(estimate_tokens=100, scope={})
    waited: list[float] = []

    def ask():
        began = time.monotonic()
        with pytest.raises(BudgetExceededError):
            budgets.reserve(estimate_tokens=10, scope={})
        waited.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(0.35 < seconds < 10 for seconds in waited)


async def test_an_event_loop_is_never_blocked(budgets):
    budgets.add(Budget(limit_tokens=100, on_exceed="queue", max_wait_seconds=30))
    budgets.reserve(estimate_tokens=100, scope={})
    began = time.monotonic()
    with pytest.raises(BudgetExceededError):
        budgets.reserve(estimate_tokens=10, scope={})
    assert time.monotonic() - began < 15


def _request() -> Request:
    return Request(model="gpt-4o-mini", outgoing=lambda tier: Outgoing(10), max_output_tokens=lambda tier: 100, waits="outside")


async def _begin(thrift: Thrift) -> Call:
    call = await asyncio.to_thread(thrift.begin, _request())
    while call.waiting is not None:
        await call.waiting.wait_async()
        await asyncio.to_thread(call.resume)
    return call


async def test_waiting_tasks_occupy_no_thread_that_settling_needs():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as two, Thrift(":memory:") as thrift:
        loop.set_default_executor(two)
        thrift.budgets.add(Budget(limit_tokens=400, on_exceed="queue", max_wait_seconds=60))  # room for three under way

        async def one() -> None:
            call = await _begin(thrift)
            await asyncio.sleep(0.02)
            await asyncio.to_thread(call.finish, Response(usage=Usage(input_tokens=10, output_tokens=2)))

        await asyncio.gather(*(one() for _ in range(20)))
        (row,) = thrift.budgets.status()
        assert (row["spent"], row["reserved"]) == (240, 0)
        loop.set_default_executor(ThreadPoolExecutor())


async def test_a_cancelled_task_leaves_the_line():
    with Thrift(":memory:") as thrift:
        thrift.budgets.add(Budget(limit_tokens=300, on_exceed="queue", max_wait_seconds=60))
        under_way = await _begin(thrift)
        large = Request(model="gpt-4o-mini", outgoing=lambda tier: Outgoing(10), max_output_tokens=lambda tier: 280, waits="outside")
        call = await asyncio.to_thread(thrift.begin, large)
        assert call.waiting is not None
        waiting = asyncio.create_task(call.waiting.wait_async())
        await asyncio.sleep(0)  # it has begun to wait
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        small = await _begin(thrift)  # nobody is before it any more
        small.abandon()
        under_way.abandon()
