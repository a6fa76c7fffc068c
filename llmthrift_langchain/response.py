"""From LangChain's results to the core's `Response`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, Generation

from llmthrift_core.request import Response
from llmthrift_core.usage import Usage
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_langchain.codec import encode
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.open_runs import OpenRun
from llmthrift_langchain.usage import Served, answer_text, served_by_generations

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


def response_of_result(
    run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, *, is_broken: bool = False
) -> Response:
    """The response of a run that a handler metered. Nothing of it is stored in a cache.

    Args:
        is_broken: a stream ended early.
    """
    served = served_by_generations(generations, llm_output, run.chunks)
    return _response(served, generations, lambda: prompt_of(run), served.model or run.call.model, is_broken=is_broken)


def response_of_generations(
    generations: Sequence[Generation], fields: Sequence[Mapping[str, Any]] | str, model: str, chunks: UsageOfChunks | None = None
) -> Response:
    """The response that a cache is told of, to be stored."""
    served = served_by_generations(generations, None, chunks)
    response = _response(served, generations, lambda: fields, served.model or model)
    response.payload = lambda: encode(generations)
    return response


def response_of_message(
    message: AIMessage,
    fields: Sequence[Mapping[str, Any]],
    model: str,
    *,
    storable: bool,
    chunks: UsageOfChunks | None = None,
    is_broken: bool = False,
) -> Response:
    """The response of a routed call.

    Args:
        storable: the answer is whole and may be stored. An answer without content or tool calls is never stored.
        chunks: what the chunks reported that the message was made of.
        is_broken: the stream ended early.
    """
    generations = [ChatGeneration(message=message)]
    served = served_by_generations(generations, None, chunks)
    response = _response(served, generations, lambda: fields, served.model or model, is_broken=is_broken)
    if storable and (message.content or tool_calls_of(message)):
        response.payload = lambda: encode(generations)
    return response


def tool_calls_of(message: BaseMessage) -> Sequence[Any]:
    """The tools that a model asks for. A model may answer with a message of another kind, which has none."""
    return getattr(message, "tool_calls", None) or ()


def merge(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk | None:
    """The message that the chunks of a stream make together, or None if there were none."""
    return add_ai_message_chunks(chunks[0], *chunks[1:]) if chunks else None


def _response(
    served: Served,
    generations: Sequence[Generation],
    prompt: Callable[[], Sequence[Mapping[str, Any]] | str],
    model: str,
    *,
    is_broken: bool = False,
) -> Response:
    def estimate() -> Usage:
        return estimate_usage(prompt(), answer_text(generations), model)

    return Response(
        usage=served.usage,
        estimate=estimate,
        model=served.model,
        provider=served.provider,
        provider_cost_usd=served.provider_cost_usd,
        text=lambda: answer_text(generations),
        is_broken=is_broken,
    )


def estimate_usage(prompt: Sequence[Mapping[str, Any]] | str, answer: str, model: str) -> Usage:
    """Count tokens offline, for providers and streams that report no usage. Marked as estimated."""
    from llmthrift_core.tokens import count_tokens

    sent = count_prompt(prompt, model)
    received = count_tokens(answer, model).tokens if answer else 0
    return Usage(input_tokens=sent, output_tokens=received, estimated=True)


def count_input(prompt: Sequence[Mapping[str, Any]] | str, model: str, parameters: Mapping[str, Any]) -> int:
    """The input tokens of a prompt and of the tools and schemas that go with it. JSON is longer than what providers make of it."""
    from llmthrift_core.tokens import count_tokens

    tokens = count_prompt(prompt, model)
    for name in ("tools", "functions", "response_format"):
        if given := parameters.get(name):
            tokens += count_tokens(json.dumps(given, default=str), model).tokens
    return tokens


def count_prompt(prompt: Sequence[Mapping[str, Any]] | str, model: str) -> int:
    """The input tokens of a prompt, counted offline."""
    from llmthrift_core.tokens import count_message_tokens, count_tokens

    if isinstance(prompt, str):
        return count_tokens(prompt, model).tokens
    messages = [{"role": _ROLES.get(m["type"], m["type"]), "content": text_of(m["content"])} for m in prompt]
    return count_message_tokens(messages, model).tokens


def prompt_of(run: OpenRun) -> Sequence[Mapping[str, Any]] | str:
    """What a run was asked, as it is counted."""
    return run.fields if run.is_chat else run.prompt or ""
