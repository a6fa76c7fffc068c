"""Real LlamaIndex clients against the loopback provider."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import httpx
import pytest
from llama_index.core.llms import LLM
from llama_index.llms.openai import OpenAI, OpenAIResponses
from llama_index_instrumentation import get_dispatcher

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import ThriftEventHandler

Client = Callable[..., LLM]

LOOP = asyncio.Runner()
# One client for all loops, and so without a pool: a connection belongs to the loop that made it.
_ASYNC_CLIENT = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))


def run(awaitable: Any) -> Any:
    """The result of a coroutine, in the one loop of these tests and in the context, with its attribution, of the test that asks."""
    return LOOP.run(awaitable, context=copy_context())


@pytest.fixture
def openai(provider: LoopbackProvider) -> Client:
    """An OpenAI LLM for a model's name."""

    def make(model: str = "gpt-4o-mini", *, usage: bool = True, **options: Any) -> OpenAI:
        extra = {"stream_options": {"include_usage": True}} if usage else {}
        given = {"api_base": provider.openai_url, "api_key": "sk-very-secret", "max_retries": 0, "async_http_client": _ASYNC_CLIENT}
        return OpenAI(model=model, **{**given, "additional_kwargs": {**extra, **options.pop("additional_kwargs", {})}, **options})

    return make


@pytest.fixture
def responses(provider: LoopbackProvider) -> Client:
    """An OpenAI LLM on the Responses API."""

    def make(model: str = "gpt-4o-mini", **options: Any) -> OpenAIResponses:
        given = {"api_base": provider.openai_url, "api_key": "sk-very-secret", "max_retries": 0, "async_http_client": _ASYNC_CLIENT}
        return OpenAIResponses(model=model, **{**given, **options})

    return make


@pytest.fixture
def anthropic(provider: LoopbackProvider) -> Client:
    """An Anthropic LLM for a model's name."""
    from anthropic import AsyncAnthropic
    from anthropic.resources.messages import Messages
    from llama_index.llms.anthropic import Anthropic

    if "temperature" not in inspect.signature(Messages.create).parameters:
        pytest.skip("llama-index-llms-anthropic needs anthropic<1, which takes a temperature; a newer one is installed")

    def make(model: str = "claude-haiku-4-5-20251001", **options: Any) -> Anthropic:
        given = {"base_url": provider.anthropic_url, "api_key": "sk-very-secret", "max_retries": 0}
        llm = Anthropic(model=model, **{**given, **options})
        llm._aclient = AsyncAnthropic(**given, http_client=_ASYNC_CLIENT)
        return llm

    return make


@pytest.fixture(autouse=True)
def _no_handlers() -> Iterator[None]:
    yield
    for handler in list(get_dispatcher().event_handlers):
        if isinstance(handler, ThriftEventHandler):
            handler.uninstall()
            with suppress(ValueError):  # gone, unless a stream that nobody read keeps it
                get_dispatcher().event_handlers.remove(handler)


@pytest.fixture
def handler(thrift: Thrift) -> Iterator[ThriftEventHandler]:
    """An installed handler."""
    with ThriftEventHandler(thrift) as installed:
        yield installed


def rows(thrift: Thrift) -> list[Any]:
    """The ledger's rows, the oldest first."""
    thrift.flush()
    return sorted(thrift.ledger.calls(), key=lambda row: row.at_us)


def billed(provider: LoopbackProvider) -> tuple[int, int]:
    """What the provider counted in all."""
    return sum(entry.input_tokens for entry in provider.usage_log), sum(entry.output_tokens for entry in provider.usage_log)


def counted(thrift: Thrift) -> tuple[int, int]:
    """What the ledger counted in all."""
    found = rows(thrift)
    return sum(row.input_tokens for row in found), sum(row.output_tokens for row in found)
