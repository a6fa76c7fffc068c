"""`batched`: a chat model that asks several requests of one user in one prompt, where they come close together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, get_config_list
from pydantic import ConfigDict, Field, PrivateAttr

from llmthrift_core.batching import Batcher, JointAnswer, ModelAnswer
from llmthrift_core.cache.keys import UncacheableError
from llmthrift_core.settings import is_disabled
from llmthrift_core.texts import require_thrift
from llmthrift_core.usage import Usage
from llmthrift_langchain.call import RoutedCall
from llmthrift_langchain.codec import decode_chat, encode
from llmthrift_langchain.identity import identity_of
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.response import flaw_of_generations, response_of_message
from llmthrift_langchain.router import ChatRouter
from llmthrift_langchain.tiers import bind_tools

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift

Configs = RunnableConfig | list[RunnableConfig] | None
# What makes an answer more than a text, or more than one.
_ALONE = frozenset({"tools", "functions", "response_format", "ls_structured_output_format", "n", "stop", "logprobs", "output_config"})


def batched(
    model: Any, thrift: Thrift, *, max_size: int = 20, flush_seconds: float = 2.0, cache: Any = True, **options: Any
) -> BatchingModel:
    """A chat model that asks several requests in one prompt. Requests of one user, feature and system prompt share one.

    Answers get worse in a batch: measure it with an experiment, whose other arm calls with `alone=True`. A request joins others where it is
    one text of a user after system messages, without tools, structured output or stop words; any other is a single call.

    Args:
        model: a chat model, a bound chat model, or a name.
        thrift: prices, cache, budgets and ledger.
        max_size: requests in one prompt.
        flush_seconds: how long the first waits for others; a `batch` of a chain does not wait.
        cache: as for `ChatRouter`.
        options: as for `Batcher`, such as on_result=.
    """
    return BatchingModel(model, thrift, max_size=max_size, flush_seconds=flush_seconds, cache=cache, options=options)


class BatchingModel(BaseChatModel):
    """What `batched` makes. Per call, `alone=True` makes a single call."""

    model: Any = Field(exclude=True)
    thrift: Any = Field(exclude=True)

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _router: ChatRouter = PrivateAttr()
    _batcher: Batcher = PrivateAttr()

    def __init__(
        self,
        model: Any,
        thrift: Thrift,
        *,
        max_size: int = 20,
        flush_seconds: float = 2.0,
        cache: Any = True,
        options: dict[str, Any] | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        super().__init__(model=model, thrift=thrift)
        self._router = ChatRouter(thrift, models={"model": model}, cache=cache, fallbacks=False)
        tier = self._router.tiers["model"]
        self._batcher = Batcher(
            partial(self._ask, []),
            thrift=thrift,
            model=tier.name,
            provider=tier.provider,
            max_size=max_size,
            flush_seconds=flush_seconds,
            cache=self._router.cache_policy() or False,
            **(options or {}),
        )

    @property
    def _llm_type(self) -> str:
        return "llmthrift-batching"

    @property
    def batcher(self) -> Batcher:
        """What groups the requests; `close` it, or the Thrift, to have what waits asked."""
        return self._batcher

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """Answer together with others that come within `flush_seconds`."""
        if is_disabled():
            kwargs.pop("alone", None)
            return self._router.invoke(input, config, stop=stop, **kwargs)
        return self._submit(input, ensure_config(config), stop, kwargs).result()

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, *, stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """As `invoke`, on an event loop."""
        if is_disabled():
            kwargs.pop("alone", None)
            return await self._router.ainvoke(input, config, stop=stop, **kwargs)
        future = await asyncio.to_thread(self._submit, input, ensure_config(config), stop, kwargs)
        return await asyncio.wrap_future(future)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all inputs, in as few prompts as they fit in."""
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        if is_disabled():
            kwargs.pop("alone", None)
            return self._router.batch(inputs, configs, return_exceptions=return_exceptions, stop=stop, **kwargs)
        futures = [self._submit(each, own, stop, dict(kwargs)) for each, own in zip(inputs, configs, strict=True)]
        self._batcher.flush(wait=False)
        if not return_exceptions:
            return [future.result() for future in futures]
        return [cast("AIMessage", future.exception() or future.result()) for future in futures]

    async def abatch(
        self, inputs: list[LanguageModelInput], config: Configs = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> list[AIMessage]:
        """As `batch`, off the event loop."""
        return await asyncio.to_thread(lambda: self.batch(inputs, config, return_exceptions=return_exceptions, **kwargs))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in the format of the model's provider. Such requests are single calls."""
        return self.bind(**bind_tools(self._router.tiers, tools, **kwargs)["model"])

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.invoke(messages, stop=stop, **kwargs))])

    # --- steps ---

    def _submit(
        self, given: LanguageModelInput, config: RunnableConfig, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Future[AIMessage]:
        messages, alone = self._convert_input(given).to_messages(), kwargs.pop("alone", False)
        routed = RoutedCall(self._router, messages, config, stop=stop, arguments=dict(kwargs), stream=False)  # never begun
        arguments, use = routed._arguments_of("model"), routed.request.cache
        context = copy_context()

        def single() -> AIMessage:
            return context.run(self._router.invoke, messages, config, stop=stop, **kwargs)

        if alone or not _joins(messages, arguments):
            return cast("Future[AIMessage]", self._batcher.run_alone(single))
        system, tier = messages[:-1], self._router.tiers["model"]
        try:
            identity = identity_of(tier.model, arguments).hex()
        except UncacheableError:  # something that cannot be told from another: it shares with nobody
            return cast("Future[AIMessage]", self._batcher.run_alone(single))
        scope = "\x1e".join([identity, *(text_of(message.content) for message in system)])
        future: Future[AIMessage] = Future()
        joint = self._batcher.submit(
            text_of(messages[-1].content),
            scope=scope,
            attribution=routed.request.attribution,
            cache_key=None if use is None or use.mode == "off" else use.key,
            encode=_encoded,
            decode=_decoded,
            look_up=use is not None and use.mode == "on",
            single=lambda: _native(single()),
            model_call=partial(self._ask, system, **arguments),
        )
        joint.add_done_callback(partial(_hand_over, future, lambda answer: _message_of(answer, tier.name, tier.provider)))
        return future

    def _ask(self, system: Sequence[BaseMessage], prompt: str, **arguments: Any) -> ModelAnswer:
        messages = [*system, HumanMessage(prompt)]
        tier = self._router.tiers["model"]
        message = tier.model.invoke(messages, {"callbacks": []}, **arguments)
        found = response_of_message(message, [], tier.name, storable=False)
        return ModelAnswer(text_of(message.content), found.usage, found.model, found.provider)


def _joins(messages: Sequence[BaseMessage], arguments: dict[str, Any]) -> bool:
    """Whether a request is one text of a user, answered by one text."""
    *before, last = messages
    is_text = isinstance(last, HumanMessage) and isinstance(last.content, str) and bool(last.content.strip())
    return is_text and all(isinstance(message, SystemMessage) for message in before) and not any(arguments.get(name) for name in _ALONE)


def _message_of(answer: JointAnswer, model: str, provider: str | None) -> AIMessage:
    if answer.native is not None:
        return cast("AIMessage", answer.native)
    told: dict[str, Any] = {
        "model_name": model,
        "finish_reason": "stop",
        "llmthrift_batch": {"size": answer.size, "request_id": answer.request_id},
    }
    if provider is not None:
        told["model_provider"] = provider
    sent, made = answer.usage.input_tokens, answer.usage.output_tokens
    usage: Any = {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made}
    return AIMessage(answer.text, response_metadata=told, usage_metadata=usage)


def _encoded(answer: JointAnswer) -> bytes | None:
    generations = [ChatGeneration(message=_message_of(answer, "", None))]
    if flaw_of_generations(generations) is not None:
        return None
    try:
        return encode(generations)
    except ValueError:
        return None


def _decoded(payload: bytes) -> AIMessage:
    return cast("AIMessage", cast("ChatGeneration", decode_chat(payload)[0]).message)


def _native(message: AIMessage) -> JointAnswer:
    return JointAnswer(text_of(message.content), Usage(), None, 1, native=message)


def _hand_over(future: Future[AIMessage], convert: Callable[[JointAnswer], AIMessage], joint: Future[JointAnswer]) -> None:
    if (error := joint.exception()) is not None:
        future.set_exception(error)
        return
    try:
        future.set_result(convert(joint.result()))
    except Exception as failure:
        future.set_exception(failure)
