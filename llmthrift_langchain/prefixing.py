"""The marks of a prompt cache in LangChain messages and tools, as Anthropic's client takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage

from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.calls.prefixing import block_of
from llmthrift_langchain.messages import canonical_messages, fields_of

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.plan import Plan

_MARK: Final = "cache_control"
_AN_HOUR: Final = 3_600


def blocks_of(messages: Sequence[BaseMessage], arguments: Mapping[str, Any], model: str) -> list[tuple[Hashable, int]]:
    """The parts of a prompt in the order in which the provider reads them: the tools, then each message. None where it is marked already:
    marks of the application are its own decision."""
    tools = arguments.get("tools")
    if _MARK in arguments or _is_marked(tools) or any(_is_marked(message.content) for message in messages):
        return []
    blocks = [block_of(_text(tools), model)] if tools else []
    return blocks + [block_of(_text(canonical_messages([fields_of(message)])), model) for message in messages]


def marked(messages: Sequence[BaseMessage], arguments: Mapping[str, Any], plan: Plan) -> tuple[list[BaseMessage], dict[str, Any]]:
    """The messages and arguments with the plan's marks: each on the last block of a message that can carry one, or on the last tool."""
    control: dict[str, Any] = {"type": "ephemeral"}
    if plan.terms is not None and plan.terms.ttl_seconds >= _AN_HOUR:
        control["ttl"] = "1h"
    changed, given = list(messages), dict(arguments)
    tools = list(given.get("tools") or ())
    before = 1 if tools else 0
    for mark in plan.marks:
        place = mark - 1 - before
        message = None
        while place >= 0 and (message := _with_mark(messages[place], control)) is None:
            place -= 1  # an answer that only calls tools has nothing to mark
        if message is not None:
            changed[place] = message
        elif tools and isinstance(tools[-1], Mapping):
            given["tools"] = [*tools[:-1], {**tools[-1], _MARK: control}]
    return changed, given


def _with_mark(message: BaseMessage, control: Mapping[str, Any]) -> BaseMessage | None:
    content = message.content
    if isinstance(content, str):
        if not content or (isinstance(message, AIMessage) and message.tool_calls):
            return None
        blocks: list[Any] = [{"type": "text", "text": content, _MARK: dict(control)}]
    else:
        last = content[-1] if content else None
        if not isinstance(last, Mapping) or last.get("type") in ("thinking", "redacted_thinking") or last.get("text") == "":
            return None
        blocks = [*content[:-1], {**last, _MARK: dict(control)}]
    return message.model_copy(update={"content": blocks})


def _is_marked(parts: Any) -> bool:
    return isinstance(parts, list | tuple) and any(isinstance(part, Mapping) and _MARK in part for part in parts)


def _text(value: Any) -> str:
    return canonical_json(value).decode()
