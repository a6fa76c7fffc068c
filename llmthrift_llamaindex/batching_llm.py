"""`batched`: an LLM that asks several requests of one user in one prompt, where they come close together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.llms.generic_utils import chat_response_to_completion_response
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms import LLM
from pydantic import Field, PrivateAttr

from llmthrift_core.batching import Batcher, JointAnswer, ModelAnswer
from llmthrift_core.cache.keys import UncacheableError
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage
from llmthrift_llamaindex.batch_wire import unmetered
from llmthrift_llamaindex.codec import decode
from llmthrift_llamaindex.identity import identity_of
from llmthrift_llamaindex.messages import text_of
from llmthrift_llamaindex.prepared import Prepared, key_of
from llmthrift_llamaindex.response import response_of

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

_SYSTEM = frozenset({"system", "developer"})


def batched(llm: Any, thrift: Thrift, *, max_size: int = 20, flush_seconds: float = 2.0, cache: Any = True, **options: Any) -> BatchingLLM:
    """An LLM that asks several requests in one prompt. Requests of one user, feature and system prompt share one.

    Answers get worse in a batch: measure it with an experiment, whose other arm calls with `alone=True`. A request joins others where it is
    one text of a user after system messages, without further arguments; any other is a single call.

    Args:
        llm: any LLM of LlamaIndex that `thrifty` takes.
        thrift: prices, cache, budgets and ledger.
        max_size: requests in one prompt. flush_seconds: how long the first waits for others.
        cache: as for `thrifty`.
        options: as for `Batcher`, such as on_result=.
    """
    return BatchingLLM(llm=llm, thrift=thrift, max_size=max_size, flush_seconds=flush_seconds, cache=cache, options=options)


class BatchingLLM(LLM):
    """What `batched` makes. Per call, `alone=True` makes a single call."""

    llm: Any = Field(exclude=True)
    thrift: Any = Field(exclude=True)
    max_size: int = 20
    flush_seconds: float = 2.0
    cache: Any = Field(default=True, exclude=True)
    options: dict[str, Any] = Field(default_factory=dict, exclude=True)

    _prepared: Prepared = PrivateAttr()
    _batcher: Batcher = PrivateAttr()

    def __init__(self, **fields: Any) -> None:
        require_thrift(fields.get("thrift"), type(self).__name__)
        super().__init__(**fields)
        self._prepared = Prepared(self.llm, self.thrift, self.cache)
        self._batcher = Batcher(
            partial(self._ask, []),
            thrift=self.thrift,
            model=self._prepared.name,
            provider=self._prepared.provider,
            max_size=self.max_size,
            flush_seconds=self.flush_seconds,
            cache=self.cache if isinstance(self.cache, CachePolicy) else bool(self.cache),
            **self.options,
        )

    @classmethod
    def class_name(cls) -> str:
        """Of the class, as LlamaIndex keeps it."""
        return "BatchingLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """That of the model."""
        return cast("LLMMetadata", self.llm.metadata)

    @property
    def batcher(self) -> Batcher:
        """What groups the requests; `close` it, or the Thrift, to have what waits asked."""
        return self._batcher

    def batch(self, inputs: Sequence[str | Sequence[ChatMessage]], **kwargs: Any) -> list[ChatResponse]:
        """Answer all inputs, in as few prompts as they fit in, without waiting for others."""
        futures = [self._submit(_messages(each), dict(kwargs)) for each in inputs]
        self._batcher.flush(wait=False)
        return [future.result() for future in futures]

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer together with others that come within `flush_seconds`."""
        return self._submit(list(messages), kwargs).result()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `chat`, for a prompt."""
        return chat_response_to_completion_response(self.chat(_messages(prompt), **kwargs))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, on an event loop."""
        return await asyncio.wrap_future(await asyncio.to_thread(self._submit, list(messages), kwargs))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `achat`, for a prompt."""
        return chat_response_to_completion_response(await self.achat(_messages(prompt), **kwargs))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """A single call: a stream is read as it comes."""
        return cast("ChatResponseGen", self._prepared.wrapped.stream_chat(messages, **kwargs))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `stream_chat`, for a prompt."""
        return cast("CompletionResponseGen", self._prepared.wrapped.stream_complete(prompt, formatted=formatted, **kwargs))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""
        return cast("ChatResponseAsyncGen", await self._prepared.wrapped.astream_chat(messages, **kwargs))

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""
        return cast("CompletionResponseAsyncGen", await self._prepared.wrapped.astream_complete(prompt, formatted=formatted, **kwargs))

    # --- steps ---

    def _submit(self, messages: list[ChatMessage], kwargs: dict[str, Any]) -> Future[ChatResponse]:
        alone = kwargs.pop("alone", False)
        context = copy_context()

        def single() -> ChatResponse:
            return cast("ChatResponse", context.run(self._prepared.wrapped.chat, messages, **kwargs))

        if alone or is_disabled() or not _joins(messages, kwargs):
            return cast("Future[ChatResponse]", self._batcher.run_alone(single))
        asked = self._prepared.request(messages, kwargs)
        system, use = messages[:-1], asked.cache
        try:
            identity = identity_of(self._prepared.llm, {}).hex()
        except UncacheableError:  # something that cannot be told from another: it shares with nobody
            return cast("Future[ChatResponse]", self._batcher.run_alone(single))
        future: Future[ChatResponse] = Future()
        joint = self._batcher.submit(
            text_of(messages[-1]),
            scope="\x1e".join([identity, *map(text_of, system)]),
            attribution=asked.attribution,
            cache_key=key_of(use),
            encode=lambda answer: self._prepared.encoded(_response_of(answer)),
            decode=partial(decode, is_chat=True),
            look_up=use is not None and use.mode == "on",
            single=lambda: _native(single()),
            model_call=partial(self._ask, system),
        )
        joint.add_done_callback(partial(_hand_over, future))
        return future

    def _ask(self, system: Sequence[ChatMessage], prompt: str) -> ModelAnswer:
        with unmetered(self.thrift):
            response = self._prepared.llm.chat([*system, ChatMessage(prompt, role=MessageRole.USER)])
        found = response_of(response, [], self._prepared.name, self._prepared.provider, storable=False)
        return ModelAnswer(response.message.content or "", found.usage, found.model, found.provider)


def _joins(messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> bool:
    """Whether a request is one text of a user, answered by one text."""
    *before, last = messages
    is_text = last.role == MessageRole.USER and all(block.block_type == "text" for block in last.blocks) and bool(text_of(last).strip())
    return is_text and all(message.role.value in _SYSTEM for message in before) and not set(arguments) - {"cache"}


def _response_of(answer: JointAnswer) -> ChatResponse:
    if answer.native is not None:
        return cast("ChatResponse", answer.native)
    sent, made = answer.usage.input_tokens, answer.usage.output_tokens
    counts = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
    message = ChatMessage(answer.text, role=MessageRole.ASSISTANT)
    more = {**counts, "llmthrift_batch": {"size": answer.size, "request_id": answer.request_id}}
    return ChatResponse(message=message, additional_kwargs=more, raw={"choices": [{"finish_reason": "stop"}]})


def _native(response: ChatResponse) -> JointAnswer:
    return JointAnswer(response.message.content or "", Usage(), None, 1, native=response)


def _hand_over(future: Future[ChatResponse], joint: Future[JointAnswer]) -> None:
    if (error := joint.exception()) is not None:
        future.set_exception(error)
        return
    try:
        future.set_result(_response_of(joint.result()))
    except Exception as failure:
        future.set_exception(failure)


def _messages(given: str | Sequence[ChatMessage]) -> list[ChatMessage]:
    return [ChatMessage(given, role=MessageRole.USER)] if isinstance(given, str) else list(given)
