"""From LangChain's results to the core's `Response`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from llmthrift_core.cache.wholeness import TELL_THE_END, are_arguments, ends_in, flaw_of
from llmthrift_core.calls.request import Response
from llmthrift_core.outgoing.terms import as_asked
from llmthrift_core.routing import ToolCall
from llmthrift_core.usage import Usage
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_langchain.codec import encode
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.outgoing import count_outgoing
from llmthrift_langchain.usage import Served, Told, answer_text, served_by_generations, served_by_message, served_by_told

_REASONING: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})


def response_of_generations(
    generations: Sequence[Generation], fields: Sequence[Mapping[str, Any]] | str, model: str, chunks: UsageOfChunks | None = None
) -> Response:
    """The response that a cache is told of, to be stored."""
    served = served_by_generations(generations, None, chunks)
    response = whole_response(served, lambda: generations, lambda: fields, served.model or model)
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
    sent: Sequence[BaseMessage] | None = None,
    is_broken: bool = False,
) -> Response:
    """The response of a routed call.

    Args:
        others: further answers to the same prompt.
        parameters: of the call, in the order of precedence.
        storable: the answer came to its end and may be stored, if it has no flaw.
        chunks: what the chunks reported that the message was made of.
        sent: the messages with the marks for the provider's cache.
        is_broken: the stream ended early.
    """
    served = served_by_message(message, chunks)

    def generations() -> Sequence[Generation]:
        return [ChatGeneration(message=message), *others]

    response = whole_response(served, generations, lambda: fields, served.model or model, parameters, sent=sent, is_broken=is_broken)
    if isinstance(found := message.response_metadata.get("diagnostics"), Mapping):
        response.diagnosis = found.get("cache_miss_reason")
    if storable:
        response.payload, response.flaw = lambda: encode(generations()), lambda: flaw_of_generations(generations())
    return response


def merge(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk | None:
    """The message that the chunks of a stream make together, or None if there were none."""
    return add_ai_message_chunks(chunks[0], *chunks[1:]) if chunks else None


def whole_response(
    served: Served,
    generations: Callable[[], Sequence[Generation]],
    prompt: Callable[[], Sequence[Mapping[str, Any]] | str],
    model: str,
    parameters: Sequence[Mapping[str, Any]] = (),
    *,
    sent: Sequence[BaseMessage] | None = None,
    is_broken: bool = False,
) -> Response:
    """The response of a call.

    Args:
        sent: the messages with the marks for the provider's cache; None where they are not known.
    """
    usage = served.usage
    if usage is not None and served.lost:
        told = [
            (each.content, each.additional_kwargs) for each in sent or () if each.additional_kwargs or not isinstance(each.content, str)
        ]
        usage = as_asked(usage, served.lost, lambda: told, model, *parameters)
    return Response(
        usage=usage,
        estimate=lambda: estimate_usage(prompt(), answer_text(generations()), model, *parameters),
        model=served.model,
        provider=served.provider,
        provider_cost_usd=served.provider_cost_usd,
        text=lambda: answer_text(generations()),
        is_broken=is_broken,
        response_id=served.response_id,
        message_id=served.message_id,
        called=lambda: [name for each in generations() for name in _called_by(each)],
    )


def response_of_told(told: Told, model: str, parameters: Mapping[str, Any]) -> Response:
    """The response of an answer whose usage the provider told, read without the answer.

    Args:
        model: the model that was asked. parameters: of the call.
    """
    served = served_by_told(told)
    usage = served.usage
    if usage is not None and served.lost:
        usage = as_asked(usage, served.lost, tuple, served.model or model, parameters)
    return Response(
        usage=usage,
        model=served.model,
        provider=served.provider,
        provider_cost_usd=served.provider_cost_usd,
        response_id=served.response_id,
        message_id=served.message_id,
    )


def _called_by(generation: Generation) -> list[str]:
    message = generation.message if isinstance(generation, ChatGeneration) else None
    return [call.name for call in calls_of(message)] if isinstance(message, AIMessage) else []


def estimate_usage(prompt: Sequence[Mapping[str, Any]] | str, answer: str, model: str, *parameters: Mapping[str, Any]) -> Usage:
    """Count tokens offline, for providers and streams that report no usage. Marked as estimated."""
    from llmthrift_core.usage.tokens import count_tokens

    sent = count_outgoing(prompt, model, *parameters).likely_tokens
    received = count_tokens(answer, model).tokens if answer else 0
    return Usage(input_tokens=sent, output_tokens=received, estimated=True)


def logprobs_of(message: AIMessage) -> tuple[float, ...]:
    """Log-probabilities of the answer's tokens, as OpenAI's chat completions and servers that speak like them give them."""
    given = message.response_metadata.get("logprobs")
    content = given.get("content") if isinstance(given, Mapping) else None
    found = [token.get("logprob") for token in content or () if isinstance(token, Mapping)]
    return tuple(each for each in found if isinstance(each, int | float))


def calls_of(message: AIMessage) -> tuple[ToolCall, ...]:
    """The called tools, those whose arguments cannot be parsed among them."""
    # Of a stream, LangChain reads as much of the arguments as can be read of them.
    chunks = getattr(message, "tool_call_chunks", None) or ()
    cut = {chunk.get("id"): chunk.get("args") for chunk in chunks if not are_arguments(chunk.get("args"))}
    whole = [ToolCall(call["name"], cut.get(call.get("id"), call["args"])) for call in message.tool_calls]
    return (*whole, *(ToolCall(call.get("name") or "", call.get("args")) for call in message.invalid_tool_calls))


def tools_of(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The offered tools with the schemas of their arguments; None where a tool has a format that is not known here.

    Args:
        arguments: the keyword arguments of the model's call.
    """
    found: dict[str, Any] = {}
    for tool in arguments.get("tools") or ():
        function = _function_of(tool)
        if function is None:
            return None
        found[function[0]] = function[1]
    form = arguments.get("ls_structured_output_format")
    if len(found) == 1 and isinstance(form, Mapping) and _is_class(form.get("schema")):
        return dict.fromkeys(found, form["schema"])  # the class that will read the arguments
    return found or None


def requires_tool(arguments: Mapping[str, Any]) -> bool:
    """Whether the model must call a tool."""
    choice = arguments.get("tool_choice")
    if isinstance(choice, Mapping):
        return choice.get("type") not in ("auto", "none")
    return bool(choice) and choice not in ("auto", "none")


def schema_of(arguments: Mapping[str, Any]) -> Any:
    """What the answer's text must fit: a JSON schema, a pydantic class, {} for any JSON, or None."""
    form = arguments.get("ls_structured_output_format")
    if isinstance(form, Mapping):
        if (form.get("kwargs") or {}).get("method") == "function_calling":
            return None
        schema = form.get("schema")
        if _is_class(schema):
            return schema
        function = _function_of(schema)
        if function is not None:
            return function[1]
        return schema if isinstance(schema, Mapping) and "properties" in schema else {}
    asked = arguments.get("response_format")
    if isinstance(asked, Mapping):
        described = asked.get("json_schema")
        return described.get("schema") or {} if isinstance(described, Mapping) else {} if asked.get("type") == "json_object" else None
    return asked if _is_class(asked) else None


def conversation_of(fields: Sequence[Mapping[str, Any]]) -> str:
    """All messages as one text, each with who says it; the only message as it is."""
    if len(fields) == 1:
        return text_of(fields[0]["content"])
    return "\n".join(f"{each['type']}: {text_of(each['content'])}" for each in fields)


def _function_of(tool: Any) -> tuple[str, Any] | None:
    """Name and schema of a function, as chat completions, the Responses API and Anthropic write it."""
    if not isinstance(tool, Mapping):
        return None
    function = tool.get("function", tool)
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
        return None
    schema = function.get("parameters", function.get("input_schema"))
    return None if not isinstance(schema, Mapping) else (name, schema)


def _is_class(schema: Any) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_validate")


def flaw_of_generations(generations: Sequence[Generation]) -> str | None:
    """Why the answers to one prompt must not be kept: what is wrong with the first that has a flaw; None if all of them are whole."""
    return next((flaw for each in generations if (flaw := _flaw(each)) is not None), None)


def _flaw(generation: Generation) -> str | None:
    told = generation.generation_info
    ends = ends_in(told)
    if not isinstance(generation, ChatGeneration):
        return flaw_of(ends, says=bool(generation.text.strip()), must_end=told is not None and "finish_reason" in told)
    message = generation.message
    more, function = message.additional_kwargs, message.additional_kwargs.get("function_call")
    ends += ends_in(message.response_metadata)
    if more.get("refusal") or _has_refusal(message.content):
        ends.append("refusal")
    arguments = [function.get("arguments")] if isinstance(function, Mapping) else []
    # Of a stream, LangChain reads as much of the arguments as can be read of them.
    arguments += [call.get("args") for call in getattr(message, "tool_call_chunks", None) or ()]
    return flaw_of(
        ends,
        says=says(message) or function is not None,
        must_end=message.response_metadata.get("model_provider") in TELL_THE_END,
        calls_are_whole=not getattr(message, "invalid_tool_calls", None) and all(map(are_arguments, arguments)),
    )


def says(message: BaseMessage) -> bool:
    """Whether there is more than reasoning."""
    if getattr(message, "tool_calls", None) or message.additional_kwargs.get("audio"):
        return True
    if isinstance(message.content, str):
        return bool(message.content.strip())
    return any(_block_says(block) for block in message.content)


def _block_says(block: Any) -> bool:
    if isinstance(block, str):
        return bool(block.strip())
    kind = block.get("type")
    if kind in _REASONING:
        return False
    text = block.get("text")
    return bool(text.strip()) if isinstance(text, str) else kind != "text"


def _has_refusal(content: str | list[Any]) -> bool:
    return not isinstance(content, str) and any(isinstance(block, Mapping) and block.get("type") == "refusal" for block in content)


def result_of(answers: Sequence[tuple[AIMessage, list[ChatGeneration]]]) -> LLMResult:
    """The result of `generate`: by conversation the first answer, and the others beside it."""
    return LLMResult(generations=[[ChatGeneration(message=first), *others] for first, others in answers], llm_output={})
