"""Streams over HTTP: each runs in one task, and ends when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Item = TypeVar("Item")
_ending: set[asyncio.Task[None]] = set()  # the loop itself keeps tasks only weakly


async def in_own_task(source: AsyncGenerator[Item, None]) -> AsyncIterator[Item]:
    """The items of a generator that runs in one task from its beginning to its end, so that its context variables stay its own.

    A web framework reads the first item of a stream in one task and the rest in another. The generator is at most one item ahead. It is
    cancelled, and waited for, when its reader leaves.
    """
    queue: asyncio.Queue[tuple[Item | None, BaseException | None, bool]] = asyncio.Queue(maxsize=1)

    has_left = False

    async def tell_end(error: BaseException | None) -> None:
        if not has_left:  # else nobody would take it from a full queue, and the source would never be closed
            await queue.put((None, error, True))

    async def run() -> None:
        # A cancellation can be lost: `wait_for` of Python 3.11 swallows one that comes with its result. So it is asked who still reads.
        try:
            async for item in source:
                if has_left:
                    return
                await queue.put((item, None, False))
        except Exception as error:
            await tell_end(error)
        else:
            await tell_end(None)
        finally:
            await source.aclose()

    task = asyncio.create_task(run())
    try:
        while True:
            item, error, is_end = await queue.get()
            if error is not None:
                raise error
            if is_end:
                return
            yield item  # type: ignore[misc]
    finally:
        has_left = True
        task.cancel()
        _ending.add(task)
        task.add_done_callback(_ending.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])  # which a reader who is cancelled again leaves, and the task goes on to its end


class EventStream(StreamingResponse):
    """Server-sent events of a generator, which is closed as soon as the response ends or the client is gone."""

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        self._events = events
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # else the garbage collector would close it, some time
            await self._events.aclose()
