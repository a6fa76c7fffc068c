"""Handlers that finish a routed call when LangChain tells them that its stream or its result is there."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import LLMResult

from llmthrift_core.calls.adapter_call import abreak_off, aclose, aescalated, afinish, agrow
from llmthrift_langchain.call import RoutedCall
from llmthrift_langchain.endings import call_in_thread
from llmthrift_langchain.enforcement import text_of_event


class _Pumped:
    """A routed call whose model is driven by somebody else: an event stream that its reader pumps."""

    run_inline = True
    raise_error = True  # so that a budget stops the stream

    def __init__(self, routed: RoutedCall) -> None:
        super().__init__()
        self._routed = routed
        self._text: list[str] = []

    def _came(self, event: Any) -> None:
        if text := text_of_event(event):
            if not self._text:
                self._routed.call.mark_first_token()
            self._text.append(text)
            self._routed.came_text(text)

    def _answer(self, response: LLMResult) -> AIMessage | None:
        message = getattr(response.generations[0][0], "message", None) if response.generations else None
        return message if isinstance(message, AIMessage) else None

    def _broke(self) -> RoutedCall:
        self._routed.chunks = [AIMessageChunk(content="".join(self._text))] if self._text else []
        return self._routed


class Finisher(_Pumped, BaseCallbackHandler):
    """Ends such a call."""

    _is_sent = False

    def follow(self, stream: Any) -> None:
        """End the call when its stream is gone: that its reader left is told to nobody."""
        with suppress(TypeError):  # a stream of a class that cannot be looked out for
            weakref.finalize(stream, self._gone).atexit = False

    def _gone(self) -> None:
        if self._routed.call.is_open:
            call_in_thread(self._left)

    def _left(self) -> None:
        if self._is_sent:
            self._broke().broken_off(GeneratorExit())
        self._routed.close(GeneratorExit())

    def on_chat_model_start(self, *given: Any, **kwargs: Any) -> None:
        """The reader has begun to read: the model is asked now."""
        self._is_sent = True

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """A piece of the answer has come: its hold grows with it.

        Raises:
            BudgetExceededError: the budget has no room for more.
        """
        self._came(event)
        self._routed.grow()

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """A chunk, from models that tell of chunks too: what it reports is kept."""
        self._routed.reported(chunk)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """The answer is whole."""
        answer = self._answer(response)
        self._routed.escalated(answer, is_out=True)
        try:
            self._routed.finished(answer)
        finally:
            self._routed.close()

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """The model failed, the reader stopped, or the budget ended: what had arrived is settled."""
        self._broke().broken_off(error)
        self._routed.close(error)


class AsyncFinisher(_Pumped, AsyncCallbackHandler):
    """Ends such a call off the event loop."""

    async def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        """As `Finisher.on_stream_event`."""
        self._came(event)
        await agrow(self._routed)

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """As `Finisher.on_llm_new_token`."""
        self._routed.reported(chunk)

    async def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """As `Finisher.on_llm_end`."""
        answer = self._answer(response)
        await aescalated(self._routed, answer, is_out=True)
        try:
            await afinish(self._routed, answer)
        finally:
            await aclose(self._routed, None)

    async def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """As `Finisher.on_llm_error`."""
        await abreak_off(self._broke(), error)
        await aclose(self._routed, error)
