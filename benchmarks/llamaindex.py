"""What the LlamaIndex doors add to a call, beside LlamaIndex's own TokenCountingHandler, and how fast a cached stream is replayed.

python -m benchmarks.llamaindex
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.utils import get_tokenizer
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion

from benchmarks.measure import compare, table
from llmthrift_core import Budget, Thrift
from llmthrift_llamaindex import RouterLLM, ThriftEventHandler, thrifty

_ANSWER = "Your order has shipped and will be with you tomorrow. " * 20


# What OpenAI's client leaves in `raw`.
_RAW = ChatCompletion(
    id="chatcmpl-1",
    choices=[],
    created=0,
    model="gpt-4o-mini-2024-07-18",
    object="chat.completion",
    usage=CompletionUsage(prompt_tokens=300, completion_tokens=90, total_tokens=390),
)


class InstantLLM(CustomLLM):
    """Answers at once, with the usage of a real model."""

    model: str = "gpt-4o-mini"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model, is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(_ANSWER, role="assistant"), raw=_RAW)

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        def pieces() -> Any:
            for end in range(48, len(_ANSWER) + 48, 48):
                yield ChatResponse(message=ChatMessage(_ANSWER[:end], role="assistant"), delta=_ANSWER[end - 48 : end], raw=_RAW)

        return pieces()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=_ANSWER, raw=_RAW)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, ExitStack() as stack:

        def opened(name: str) -> Thrift:
            return stack.enter_context(Thrift(f"{folder}/{name}.db"))

        plain, with_budget = InstantLLM(), opened("budget")
        with_budget.budgets.add(Budget(limit_usd=1_000_000, window="day"))
        counting = TokenCountingHandler(tokenizer=get_tokenizer())
        subjects = {
            "no handler": _chat(plain),
            "TokenCountingHandler": _chat(InstantLLM(callback_manager=CallbackManager([counting]))),
            "ThriftEventHandler": _installed(opened("handler"), _chat(plain)),
            "thrifty, cache off: metered": _chat(thrifty(plain, opened("metered"), cache=False)),
            "thrifty, with a budget": _chat(thrifty(plain, with_budget, cache=False)),
            "thrifty, a miss that is stored": _chat(thrifty(plain, opened("missed"))),
            "thrifty, a hit": _chat(thrifty(plain, opened("hit")), repeats=True),
            "RouterLLM, two models, metered": _chat(RouterLLM(opened("routed"), models={"a": plain, "b": plain}, cache=False)),
        }
        timings = compare(subjects, calls=200, rounds=7)
        base = timings["no handler"].p50
        rows = [(name, f"{t.p50:,.1f} us", f"{t.p50 - base:+,.1f} us", f"{t.p99:,.1f} us") for name, t in timings.items()]
        print(table("A chat that answers at once", ("", "p50", "added", "p99"), rows))
        wrapped = thrifty(plain, opened("streams"))
        asked = [ChatMessage("Tell me.")]
        list(wrapped.stream_chat(asked))

        async def read() -> int:
            return len([piece async for piece in await wrapped.astream_chat(asked)])

        with asyncio.Runner() as runner:
            streams = compare(
                {
                    f"the model's own stream, {len(_ANSWER):,} characters": lambda _: len(list(plain.stream_chat(asked))),
                    "replayed from the cache": lambda _: len(list(wrapped.stream_chat(asked))),
                    "replayed from the cache, async": lambda _: runner.run(read()),
                },
                calls=60,
                rounds=7,
            )
        print(
            table(
                "A stream, read to its end", ("", "p50", "p99"), [(n, f"{t.p50:,.1f} us", f"{t.p99:,.1f} us") for n, t in streams.items()]
            )
        )


def _chat(llm: Any, *, repeats: bool = False) -> Callable[[int], object]:
    text = "Where is my order? " * 20

    def call(number: int) -> object:
        return llm.chat([ChatMessage("You are a support assistant.", role="system"), ChatMessage(text if repeats else f"{text}{number}")])

    return call


def _installed(thrift: Thrift, call: Callable[[int], object]) -> Callable[[int], object]:
    """A call while a handler is installed, which costs what installing costs besides: some 2 us."""
    handler = ThriftEventHandler(thrift)

    def metered(number: int) -> object:
        with handler:
            return call(number)

    return metered


if __name__ == "__main__":
    main()
