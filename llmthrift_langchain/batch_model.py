"""`BatchChatModel`: a chat model whose `batch` goes through the provider's batch API, at half price."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import ConfigDict, Field, PrivateAttr

from llmthrift_core.batching import BatchRequest, BatchResult, Job
from llmthrift_core.errors import BatchError
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_langchain.batch_wire import body_of_call, client_of, message_of_body
from llmthrift_langchain.call import RoutedCall
from llmthrift_langchain.codec import decode_chat, encode
from llmthrift_langchain.response import flaw_of_generations
from llmthrift_langchain.router import ChatRouter
from llmthrift_langchain.tiers import bind_tools

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

Configs = RunnableConfig | list[RunnableConfig] | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One input, as it is sent."""

    request: BatchRequest
    arguments: dict[str, Any]


class BatchChatModel(BaseChatModel):
    """A chat model for work that can wait: `batch` sends all inputs to the provider's batch API and waits, `submit` does not wait.

    In a chain, `chain.batch(inputs)` costs half. Answers come from the exact cache, and are kept in it, under the keys of `thrifty(model,
    thrift)`. A job that was interrupted goes on when the same inputs are batched again, or by `results(job)` anywhere.

    Args:
        model: a ChatOpenAI or ChatAnthropic, also a bound one. May be given first, without a name.
        thrift: prices, cache, budgets and ledger. May be given second.
        cache: as for `ChatRouter`.
        client: the provider's own client for batches; None: that of the model.
        poll_seconds: how often the provider is asked.
        timeout_seconds: how long `batch` waits; None: until the job ends, or is overdue.
        max_attempts: how often a request is sent that expired or met a passing error.
    """

    model: Any = Field(exclude=True)
    thrift: Any = Field(exclude=True)
    client: Any = Field(default=None, exclude=True)
    poll_seconds: float = 15.0
    timeout_seconds: float | None = None
    max_attempts: int = 3

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _router: ChatRouter = PrivateAttr()

    def __init__(self, model: Any = None, thrift: Thrift | None = None, *, cache: Any = True, **fields: Any) -> None:
        require_thrift(thrift, type(self).__name__)
        super().__init__(model=model, thrift=thrift, **fields)
        self._router = ChatRouter(thrift, models={"model": model}, cache=cache, fallbacks=False)

    @property
    def _llm_type(self) -> str:
        return "llmthrift-batch"

    # --- jobs ---

    def submit(
        self,
        inputs: Sequence[LanguageModelInput],
        config: Configs = None,
        *,
        name: str | None = None,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Job:
        """Send the inputs, and return as soon as the provider has them.

        Args:
            name: of the job, for ever; as for `thrift.batches.submit`.

        Raises:
            ConfigurationError, BudgetExceededError, BatchError: as `thrift.batches.submit`.
        """
        prepared = self._prepared(inputs, config, stop, kwargs)
        tier = self._router.tiers["model"]
        job: Job = self.thrift.batches.submit(
            [each.request for each in prepared],
            model=str(prepared[0].request.body["model"]) if prepared else tier.name,
            provider=tier.provider,
            name=name,
            client=self.client or client_of(tier.model),
            cache=self._router.cache_policy() or False,
            max_attempts=self.max_attempts,
        )
        return job

    def results(self, job: Job | str, *, wait: bool = True, **kwargs: Any) -> Iterator[tuple[int, AIMessage | BatchError]]:
        """The number of each input with its message as they come, or with what kept it from coming.

        Args:
            wait: as for `thrift.batches.results`.
            kwargs: the keyword arguments of `submit`, where the answers are structured.

        Raises:
            BatchError: the job does not end in time. Nothing is lost: ask again.
        """
        found = self.thrift.batches.results(
            job,
            wait=wait,
            poll_seconds=self.poll_seconds,
            timeout_seconds=self.timeout_seconds,
            client=self.client or client_of(self._router.tiers["model"].model),
        )
        job_id = job if isinstance(job, str) else job.id
        for result in found:
            yield result.number, self._message(result, kwargs, job_id)

    # --- Runnable ---

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Send all inputs as one job, and wait for it.

        Raises:
            BatchError: one of them has no answer, unless `return_exceptions`; or the job does not end in time.
        """
        if not inputs:
            return []
        if is_disabled():
            return cast(
                "list[AIMessage]", self._plain().batch(inputs, config, return_exceptions=return_exceptions, **_with_stop(stop, kwargs))
            )
        job = self.submit(inputs, config, stop=stop, **kwargs)
        answers: dict[int, Any] = dict(self.results(job, **kwargs))
        failed = [answer for _, answer in sorted(answers.items()) if isinstance(answer, BatchError)]
        if failed and not return_exceptions:
            raise failed[0]
        return [answers[number] for number in range(len(inputs))]

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """As `batch`, off the event loop."""
        return await asyncio.to_thread(lambda: self.batch(inputs, config, return_exceptions=return_exceptions, **kwargs))

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """A job of one request: it may take a day."""
        return self.batch([input], None if config is None else [config], **kwargs)[0]

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """As `invoke`, off the event loop."""
        return await asyncio.to_thread(lambda: self.invoke(input, config, **kwargs))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in the format of the model's provider."""
        return self.bind(**bind_tools(self._router.tiers, tools, **kwargs)["model"])

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.batch([messages], stop=stop, **kwargs)[0])])

    # --- steps ---

    def _plain(self) -> Runnable[Any, Any]:
        tier = self._router.tiers["model"]
        return tier.model.bind(**tier.parameters) if tier.parameters else tier.model

    def _prepared(
        self, inputs: Sequence[LanguageModelInput], config: Configs, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> list[_Prepared]:
        configs = get_config_list(config, len(inputs)) if inputs else []
        return [self._prepare(each, own, stop, dict(kwargs)) for each, own in zip(inputs, configs, strict=True)]

    def _prepare(self, given: LanguageModelInput, config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]) -> _Prepared:
        messages = self._convert_input(given).to_messages()
        routed = RoutedCall(self._router, messages, config, stop=stop, arguments=kwargs, stream=False)  # never begun: only what it knows
        use, arguments = routed.request.cache, routed._arguments_of("model")
        body = body_of_call(self._router.tiers["model"].model, messages, arguments)
        key = None if use is None or use.mode == "off" else use.key
        if use is not None and use.mode == "refresh":
            self.thrift.cache.discard(use.key)
        request = BatchRequest(body, attribution=routed.request.attribution, cache_key=key, codec="langchain")
        return _Prepared(request, arguments)

    def _message(self, result: BatchResult, kwargs: dict[str, Any], job_id: str) -> AIMessage | BatchError:
        model = self._router.tiers["model"].model
        if result.payload is not None:
            generation = decode_chat(result.payload)[0]
            return cast("AIMessage", cast("ChatGeneration", generation).message)
        if result.body is None:
            return BatchError(f"request {result.custom_id} of job {job_id} has no answer ({result.ending}): {result.error}", job_id=job_id)
        message = message_of_body(model, result.body, kwargs)
        self._keep(result, message)
        return message

    def _keep(self, result: BatchResult, message: AIMessage) -> None:
        """Keep an answer in the exact cache under the key of the same single call."""
        policy, usage = self._router.cache_policy(), result.usage
        if result.cache_key is None or result.codec != "langchain" or result.cached or policy is None or usage is None or is_disabled():
            return
        from llmthrift_core.batching.answers import replace_tier

        generations = [ChatGeneration(message=message)]
        if (flaw := flaw_of_generations(generations)) is not None:
            self.thrift.cache.note_not_kept(flaw)
            return
        try:
            payload = encode(generations)
        except ValueError as error:
            self.thrift.cache.note_uncacheable(str(error))
            return
        tier = self._router.tiers["model"]
        name = str(message.response_metadata.get("model_name") or message.response_metadata.get("model") or tier.name)
        self.thrift.cache.store(result.cache_key, policy, payload, model=name, provider=tier.provider, usage=replace_tier(usage, None))


def _with_stop(stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    return kwargs if stop is None else {**kwargs, "stop": stop}
