"""`BatchLLM`: an LLM whose calls go through the provider's batch API, at half price: for pipelines that can wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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

from llmthrift_core.batching import BatchRequest, BatchResult, Job
from llmthrift_core.batching.answers import replace_tier
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import BatchError
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_llamaindex.batch_wire import body_of_call, client_of, provider_of_client, response_of_body
from llmthrift_llamaindex.codec import decode
from llmthrift_llamaindex.prepared import Prepared, key_of

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

Input = str | Sequence[ChatMessage]


@dataclass(slots=True)
class _Gathered:
    """One asynchronous call that waits for others."""

    messages: list[ChatMessage]
    arguments: dict[str, Any]
    request: BatchRequest
    future: asyncio.Future[ChatResponse]


class BatchLLM(LLM):
    """An LLM for work that can wait: `batch` sends all inputs to the provider's batch API and waits, `submit` does not wait.

    Asynchronous calls that come within `gather_seconds` share a job, so that a pipeline of extractors with many workers costs half without
    another line. Answers come from the exact cache, and are kept in it, under the keys of `thrifty(llm, thrift).chat`.

    Args:
        llm: LlamaIndex's OpenAI, OpenAIResponses or Anthropic. May be given first, without a name.
        thrift: prices, cache, budgets and ledger. May be given second.
        cache: True, False or a CachePolicy, as for `thrifty`.
        client: the provider's own synchronous client for batches; None: that of the model.
        gather_seconds: how long the first asynchronous call waits for others.
        poll_seconds: how often the provider is asked. timeout_seconds: how long a call waits; None: until its job ends, or is overdue.
        max_attempts: how often a request is sent that expired or met a passing error.
    """

    llm: Any = Field(exclude=True)
    thrift: Any = Field(exclude=True)
    cache: Any = Field(default=True, exclude=True)
    client: Any = Field(default=None, exclude=True)
    gather_seconds: float = 1.0
    poll_seconds: float = 15.0
    timeout_seconds: float | None = None
    max_attempts: int = 3

    _prepared: Prepared = PrivateAttr()
    _waiting: list[_Gathered] = PrivateAttr(default_factory=list)
    _tasks: set[asyncio.Task[None]] = PrivateAttr(default_factory=set)

    def __init__(self, llm: Any = None, thrift: Thrift | None = None, **fields: Any) -> None:
        require_thrift(thrift, type(self).__name__)
        provider_of_client(llm)
        super().__init__(llm=llm, thrift=thrift, **fields)
        self._prepared = Prepared(llm, cast("Thrift", thrift), self.cache)

    @classmethod
    def class_name(cls) -> str:
        """Of the class, as LlamaIndex keeps it."""
        return "BatchLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """That of the model."""
        return cast("LLMMetadata", self.llm.metadata)

    # --- jobs ---

    def submit(self, inputs: Sequence[Input], *, name: str | None = None, **kwargs: Any) -> Job:
        """Send prompts or lists of messages, and return when the provider has them. Arguments and errors as `thrift.batches.submit`."""
        return self._submit([self._request(_messages(each), kwargs) for each in inputs], name)

    def results(self, job: Job | str, inputs: Sequence[Input] = (), *, wait: bool = True, **kwargs: Any) -> Iterator[tuple[int, Any]]:
        """The number of each input with its ChatResponse as they come, or with the BatchError that kept it from coming.

        Args:
            inputs: as they were submitted, where the integration reads them to make its answer. kwargs: likewise.
            wait: as for `thrift.batches.results`.

        Raises:
            BatchError: the job does not end in time. Nothing is lost: ask again.
        """
        found = self.thrift.batches.results(
            job, wait=wait, poll_seconds=self.poll_seconds, timeout_seconds=self.timeout_seconds, client=self.client or client_of(self.llm)
        )
        job_id = job if isinstance(job, str) else job.id
        for result in found:
            messages = _messages(inputs[result.number]) if result.number < len(inputs) else [ChatMessage("")]
            yield result.number, self._response(result, messages, kwargs, job_id)

    def batch(self, inputs: Sequence[Input], *, return_exceptions: bool = False, **kwargs: Any) -> list[ChatResponse]:
        """Send all inputs as one job, and wait for it.

        Raises:
            BatchError: one of them has no answer, unless `return_exceptions`; or the job does not end in time.
        """
        if not inputs:
            return []
        if is_disabled():
            return [self.llm.chat(_messages(each), **kwargs) for each in inputs]
        answers = dict(self.results(self.submit(inputs, **kwargs), inputs, **kwargs))
        ordered = [answers[number] for number in range(len(inputs))]
        failed = [answer for answer in ordered if isinstance(answer, BatchError)]
        if failed and not return_exceptions:
            raise failed[0]
        return ordered

    # --- LLM ---

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """A job of one request: it may take a day."""
        return self.batch([list(messages)], **kwargs)[0]

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `chat`, for a prompt."""
        return chat_response_to_completion_response(self.chat(_messages(prompt), **kwargs))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`; calls that come within `gather_seconds` share a job."""
        if is_disabled():
            return cast("ChatResponse", await self.llm.achat(messages, **kwargs))
        given = list(messages)
        request = await asyncio.to_thread(self._request, given, kwargs)
        future: asyncio.Future[ChatResponse] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Gathered(given, kwargs, request, future))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._gather())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `achat`, for a prompt."""
        return chat_response_to_completion_response(await self.achat(_messages(prompt), **kwargs))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, in one piece."""
        answer = self.chat(messages, **kwargs)
        return (each for each in [_piece(answer)])

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, in one piece."""
        answer = self.complete(prompt, formatted, **kwargs)
        return (each for each in [answer.model_copy(update={"delta": answer.text})])

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `achat`, in one piece."""

        async def whole() -> ChatResponseAsyncGen:
            yield _piece(await self.achat(messages, **kwargs))

        return whole()

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `acomplete`, in one piece."""

        async def whole() -> CompletionResponseAsyncGen:
            answer = await self.acomplete(prompt, formatted, **kwargs)
            yield answer.model_copy(update={"delta": answer.text})

        return whole()

    # --- steps ---

    async def _gather(self) -> None:
        await asyncio.sleep(self.gather_seconds)
        gathered, self._waiting = self._waiting, []
        try:
            answers = await asyncio.to_thread(self._answers, gathered)
        except BaseException as error:
            answers = dict.fromkeys(range(len(gathered)), error)
        for number, each in enumerate(gathered):
            with suppress(asyncio.InvalidStateError):  # its caller has gone
                answer = answers[number]
                if isinstance(answer, BaseException):
                    each.future.set_exception(answer)
                else:
                    each.future.set_result(answer)

    def _answers(self, gathered: Sequence[_Gathered]) -> dict[int, Any]:
        job = self._submit([each.request for each in gathered], None)
        results = self.thrift.batches.results(
            job, poll_seconds=self.poll_seconds, timeout_seconds=self.timeout_seconds, client=self.client or client_of(self.llm)
        )
        return {
            result.number: self._response(result, gathered[result.number].messages, gathered[result.number].arguments, job.id)
            for result in results
        }

    def _submit(self, requests: Sequence[BatchRequest], name: str | None) -> Job:
        job: Job = self.thrift.batches.submit(
            requests,
            model=str(requests[0].body["model"]) if requests else self._prepared.name,
            provider=provider_of_client(self.llm),
            name=name,
            client=self.client or client_of(self.llm),
            cache=self.cache if isinstance(self.cache, CachePolicy) else bool(self.cache),
            max_attempts=self.max_attempts,
        )
        return job

    def _request(self, messages: Sequence[ChatMessage], arguments: dict[str, Any]) -> BatchRequest:
        asked = self._prepared.request(messages, arguments)
        plain = {name: value for name, value in arguments.items() if name != "cache"}
        body = body_of_call(self.llm, self.thrift, messages, plain)
        key = key_of(asked.cache)
        if key is not None and asked.cache is not None and asked.cache.mode == "refresh":
            self.thrift.cache.discard(key)
        return BatchRequest(body, attribution=asked.attribution, cache_key=key, codec="llamaindex")

    def _response(
        self, result: BatchResult, messages: Sequence[ChatMessage], arguments: dict[str, Any], job_id: str
    ) -> ChatResponse | BatchError:
        if result.payload is not None:
            return cast("ChatResponse", decode(result.payload, is_chat=True))
        if result.body is None:
            return BatchError(f"request {result.custom_id} of job {job_id} has no answer ({result.ending}): {result.error}", job_id=job_id)
        plain = {name: value for name, value in arguments.items() if name != "cache"}
        response = response_of_body(self.llm, self.thrift, messages, plain, result.body)
        self._keep(result, response)
        return response

    def _keep(self, result: BatchResult, response: ChatResponse) -> None:
        if result.cache_key is None or result.cached or result.usage is None or not self.cache or is_disabled():
            return
        if (payload := self._prepared.encoded(response)) is None:
            return
        policy = self.cache if isinstance(self.cache, CachePolicy) else CachePolicy()
        name, provider = str((result.body or {}).get("model") or self._prepared.name), self._prepared.provider
        self.thrift.cache.store(result.cache_key, policy, payload, model=name, provider=provider, usage=replace_tier(result.usage, None))


def _messages(given: Input) -> list[ChatMessage]:
    return [ChatMessage(given, role=MessageRole.USER)] if isinstance(given, str) else list(given)


def _piece(answer: ChatResponse) -> ChatResponse:
    return answer.model_copy(update={"delta": answer.message.content or ""})
