"""A router's streams: the chosen model's pieces as they come, and what is asked when they have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

from langchain_core.messages import AIMessageChunk

from llmthrift_core.calls.adapter_call import aasked_again, abegin, abreak_off, aescalated, afailed, afinish, agrow, astop, begin
from llmthrift_langchain.call import RoutedCall
from llmthrift_langchain.limiting import has_content, without_last
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.response import merge


class _Given:
    """What of a stream goes to its reader, and when.

    Where an answer may be asked for again, the pieces that only tell of its beginning and end are kept until there is more: the reader sees
    one stream. A stream that is held is given whole.
    """

    def __init__(self, routed: RoutedCall) -> None:
        self._routed = routed
        routed.begin_stream()
        routed.chunks = self.chunks = list[AIMessageChunk]()
        self.is_held = routed.holds_stream
        self._waits = routed.request.limiting is not None
        self._kept = list[AIMessageChunk]()
        self.is_enough = False

    def came(self, chunk: AIMessageChunk) -> None:
        """A chunk has come."""
        routed = self._routed
        if not self.chunks:
            routed.call.mark_first_token()
        if (spare := routed.spare_characters(text_of(chunk.content))) is not None:
            self.is_enough, chunk = True, without_last(chunk, spare)
        self.chunks.append(chunk)
        routed.came(chunk)
        if not self.is_held:
            self._kept.append(chunk)

    def now(self) -> Iterator[AIMessageChunk]:
        """What the reader is to have by now."""
        if self._waits and not any(has_content(chunk) for chunk in self._kept):
            return
        self._waits = False
        yield from self.rest()

    def rest(self) -> Iterator[AIMessageChunk]:
        """What he has not had yet."""
        kept, self._kept = self._kept, []
        yield from kept


def stream(routed: RoutedCall) -> Iterator[AIMessageChunk]:
    """Stream the chosen model's answer, or replay a cached one."""
    with routed:
        begin(routed)
        while True:
            model, config, arguments = routed.next()
            given = _Given(routed)
            try:
                source = model.stream(routed.messages, config, **arguments)
                for chunk in source:
                    given.came(chunk)
                    routed.grow()
                    yield from given.now()
                    if given.is_enough:
                        cast("Any", source).close()
                        break
            except BaseException as error:
                if given.chunks:
                    routed.broken_off(error)
                    raise
                if not routed.failed(error):
                    raise
            else:
                whole = merge(given.chunks)
                if given.is_enough:
                    routed.stopped(whole)
                elif routed.asked_again(whole) or routed.escalated(whole, is_out=not given.is_held):
                    continue
                else:
                    routed.finished(whole)
                yield from given.rest()
                yield from routed.rest_of_stream(whole, is_held=given.is_held)
                return


async def astream(routed: RoutedCall) -> AsyncIterator[AIMessageChunk]:
    """As `stream`."""
    async with routed:
        await abegin(routed)
        while True:
            model, config, arguments = routed.next()
            given = _Given(routed)
            try:
                source = model.astream(routed.messages, config, **arguments)
                async for chunk in source:
                    given.came(chunk)
                    await agrow(routed)
                    for each in given.now():
                        yield each
                    if given.is_enough:
                        await cast("Any", source).aclose()
                        break
            except BaseException as error:
                if given.chunks:
                    await abreak_off(routed, error)
                    raise
                if not await afailed(routed, error):
                    raise
            else:
                whole = merge(given.chunks)
                if given.is_enough:
                    await astop(routed, whole)
                elif await aasked_again(routed, whole) or await aescalated(routed, whole, is_out=not given.is_held):
                    continue
                else:
                    await afinish(routed, whole)
                for each in given.rest():
                    yield each
                for each in routed.rest_of_stream(whole, is_held=given.is_held):
                    yield each
                return
