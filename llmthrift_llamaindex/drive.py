"""The four ways of driving a call: whole or as a stream, sync or async. The steps are `DrivenCall`'s; these only wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

from llmthrift_core.calls.adapter_call import (
    aasked_again,
    abegin,
    abreak_off,
    aclose,
    aescalated,
    afailed,
    afinish,
    agrow,
    astop,
    begin,
)
from llmthrift_llamaindex.call import DrivenCall
from llmthrift_llamaindex.limiting import has_content, without_last
from llmthrift_llamaindex.messages import Asked
from llmthrift_llamaindex.refusals import apolitely, astreams_politely, politely, streams_politely
from llmthrift_llamaindex.target import Behind


@politely
def answer(behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> Any:
    """Answer with the model, or from the cache.

    Raises:
        BudgetExceededError: a budget refuses the call.
    """
    with DrivenCall(behind, method, asked, arguments) as driven:
        begin(driven)
        while True:
            function, given, options = driven.next()
            try:
                with driven.owning():
                    response = function(given, **options)
            except BaseException as error:
                if not driven.failed(error):
                    raise
            else:
                if driven.asks_on(response):
                    continue
                driven.finished(driven.whole(response))
                return response


@apolitely
async def aanswer(behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> Any:
    """As `answer`; the database is used off the event loop."""
    async with DrivenCall(behind, method, asked, arguments) as driven:
        await abegin(driven)
        while True:
            function, given, options = driven.next()
            try:
                with driven.owning():
                    response = await function(given, **options)
            except BaseException as error:
                if not await afailed(driven, error):
                    raise
            else:
                if await aasked_again(driven, response) or await aescalated(driven, response):
                    continue
                await afinish(driven, driven.whole(response))
                return response


@streams_politely
def stream(behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> Generator[Any, None, None]:
    """Stream the model's answer, or replay a cached one. A stream read to its end is stored.

    Raises:
        BudgetExceededError: a budget refuses the call; before a stream is returned, and in the stream when it outgrows the budget.
    """
    driven = DrivenCall(behind, method, asked, arguments)
    try:
        begin(driven)
        opened = _open(driven)
    except BaseException as error:
        driven.close(error)
        raise
    return _read(driven, opened)


@astreams_politely
async def astream(behind: Behind, method: str, asked: Asked, arguments: dict[str, Any]) -> AsyncGenerator[Any, None]:
    """As `stream`; the database is used off the event loop."""
    driven = DrivenCall(behind, method, asked, arguments)
    try:
        await abegin(driven)
        opened = await _aopen(driven)
    except BaseException as error:
        await aclose(driven, error)
        raise
    return _aread(driven, opened)


def _open(driven: DrivenCall) -> Iterator[Any]:
    """The stream of the first model that opens one."""
    while True:
        function, given, options = driven.next()
        try:
            with driven.owning():
                opened: Iterator[Any] = iter(function(given, **options))
        except BaseException as error:
            if not driven.failed(error):
                raise
        else:
            return opened


async def _aopen(driven: DrivenCall) -> AsyncIterator[Any]:
    while True:
        function, given, options = driven.next()
        try:
            with driven.owning():
                opened: AsyncIterator[Any] = aiter(await function(given, **options))
        except BaseException as error:
            if not await afailed(driven, error):
                raise
        else:
            return opened


class _Given:
    """What of a stream goes to its reader, and when.

    Where an answer may be asked for again, the pieces that only tell of its beginning and end are kept until there is more: the reader sees
    one stream. A stream that is held is given whole.
    """

    def __init__(self, driven: DrivenCall) -> None:
        self._driven = driven
        driven.begin_stream()
        self.is_held = driven.holds_stream
        self._waits = driven.request.limiting is not None
        self._kept = list[Any]()
        self.is_enough = False

    def came(self, piece: Any) -> None:
        """A piece has come."""
        if (spare := self._driven.spare_characters(piece.delta or "")) is not None:
            self.is_enough, piece = True, without_last(piece, spare)
        self._driven.came(piece)
        self._kept.append(piece)

    def now(self) -> Iterator[Any]:
        """What the reader is to have by now."""
        if self.is_held or (self._waits and not any(has_content(piece) for piece in self._kept)):
            return
        self._waits = False
        yield from self.rest()

    def rest(self) -> Iterator[Any]:
        """What he has not had yet."""
        kept, self._kept = self._kept, []
        yield from kept


def _read(driven: DrivenCall, opened: Iterator[Any]) -> Generator[Any, None, None]:
    with driven:
        while True:
            given = _Given(driven)
            try:
                while not given.is_enough:
                    with driven.owning():  # not while the reader has the piece: he may call other models
                        piece = next(opened, None)
                    if piece is None:
                        break
                    given.came(piece)
                    driven.grow()
                    yield from given.now()
                if given.is_enough and (close := getattr(opened, "close", None)) is not None:
                    close()
            except BaseException as error:
                if (close := getattr(opened, "close", None)) is not None:
                    close()
                if driven.has_begun:
                    driven.broken_off(error)
                    raise
                if not driven.failed(error):
                    raise
                opened = _open(driven)
            else:
                whole = driven.together()
                if given.is_enough:
                    driven.stopped(whole)
                elif driven.asked_again(whole) or driven.escalated(whole, is_out=not given.is_held):
                    opened = _open(driven)
                    continue
                else:
                    driven.finished(whole)
                yield from given.rest()
                return


async def _aread(driven: DrivenCall, opened: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    async with driven:
        while True:
            given = _Given(driven)
            try:
                while not given.is_enough:
                    with driven.owning():
                        piece = await anext(opened, None)
                    if piece is None:
                        break
                    given.came(piece)
                    await agrow(driven)
                    for each in given.now():
                        yield each
                if given.is_enough and (close := getattr(opened, "aclose", None)) is not None:
                    await close()
            except BaseException as error:
                if (close := getattr(opened, "aclose", None)) is not None:
                    await close()
                if driven.has_begun:
                    await abreak_off(driven, error)
                    raise
                if not await afailed(driven, error):
                    raise
                opened = await _aopen(driven)
            else:
                whole = driven.together()
                if given.is_enough:
                    await astop(driven, whole)
                elif await aasked_again(driven, whole) or await aescalated(driven, whole, is_out=not given.is_held):
                    opened = await _aopen(driven)
                    continue
                else:
                    await afinish(driven, whole)
                for each in given.rest():
                    yield each
                return
