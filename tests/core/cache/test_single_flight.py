"""Single flight: one leads, the others wait, nobody waits for himself or for ever."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmthrift_core.cache.single_flight import (
    Caller,
    Flight,
    Flights,
    Waiting,
    whoami,
)

ONE, TWO, THREE = (1, 0), (2, 0), (3, 0)


def waiting(joined: Flight | Waiting | None) -> Waiting:
    assert isinstance(joined, Waiting)
    return joined


def leading(joined: Flight | Waiting | None) -> Flight:
    assert isinstance(joined, Flight)
    return joined


def test_one_leads_and_the_others_wait() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))
    others = [waiting(flights.join(b"k", caller)) for caller in (TWO, THREE)]
    leading(flights.join(b"other", TWO)).done()
    flight.done()
    flight.done()
    for other in others:
        other.wait()  # returns at once
    leading(flights.join(b"k", TWO)).done()


def test_if_the_leader_fails_exactly_one_goes_next() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))
    waiting(flights.join(b"k", TWO))
    waiting(flights.join(b"k", THREE))
    flight.done()
    following = leading(flights.join(b"k", TWO))
    waiting(flights.join(b"k", THREE))
    following.done()


def test_an_old_flight_does_not_end_a_new_one() -> None:
    flights = Flights()
    old = leading(flights.join(b"k", ONE))
    old.done()
    new = leading(flights.join(b"k", TWO))
    old.done()
    del old
    waiting(flights.join(b"k", THREE))
    new.done()


def test_a_dropped_flight_ends() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))
    other = waiting(flights.join(b"k", TWO))
    del flight
    gc.collect()
    other.wait()
    leading(flights.join(b"k", TWO)).done()


def test_nobody_waits_for_himself() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", whoami()))
    assert flights.join(b"k", whoami()) is None
    flight.done()


def test_a_wait_is_bounded_and_the_caller_then_goes_alone() -> None:
    flights = Flights(timeout_seconds=0.02)
    flight = leading(flights.join(b"k", ONE))
    other = waiting(flights.join(b"k", TWO))
    other.wait()
    time.sleep(0.005)
    assert flights.join(b"k", TWO) is None
    waiting(flights.join(b"k", THREE))  # has not waited yet
    flight.done()


def test_the_bound_is_on_all_waits_together_however_many_leaders_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("llmthrift_core.cache.single_flight.monotonic", lambda: now[0])
    flights = Flights(timeout_seconds=0.05)
    flight = leading(flights.join(b"k", ONE))
    last = waiting(flights.join(b"k", THREE))
    leaders = 0
    while isinstance(joined := flights.join(b"k", THREE), Waiting):
        last = joined
        assert last.timeout_seconds <= 0.05
        flight.done()
        flight = leading(flights.join(b"k", TWO))
        leaders += 1
        now[0] += 0.02
    assert joined is None
    assert leaders == 3
    flight.done()


def test_nothing_is_kept_of_flights_that_are_over() -> None:
    flights = Flights()
    for number in range(100):
        leading(flights.join(b"%d" % number, ONE)).done()
    gc.collect()
    assert len(flights._crowds) == 0


async def test_a_sync_follower_in_a_thread_with_an_event_loop_goes_alone() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", (0, 0)))  # a task of this loop, say
    other = waiting(flights.join(b"k", whoami()))
    other.wait()  # must not block the loop
    assert flights.join(b"k", whoami()) is None
    flight.done()


async def test_tasks_of_one_thread_wait_for_each_other() -> None:
    flights = Flights()
    calls: list[Caller] = []
    cached = False

    async def ask() -> str:
        nonlocal cached
        while not cached:
            joined = flights.join(b"k", whoami())
            if isinstance(joined, Waiting):
                await joined.wait_async()
                continue
            calls.append(whoami())
            await asyncio.sleep(0.01)
            cached = True
            if joined is not None:
                joined.done()
        return "answer"

    assert await asyncio.gather(*(ask() for _ in range(20))) == ["answer"] * 20
    assert len(calls) == 1


async def test_the_same_task_goes_alone() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", whoami()))
    assert flights.join(b"k", whoami()) is None
    assert isinstance(await asyncio.create_task(_join(flights)), Waiting)
    flight.done()


async def _join(flights: Flights) -> Flight | Waiting | None:
    return flights.join(b"k", whoami())


async def test_a_cancelled_follower_leaves_the_others_waiting() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))
    first, second = (waiting(flights.join(b"k", caller)) for caller in (TWO, THREE))
    cancelled, patient = asyncio.create_task(first.wait_async()), asyncio.create_task(second.wait_async())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.sleep(0.005)
    assert not patient.done()
    flight.done()
    await asyncio.wait_for(patient, 60)


async def test_an_async_wait_is_bounded() -> None:
    flights = Flights(timeout_seconds=0.02)
    flight = leading(flights.join(b"k", ONE))
    await asyncio.wait_for(waiting(flights.join(b"k", TWO)).wait_async(), 60)
    await asyncio.sleep(0.005)
    assert flights.join(b"k", TWO) is None
    flight.done()


def test_a_follower_whose_loop_is_gone_does_not_disturb_the_leader(caplog: pytest.LogCaptureFixture) -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))

    async def give_up() -> None:
        await asyncio.wait_for(waiting(flights.join(b"k", TWO)).wait_async(), 0.01)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    flight.done()
    assert not caplog.records


@pytest.mark.parametrize("fails", [0, 3])
def test_of_fifty_threads_one_succeeds_for_all(fails: int) -> None:
    flights = Flights()
    lock, together = threading.Lock(), threading.Barrier(50)
    cached: list[str] = []
    attempts: list[int] = []
    concurrent = 0

    def ask() -> str:
        nonlocal concurrent
        together.wait()
        while not cached:
            joined = flights.join(b"k", whoami())
            if isinstance(joined, Waiting):
                joined.wait()
                continue
            assert joined is not None
            if cached:  # as a real caller, which looks into the cache again
                joined.done()
                break
            with lock:
                concurrent += 1
                assert concurrent == 1
                attempts.append(1)
            time.sleep(0.002)
            if len(attempts) > fails:
                cached.append("answer")
            with lock:
                concurrent -= 1
            joined.done()
        return cached[0]

    with ThreadPoolExecutor(50) as pool:
        answers = [future.result(timeout=120) for future in [pool.submit(ask) for _ in range(50)]]
    assert answers == ["answer"] * 50
    assert len(attempts) == fails + 1


def test_after_fork_nothing_is_under_way() -> None:
    flights = Flights()
    flight = leading(flights.join(b"k", ONE))
    flights.after_fork()
    leading(flights.join(b"k", TWO)).done()
    flight.done()


def test_whoami_tells_threads_and_tasks_apart() -> None:
    def in_thread(ask: Callable[[], Caller]) -> Caller:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ask).result()

    async def here() -> Caller:
        return whoami()

    async def tasks() -> list[Caller]:
        running = [asyncio.create_task(here()) for _ in range(3)]
        return list(await asyncio.gather(*running))

    assert whoami() == whoami()
    assert in_thread(whoami) != whoami()
    assert len(set(asyncio.run(tasks()))) == 3
