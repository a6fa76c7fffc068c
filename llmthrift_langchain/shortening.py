"""LangChain messages as a shortening policy reads them, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

_PLACE: Final = "llmthrift_place"  # of a message among those that the application gave
_ROLES: Final = {
    "human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool",
    "function": "function", "developer": "developer",
}  # fmt: skip
_NEW: Final = {"system": SystemMessage, "developer": SystemMessage, "assistant": AIMessage}


def prompt_of(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages in OpenAI's shape; their content stays as LangChain has it."""
    return [_dict_of(place, message) for place, message in enumerate(messages)]


def restore(prompt: Iterable[Any], messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages that a shortened prompt stands for: the application's own, with the contents that were changed."""
    restored: list[BaseMessage] = []
    for each in prompt:
        content = each["content"] if each.get("content") is not None else ""
        place = each.get(_PLACE)
        if place is None:
            restored.append(_NEW.get(str(each.get("role")), HumanMessage)(content))
            continue
        message = messages[place]
        same = content is message.content or content == message.content
        restored.append(message if same else message.model_copy(update={"content": content}))
    return restored


def _dict_of(place: int, message: BaseMessage) -> dict[str, Any]:
    role = getattr(message, "role", None) if message.type == "chat" else _ROLES.get(message.type, message.type)
    found: dict[str, Any] = {"role": role or "user", "content": message.content, _PLACE: place}
    if message.name:
        found["name"] = message.name
    if calls := getattr(message, "tool_calls", None):
        found["tool_calls"] = [_call(call) for call in calls]
    if (answers := getattr(message, "tool_call_id", None)) is not None:
        found["tool_call_id"] = answers
    return found


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": call.get("id"), "type": "function", "function": {"name": call.get("name"), "arguments": call.get("args")}}
