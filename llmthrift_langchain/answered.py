"""What LangChain knows of an answer beside its text, as checks read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage

from llmthrift_core.routing import ToolCall
from llmthrift_langchain.messages import text_of


def logprobs_of(message: AIMessage) -> tuple[float, ...]:
    """Log-probabilities of the answer's tokens, as OpenAI's chat completions and servers that speak like them give them."""
    given = message.response_metadata.get("logprobs")
    content = given.get("content") if isinstance(given, Mapping) else None
    found = [token.get("logprob") for token in content or () if isinstance(token, Mapping)]
    return tuple(each for each in found if isinstance(each, int | float))


def calls_of(message: AIMessage) -> tuple[ToolCall, ...]:
    """The called tools, those whose arguments cannot be parsed among them."""
    whole = [ToolCall(call["name"], call["args"]) for call in message.tool_calls]
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
