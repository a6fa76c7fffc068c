"""The doors that the contract drives, and how each framework calls them."""

from __future__ import annotations

import asyncio
import atexit
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai import OpenAI
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift, attribute
from llmthrift_core.service.backend import Asked
from llmthrift_core.service.direct.backend import DirectBackend
from llmthrift_core.service.direct.upstream import Upstream, close_connections
from llmthrift_core.testing import LoopbackProvider

MODEL = "gpt-4o-mini"
_ORDER = {"type": "object", "properties": {"order_id": {"type": "integer"}}, "required": ["order_id"]}
Answer = TypeVar("Answer")

# One loop and one client for it: pooled connections must not outlive the loop that they belong to.
_LOOP = asyncio.Runner()
_ASYNC_CLIENT = httpx.AsyncClient()
atexit.register(lambda: _LOOP.run(close_connections()))


def _run(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """As asyncio.run: in the context of the caller, with its attribution."""
    return _LOOP.run(coroutine, context=copy_context())


def get_order_status(order_id: int) -> str:
    """Look up where an order is."""
    return f"order {order_id} has shipped"


@dataclass
class Door:
    """A way of using llmthrift with LangChain: the model to call and the callbacks to call it with."""

    model: Any
    callbacks: list[BaseCallbackHandler] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        return {"callbacks": list(self.callbacks)}

    def ask(self, prompt: str | list[BaseMessage], how: str = "invoke", metadata: Mapping[str, Any] | None = None, **options: Any) -> str:
        """The text of the answer."""
        config = {**self.config, "metadata": dict(metadata or {})}
        if how == "invoke":
            return str(self.model.invoke(prompt, config, **options).content)
        if how == "ainvoke":
            return str(_run(self.model.ainvoke(prompt, config, **options)).content)
        if how == "stream":
            return "".join(str(chunk.content) for chunk in self.model.stream(prompt, config, **options))

        async def read() -> str:
            return "".join([str(chunk.content) async for chunk in self.model.astream(prompt, config, **options)])

        return _run(read())

    def begin_and_leave(self, prompt: str) -> None:
        """Read two pieces of a stream, and no more."""
        stream = self.model.stream(prompt, self.config)
        next(stream)
        next(stream)
        stream.close()

    def call_tool(self, prompt: str) -> list[tuple[str, dict[str, Any]]]:
        """The names and arguments of the tools that the model calls."""
        model = self.model.bind_tools([tool(get_order_status)], tool_choice="any")
        return [(call["name"], call["args"]) for call in model.invoke(prompt, self.config).tool_calls]


@dataclass
class LlamaIndexDoor:
    """A way of using llmthrift with LlamaIndex: the LLM to call. Handlers are installed for the whole process."""

    model: Any

    def ask(self, prompt: str | list[ChatMessage], how: str = "invoke", metadata: Mapping[str, Any] | None = None, **options: Any) -> str:
        """The text of the answer."""
        messages = [ChatMessage(prompt)] if isinstance(prompt, str) else prompt
        with instrument_tags(dict(metadata)) if metadata else nullcontext():
            if how == "invoke":
                return str(self.model.chat(messages, **options).message.content)
            if how == "ainvoke":
                return str(_run(self.model.achat(messages, **options)).message.content)
            if how == "stream":
                return "".join(piece.delta or "" for piece in self.model.stream_chat(messages, **options))

            async def read() -> str:
                return "".join([piece.delta or "" async for piece in await self.model.astream_chat(messages, **options)])

            return _run(read())

    def begin_and_leave(self, prompt: str) -> None:
        """Read two pieces of a stream, and no more."""
        stream = self.model.stream_chat([ChatMessage(prompt)])
        next(stream)
        next(stream)
        stream.close()

    def call_tool(self, prompt: str) -> list[tuple[str, dict[str, Any]]]:
        """The names and arguments of the tools that the model calls."""
        answer = self.model.chat_with_tools([FunctionTool.from_defaults(get_order_status)], prompt, tool_required=True)
        return [(call.tool_name, call.tool_kwargs) for call in self.model.get_tool_calls_from_response(answer)]


@dataclass
class ServiceDoor:
    """The service's own backend: what calls models by OpenAI's protocol, without a framework."""

    thrift: Thrift
    url: str

    def __post_init__(self) -> None:
        self.model = self._backend(MODEL, httpx.Timeout(600))

    def _backend(self, name: str, timeout: httpx.Timeout) -> DirectBackend:
        return DirectBackend(self.thrift, {"only": Upstream(name, self.url, timeout_seconds=timeout.read or 600, retries=0)})

    def ask(self, prompt: str, how: str = "invoke", metadata: Mapping[str, Any] | None = None, **options: Any) -> str:
        """The text of the answer. Options are `model`, and `timeout` as httpx has it."""
        backend = self._backend(options.get("model", MODEL), options.get("timeout", httpx.Timeout(600))) if options else self.model
        with attribute(**(metadata or {})):
            return _run(self.answer(prompt, how, backend))

    def begin_and_leave(self, prompt: str) -> None:
        """Read two pieces of a stream, and no more."""

        async def leave() -> None:
            async with aclosing(self.model.stream(self._asked(prompt))) as pieces:  # type: ignore[type-var]
                await anext(pieces)
                await anext(pieces)

        _run(leave())

    def call_tool(self, prompt: str) -> list[tuple[str, dict[str, Any]]]:
        """The names and arguments of the tools that the model calls."""
        described = [{"type": "function", "function": {"name": "get_order_status", "parameters": _ORDER}}]
        answered = _run(self.model.answer(self._asked(prompt, tools=described, tool_choice="required")))
        functions = [call["function"] for call in answered.choices[0].tool_calls]
        return [(each["name"], json.loads(each["arguments"])) for each in functions]

    async def answer(self, prompt: str, how: str = "invoke", backend: DirectBackend | None = None) -> str:
        """As `ask`, on the event loop."""
        model = backend or self.model
        if "invoke" in how:
            return (await model.answer(self._asked(prompt))).choices[0].text or ""
        deltas = [piece.chunk["choices"][0]["delta"] async for piece in model.stream(self._asked(prompt)) if piece.chunk]
        return "".join(delta.get("content") or "" for delta in deltas)

    def _asked(self, prompt: str, **options: Any) -> Asked:
        return Asked([{"role": "user", "content": prompt}], **options)


AnyDoor = Door | LlamaIndexDoor | ServiceDoor


def ask(model: Any, turns: Sequence[Mapping[str, str]], how: str = "invoke") -> str:
    """The text that a model of either framework answers to a conversation of `role` and `content`."""
    if isinstance(model, LLM):
        return LlamaIndexDoor(model).ask([ChatMessage(role=turn["role"], content=turn["content"]) for turn in turns], how)
    return Door(model).ask(convert_to_messages([dict(turn) for turn in turns]), how)


def client(provider: LoopbackProvider, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=MODEL,
        base_url=provider.openai_url,
        api_key="none",
        stream_usage=True,
        max_retries=0,
        http_async_client=_ASYNC_CLIENT,
        **options,
    )


def llm(provider: LoopbackProvider) -> OpenAI:
    return OpenAI(
        model=MODEL,
        api_base=provider.openai_url,
        api_key="none",
        max_retries=0,
        async_http_client=_ASYNC_CLIENT,
        additional_kwargs={"stream_options": {"include_usage": True}},
    )


def with_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift)])


def with_two_handlers(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift), lc.ThriftCallbackHandler(thrift)])


def with_cache(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(client(provider, cache=lc.ThriftCache(thrift)))


def with_global_cache_and_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    set_llm_cache(lc.ThriftCache(thrift))
    return Door(client(provider), [lc.ThriftCallbackHandler(thrift)])


def with_router(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(lc.ChatRouter(thrift, models={"only": client(provider)}, cache=True))


def with_router_and_handler(thrift: Thrift, provider: LoopbackProvider) -> Door:
    return Door(lc.ChatRouter(thrift, models={"only": client(provider)}, cache=True), [lc.ThriftCallbackHandler(thrift)])


def with_everything(thrift: Thrift, provider: LoopbackProvider) -> Door:
    set_llm_cache(lc.ThriftCache(thrift))
    return Door(lc.thrifty(client(provider, cache=lc.ThriftCache(thrift)), thrift), [lc.ThriftCallbackHandler(thrift)])


def with_llamaindex_handler(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    li.ThriftEventHandler(thrift).install()
    return LlamaIndexDoor(llm(provider))


def with_two_llamaindex_handlers(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    li.ThriftEventHandler(thrift).install()
    return with_llamaindex_handler(thrift, provider)


def with_llamaindex_thrifty(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    return LlamaIndexDoor(li.thrifty(llm(provider), thrift))


def with_llamaindex_router(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    return LlamaIndexDoor(li.RouterLLM(thrift, models={"only": llm(provider)}))


def with_llamaindex_router_and_handler(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    li.ThriftEventHandler(thrift).install()
    return with_llamaindex_router(thrift, provider)


def with_llamaindex_everything(thrift: Thrift, provider: LoopbackProvider) -> LlamaIndexDoor:
    li.ThriftEventHandler(thrift).install()
    return LlamaIndexDoor(li.RouterLLM(thrift, models={"only": li.thrifty(llm(provider), thrift)}))


def with_service(thrift: Thrift, provider: LoopbackProvider) -> ServiceDoor:
    return ServiceDoor(thrift, provider.openai_url)


MakeDoor = Callable[[Thrift, LoopbackProvider], AnyDoor]
LANGCHAIN: list[MakeDoor] = [
    with_handler,
    with_two_handlers,
    with_cache,
    with_global_cache_and_handler,
    with_router,
    with_router_and_handler,
    with_everything,
]
LLAMAINDEX: list[MakeDoor] = [
    with_llamaindex_handler,
    with_two_llamaindex_handlers,
    with_llamaindex_thrifty,
    with_llamaindex_router,
    with_llamaindex_router_and_handler,
    with_llamaindex_everything,
]
DOORS = [*LANGCHAIN, *LLAMAINDEX, with_service]
METERING = [door for door in DOORS if door is not with_cache]
STREAM_CACHING = [
    with_router,
    with_router_and_handler,
    with_everything,
    with_llamaindex_thrifty,
    with_llamaindex_router,
    with_llamaindex_router_and_handler,
    with_llamaindex_everything,
    with_service,
]
CACHING = [with_cache, with_global_cache_and_handler, *STREAM_CACHING]


def uninstall_handlers() -> None:
    """Take every handler of ours from LlamaIndex's root dispatcher."""
    for handler in list(get_dispatcher().event_handlers):
        if isinstance(handler, li.ThriftEventHandler):
            handler.uninstall()
