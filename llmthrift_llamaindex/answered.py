"""What LlamaIndex knows of an answer beside its text, as checks read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse, ToolCallBlock
from pydantic import BaseModel

from llmthrift_core.routing import ToolCall
from llmthrift_core.usage.block import field_of
from llmthrift_llamaindex.response import Answer, Asked, pairs_of
from llmthrift_llamaindex.tools import TOOLS, ToolUse


def logprobs_of(raws: Iterable[Any]) -> tuple[float, ...]:
    """Log-probabilities of the answer's tokens, as OpenAI's chat completions and servers that speak like them give them.

    LlamaIndex's own `logprobs` are those of the likeliest tokens, which need not be the ones that were said.

    Args:
        raws: the provider's response; of a stream all chunks.
    """
    found: list[float] = []
    for raw in raws:
        choices = field_of(raw, "choices")
        if isinstance(choices, list) and choices:
            tokens = field_of(field_of(choices[0], "logprobs"), "content") or ()
            found.extend(likely for token in tokens if isinstance(likely := field_of(token, "logprob"), int | float))
    return tuple(found)


def calls_of(answer: Answer) -> tuple[ToolCall, ...]:
    """The called tools, those whose arguments cannot be parsed among them."""
    if isinstance(answer, CompletionResponse):
        return ()
    blocks = [block for block in answer.message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return tuple(ToolCall(block.tool_name, _parsed(block.tool_kwargs)) for block in blocks)
    functions = [field_of(call, "function") for call in answer.message.additional_kwargs.get("tool_calls") or ()]
    return tuple(ToolCall(str(field_of(each, "name") or ""), _parsed(field_of(each, "arguments"))) for each in functions)


def tools_of(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The offered tools with the schemas of their arguments, or the pydantic classes that read them; None where that cannot be told.

    Args:
        arguments: the keyword arguments of the router's call.
    """
    use: ToolUse | None = arguments.get(TOOLS)
    if use is not None:
        # The class where there is one: it reads the arguments of structured output.
        return {str(tool.metadata.name): tool.metadata.fn_schema or tool.metadata.get_parameters_dict() for tool in use.tools}
    found: dict[str, Any] = {}
    for tool in arguments.get("tools") or ():
        function = field_of(tool, "function")
        if not isinstance(function, Mapping) or not isinstance(function.get("parameters"), Mapping):
            return None
        found[str(function.get("name"))] = function["parameters"]
    return found or None


def requires_tool(arguments: Mapping[str, Any]) -> bool:
    """Whether the model must call a tool."""
    use: ToolUse | None = arguments.get(TOOLS)
    return use is not None and use.required


def schema_of(arguments: Mapping[str, Any]) -> Any:
    """What the answer's text must fit: a JSON schema, a pydantic class, {} for any JSON, or None."""
    asked = arguments.get("response_format")
    if isinstance(asked, Mapping):
        described = asked.get("json_schema")
        return described.get("schema") or {} if isinstance(described, Mapping) else {} if asked.get("type") == "json_object" else None
    return asked if isinstance(asked, type) and issubclass(asked, BaseModel) else None


def conversation_of(asked: Asked) -> str:
    """All messages as one text, each with who says it; the only message as it is."""
    pairs = pairs_of(asked)
    return pairs[0][1] if len(pairs) == 1 else "\n".join(f"{role}: {text}" for role, text in pairs)


def _parsed(arguments: Any) -> Any:
    if isinstance(arguments, str):
        if not arguments.strip():  # how some servers call a tool that takes none
            return {}
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    return arguments
