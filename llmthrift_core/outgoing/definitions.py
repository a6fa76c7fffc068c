"""Tools by name and definition, however frameworks and providers write them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

_DECLARATIONS: Final = ("function_declarations", "functionDeclarations")


class Definition(NamedTuple):
    """One tool as a model reads it.

    Attributes:
        name: "" where it has none, as with some of the providers' own tools.
        text: compact JSON.
    """

    name: str
    text: str


def definitions_of(tools: Iterable[Any]) -> list[Definition]:
    """The definitions of tools, those that Gemini has in one object each for itself.

    Args:
        tools: dicts as OpenAI, Anthropic, Gemini and Bedrock have them, tools of LangChain or LlamaIndex, pydantic classes, or functions.

    >>> definitions_of([{"type": "function", "function": {"name": "look_up"}}, {"name": "book", "input_schema": {}}])[1]
    Definition(name='book', text='{"name":"book","input_schema":{}}')
    """
    return [Definition(_name_of(plain), _as_json(plain)) for tool in tools for plain in _plain(tool)]


def _plain(tool: Any) -> Iterator[Any]:
    """A tool as plain data."""
    if isinstance(tool, Mapping):
        declared = next((found for name in _DECLARATIONS if isinstance(found := tool.get(name), list | tuple)), None)
        if declared is not None:
            for each in declared:
                yield from _plain(each)
            return
        inner = tool.get("toolSpec")
        yield inner if isinstance(inner, Mapping) else tool
        return
    try:
        yield from _of_object(tool)
    except Exception:  # a tool of the application's may raise anything
        yield {"name": str(getattr(tool, "name", "") or "")}


def _of_object(tool: Any) -> Iterator[Any]:
    if callable(described := getattr(getattr(tool, "metadata", None), "to_openai_tool", None)):  # LlamaIndex
        yield described(skip_length_check=True)
    elif (schema := getattr(tool, "tool_call_schema", None)) is not None:  # LangChain
        schema = dict(schema if isinstance(schema, Mapping) else schema.model_json_schema())
        schema.pop("description", None)  # is the tool's own
        yield _function(tool.name, tool.description, schema)
    elif isinstance(tool, type) and callable(described := getattr(tool, "model_json_schema", None)):
        yield _function(tool.__name__, tool.__doc__, described())
    elif callable(dumped := getattr(tool, "model_dump", None)):  # google-genai, openai
        yield from _plain(dumped(exclude_none=True))
    elif callable(tool):
        yield _function(getattr(tool, "__name__", ""), tool.__doc__, {"properties": list(inspect.signature(tool).parameters)})
    else:
        yield {"name": str(getattr(tool, "name", "") or "")} if not isinstance(tool, str) else tool


def _function(name: str, description: str | None, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": inspect.cleandoc(description or ""), "parameters": _untitled(schema)},
    }


def _untitled(value: Any) -> Any:
    """A schema without pydantic's titles, which no framework sends."""
    if isinstance(value, Mapping):
        return {key: _untitled(inner) for key, inner in value.items() if key != "title" or not isinstance(inner, str)}
    return [_untitled(each) for each in value] if isinstance(value, list) else value


def _name_of(plain: Any) -> str:
    if not isinstance(plain, Mapping):
        return ""
    inner = plain.get("function")
    return str((inner.get("name") if isinstance(inner, Mapping) else plain.get("name")) or "")


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False, skipkeys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # a circle
        return ""
