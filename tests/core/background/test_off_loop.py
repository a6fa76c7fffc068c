"""Work in a thread whose caller is cancelled: it is waited for, not for ever, and not begun in vain."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from llmthrift_core.background import off_loop
from llmthrift_core.background.off_loop import in_thread

NAME: ContextVar[str] = ContextVar("name")


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_result_and_the_error_come_from_a_thread_with_the_callers_context() -> None:
    NAME.set("ada")
    name, thread = await in_thread(lambda: (NAME.get(), threading.get_ident()))
    assert (name, thread == threading.get_ident()) == ("ada", False)

    def fail() -> None:
        raise KeyError("it")

    with pytest.raises(KeyError, match="it"):
        await in_thread(fail)


async def test_a_cancelled_caller_goes_on_when_the_work_has_ended() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(60)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await turn()
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(off_loop, "_LONGEST_END_SECONDS", 0.0)
    begun, go = threading.Event(), threading.Event()
    task = asyncio.create_task(in_thread(lambda: (begun.set(), go.wait(60))))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not go.is_set()
    go.set()


async def test_a_second_cancellation_waits_for_nothing() -> None:
    begun, go = threading.Event(), threading.Event()
    task = asyncio.create_task(in_thread(lambda: (begun.set(), go.wait(60))))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await turn()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()


def test_what_has_not_begun_never_begins() -> None:
    go, done = threading.Event(), list[str]()

    async def two() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        first = asyncio.create_task(in_thread(lambda: (go.wait(60), done.append("first"))))
        second = asyncio.create_task(in_thread(lambda: done.append("second")))
        await turn()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        await first

    asyncio.run(two())
    assert done == ["first"]


async def test_where_the_work_ends_with_an_error_the_caller_is_cancelled_all_the_same() -> None:
    begun, go = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        go.wait(60)
        raise KeyError("nobody hears it")

    task = asyncio.create_task(in_thread(fail))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    await turn()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_wait_for_of_every_python_ends_with_the_work() -> None:
    """Until 3.11 `wait_for` cancels an inner task and waits for it; from 3.12 on it cancels the caller's own, through a time limit."""
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(60)
        ended.set()

    async def within_a_limit() -> None:  # the implementation of 3.12
        async with asyncio.timeout(None) as limit:

            async def strike() -> None:
                await asyncio.to_thread(begun.wait, 60)
                limit.reschedule(asyncio.get_running_loop().time())
                await turn()
                go.set()

            striking = asyncio.create_task(strike())
            await in_thread(work)
        await striking

    with pytest.raises(TimeoutError):
        await within_a_limit()
    assert ended.is_set()
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0

    begun.clear(), ended.clear(), go.clear()
    asyncio.get_running_loop().call_later(0.05, go.set)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_thread(work), 0.01)
    assert ended.is_set()
