"""From LangChain's results to the core's `Response`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, Generation

from llmthrift_core.calls.request import Response
from llmthrift_core.usage import Usage
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_langchain.codec import encode
from llmthrift_langchain.open_runs import OpenRun
from llmthrift_langchain.outgoing import count_outgoing
from llmthrift_langchain.usage import Served, answer_text, served_by_generations
from llmthrift_langchain.whole import flaw_of_generations


def response_of_result(
    run: OpenRun, generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, *, is_broken: bool = False
) -> Response:
    """The response of a run that a handler metered. Nothing of it is stored in a cache.

    Args:
        is_broken: a stream ended early.
    """
    served = served_by_generations(generations, llm_output, run.chunks)
    return _response(served, generations, lambda: prompt_of(run), served.model or run.call.model, (run.parameters,), is_broken=is_broken)


def response_of_generations(
    generations: Sequence[Generation], fields: Sequence[Mapping[str, Any]] | str, model: str, chunks: UsageOfChunks | None = None
) -> Response:
    """The response that a cache is told of, to be stored."""
    served = served_by_generations(generations, None, chunks)
    response = _response(served, generations, lambda: fields, served.model or model)
    response.payload, response.flaw = lambda: encode(generations), lambda: flaw_of_generations(generations)
    return response


def response_of_message(
    message: AIMessage,
    fields: Sequence[Mapping[str, Any]],
    model: str,
    others: Sequence[ChatGeneration] = (),
    *,
    storable: bool,
    parameters: Sequence[Mapping[str, Any]] = (),
    chunks: UsageOfChunks | None = None,
    is_broken: bool = False,
) -> Response:
    """The response of a routed call.

    Args:
        others: further answers to the same prompt.
        parameters: of the call, in the order of precedence.
        storable: the answer came to its end and may be stored, if it has no flaw.
        chunks: what the chunks reported that the message was made of.
        is_broken: the stream ended early.
    """
    generations = [ChatGeneration(message=message), *others]
    served = served_by_generations(generations, None, chunks)
    response = _response(served, generations, lambda: fields, served.model or model, parameters, is_broken=is_broken)
    if storable:
        response.payload, response.flaw = lambda: encode(generations), lambda: flaw_of_generations(generations)
    return response


def merge(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk | None:
    """The message that the chunks of a stream make together, or None if there were none."""
    return add_ai_message_chunks(chunks[0], *chunks[1:]) if chunks else None


def _response(
    served: Served,
    generations: Sequence[Generation],
    prompt: Callable[[], Sequence[Mapping[str, Any]] | str],
    model: str,
    parameters: Sequence[Mapping[str, Any]] = (),
    *,
    is_broken: bool = False,
) -> Response:
    return Response(
        usage=served.usage,
        estimate=lambda: estimate_usage(prompt(), answer_text(generations), model, *parameters),
        model=served.model,
        provider=served.provider,
        provider_cost_usd=served.provider_cost_usd,
        text=lambda: answer_text(generations),
        is_broken=is_broken,
    )


def estimate_usage(prompt: Sequence[Mapping[str, Any]] | str, answer: str, model: str, *parameters: Mapping[str, Any]) -> Usage:
    """Count tokens offline, for providers and streams that report no usage. Marked as estimated."""
    from llmthrift_core.usage.tokens import count_tokens

    sent = count_outgoing(prompt, model, *parameters).likely_tokens
    received = count_tokens(answer, model).tokens if answer else 0
    return Usage(input_tokens=sent, output_tokens=received, estimated=True)


def prompt_of(run: OpenRun) -> Sequence[Mapping[str, Any]] | str:
    """What a run was asked, as it is counted."""
    return run.fields if run.is_chat else run.prompt or ""
