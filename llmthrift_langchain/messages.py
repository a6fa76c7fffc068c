"""The canonical form of LangChain messages: what of a conversation decides the answer, and nothing else.

LangChain decorates messages with run ids, response metadata, usage and generated block ids. None of it reaches the provider in a way
that changes the answer, all of it changes from run to run, so none of it is part of a cache key. Tool-call ids are replaced by
their order of appearance, which keeps a result tied to its call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from llmthrift_core.calls.request import PromptFeatures

_VOLATILE_BLOCK_FIELDS = frozenset({"index", "cache_control", "signature", "tool_use_id", "tool_call_id", "call_id"})
_VOLATILE_ADDITIONAL = frozenset({"tool_calls", "id", "parsed"})
_ROLE = "__openai_role__"  # a developer's message is a system message beside it
_FILE_BLOCKS = frozenset({"image", "file", "audio", "video", "image_url", "input_audio", "document"})
_FIELDS = ("content", "type", "name", "additional_kwargs", "tool_calls", "invalid_tool_calls", "tool_call_id", "status", "role")


class UnknownMessageError(ValueError):
    """A serialized message whose content cannot be read, such as a class that LangChain does not serialize."""


def fields_of(message: BaseMessage) -> dict[str, Any]:
    """The fields of a message object that `canonical_messages` reads."""
    values = message.__dict__
    return {name: values[name] for name in _FIELDS if name in values}


def fields_of_serialized(messages: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The same fields, from the parsed JSON of `langchain_core.load.dumps(messages)`.

    Raises:
        UnknownMessageError: an item is not a serialized message.
    """
    found: list[Mapping[str, Any]] = []
    for item in messages:
        fields = item.get("kwargs") if isinstance(item, dict) and item.get("type") == "constructor" else None
        if not isinstance(fields, dict) or "content" not in fields or "type" not in fields:
            raise UnknownMessageError(f"not a serialized message: {type(item).__name__}")
        found.append(fields)
    return found


def canonical_messages(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What decides the answer, as nested lists and dicts ready for canonical JSON.

    Args:
        messages: the fields of each message, from `fields_of` or `fields_of_serialized`.
    """
    ids: dict[str, int] = {}
    canonical: list[Any] = []
    for fields in messages:
        role = fields["type"]
        if role.endswith("MessageChunk"):
            role = role[:-12].lower()
        if role == "chat":
            role = "chat:" + str(fields.get("role"))
        content = fields["content"]
        if len(fields) == 2 and isinstance(content, str):  # type and content, which is all that most messages have
            canonical.append([role, content])
            continue
        item: list[Any] = [role, content if isinstance(content, str) else [_block(block, ids) for block in content]]
        extra: dict[str, Any] = {}
        if calls := fields.get("tool_calls"):
            extra["calls"] = [[call.get("name"), call.get("args"), _ordinal(call.get("id"), ids)] for call in calls]
        if broken := fields.get("invalid_tool_calls"):
            extra["broken"] = [[call.get("name"), call.get("args"), _ordinal(call.get("id"), ids)] for call in broken]
        if (answered := fields.get("tool_call_id")) is not None:
            extra["answers"] = _ordinal(answered, ids)
        if name := fields.get("name"):
            extra["name"] = name
        if (status := fields.get("status")) is not None and status != "success":
            extra["status"] = status
        if additional := fields.get("additional_kwargs"):
            kept = {
                key: value
                for key, value in additional.items()
                if value is not None
                and (key == _ROLE or not str(key).startswith("__"))
                and (key not in _VOLATILE_ADDITIONAL or _untold(key, fields))
            }
            if kept:
                extra["more"] = kept
        if extra:
            item.append(extra)
        canonical.append(item)
    return canonical


def question_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last human message, or "" if there is none."""
    for fields in reversed(messages):
        if fields["type"] in ("human", "HumanMessageChunk"):
            return text_of(fields["content"])
    return ""


def system_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the system messages."""
    return "\n".join(text_of(fields["content"]) for fields in messages if fields["type"] in ("system", "developer"))


def text_of(content: Any) -> str:
    """The text in a message's content: the string, or the text blocks joined."""
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for block in content:
        if isinstance(block, str):
            parts.append(block)
        elif isinstance(block, Mapping) and isinstance(text := block.get("text"), str):
            parts.append(text)
    return "\n".join(parts)


def has_images(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any message carries something other than text: an image, a file, audio."""
    return any(
        isinstance(block, Mapping) and block.get("type") in _FILE_BLOCKS
        for fields in messages
        if not isinstance(fields["content"], str)
        for block in fields["content"]
    )


def _untold(key: str, fields: Mapping[str, Any]) -> bool:
    # The provider's own tool calls repeat `tool_calls`; they count only where that field is empty.
    return key == "tool_calls" and not fields.get("tool_calls") and not fields.get("invalid_tool_calls")


def _ordinal(identity: Any, ids: dict[str, int]) -> int | None:
    return None if identity is None else ids.setdefault(str(identity), len(ids))


def _block(block: Any, ids: dict[str, int]) -> Any:
    if not isinstance(block, Mapping):
        return block
    kept = {key: value for key, value in block.items() if key not in _VOLATILE_BLOCK_FIELDS and key != "id"}
    if (identity := block.get("id")) is not None:
        kind = block.get("type")
        if kind in _FILE_BLOCKS:
            # An id may be all that says which file is meant; LangChain's own generated ids begin with "lc_".
            if not str(identity).startswith("lc_"):
                kept["id"] = identity
        elif kind in ("tool_use", "tool_call", "server_tool_use", "function_call"):
            kept["id"] = _ordinal(identity, ids)
    for reference in ("tool_use_id", "tool_call_id", "call_id"):
        if (identity := block.get(reference)) is not None:
            kept["call"] = _ordinal(identity, ids)
    if isinstance(nested := block.get("content"), list):
        kept["content"] = [_block(inner, ids) for inner in nested]
    return kept


def features_of_messages(messages: Sequence[BaseMessage], capture: str, tools: object = None) -> PromptFeatures:
    """Hash and counts of a conversation. Its question is the last human message, as for a routing policy."""
    pairs: list[tuple[str, str]] = []
    for message in messages:
        content = message.content
        pairs.append((message.type, content if isinstance(content, str) else text_of(content)))
    return PromptFeatures.of(pairs, capture, tools=tools)


def features_of_text(prompt: str, capture: str) -> PromptFeatures:
    """Hash and counts of a completion model's prompt."""
    return PromptFeatures.of([("prompt", prompt)], capture)
