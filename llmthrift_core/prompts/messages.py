"""Messages as OpenAI's chat has them, read and rewritten whatever they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

Messages = list[Any]
"""Dicts {"role", "content", ...}. What is no dict is passed through untouched."""
Change = Callable[[str], str]

SYSTEM: Final = frozenset({"system", "developer"})
USER: Final = frozenset({"user", "human"})
ASSISTANT: Final = frozenset({"assistant", "ai", "model"})
TOOL: Final = frozenset({"tool", "function"})
_ROLES: Final = SYSTEM | USER | ASSISTANT | TOOL
_TEXT_PARTS: Final = (None, "text", "input_text", "output_text")
_LANGCHAIN_ROLES: Final = {"human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_LLAMA_INDEX_MEDIA: Final = ("image", "audio", "video", "data")


def messages_of(given: Any) -> Messages:
    """The messages of a text, of a list, or of a chat request that has them under "messages".

    >>> messages_of("Hello")
    [{'role': 'user', 'content': 'Hello'}]
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if isinstance(given, Mapping):
        inner = given.get("messages")
        if isinstance(inner, Iterable) and not isinstance(inner, str | Mapping):
            return messages_of(inner)
        return [dict(given)]
    if callable(to_messages := getattr(given, "to_messages", None)):  # what LangChain's prompt templates make
        return messages_of(to_messages())
    if isinstance(given, Iterable) and not isinstance(given, bytes) and not hasattr(given, "content"):
        return [{"role": "user", "content": each} if isinstance(each, str) else each for each in given]
    return [] if given is None else [given]


def plain_messages(messages: Iterable[Any]) -> Messages:
    """The messages of LangChain and LlamaIndex in OpenAI's shape, with everything else as it is.

    >>> from types import SimpleNamespace
    >>> plain_messages([SimpleNamespace(type="human", content="Hello")])
    [{'role': 'user', 'content': 'Hello'}]
    """
    return [_plain(message) for message in messages]


def role_of(message: Any) -> str:
    """The role in small letters; "" of what has none."""
    role = message.get("role") if isinstance(message, Mapping) else None
    if isinstance(role, str):
        return role.lower()
    kind = message.get("type") if isinstance(message, Mapping) else None
    return kind if isinstance(kind, str) and kind in _ROLES else ""


def texts_of(message: Any) -> list[str]:
    """The texts of a message: its content, the text parts of it, and the texts of results in it."""
    return list(_texts(message.get("content"))) if isinstance(message, Mapping) else []


def text_of(message: Any) -> str:
    """All the texts of a message, a line apart."""
    return "\n".join(texts_of(message))


def with_texts(message: Any, change: Change) -> Any:
    """The message with each of its texts changed; itself where nothing is.

    A content that is a text stays one, and a list of parts stays a list.
    """
    if not isinstance(message, Mapping):
        return message
    content = message.get("content")
    changed = _changed(content, change)
    return message if changed is content else {**message, "content": changed}


def holds_result(message: Any) -> bool:
    """Whether the message is what a tool returned, in OpenAI's form or as blocks of Anthropic's."""
    if role_of(message) in TOOL:
        return True
    content = message.get("content") if isinstance(message, Mapping) else None
    return isinstance(content, list | tuple) and any(isinstance(part, Mapping) and part.get("type") == "tool_result" for part in content)


def holds_other_than_text(message: Any) -> bool:
    """Whether the message has pictures, sound, files or other parts that are not text."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return False
    return any(isinstance(part, Mapping) and part.get("type") not in (*_TEXT_PARTS, "tool_result", "tool_use") for part in content)


def question_index(messages: Sequence[Any]) -> int | None:
    """The place of the last message in which a person asks something."""
    for index in range(len(messages) - 1, -1, -1):
        if role_of(messages[index]) in USER and not holds_result(messages[index]):
            return index
    return None


def called_tools(messages: Iterable[Any]) -> set[str]:
    """The names of the tools that were called in these messages."""
    return {name for message in messages for name, _ in tool_calls_of(message) if name}


def tool_calls_of(message: Any) -> list[tuple[str, str]]:
    """(name, id) of each tool call, in OpenAI's form or as blocks; "" for what is missing."""
    if not isinstance(message, Mapping):
        return []
    found: list[tuple[str, str]] = []
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        if isinstance(call, Mapping):
            inner = call.get("function")
            name = inner.get("name") if isinstance(inner, Mapping) else call.get("name")
            found.append((str(name or ""), str(call.get("id") or "")))
    legacy = message.get("function_call")
    if isinstance(legacy, Mapping):
        found.append((str(legacy.get("name") or ""), ""))
    content = message.get("content")
    blocks = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []
    called = [block for block in blocks if block.get("type") in ("tool_use", "tool_call", "function_call")]
    return found + [(str(block.get("name") or ""), str(block.get("id") or block.get("call_id") or "")) for block in called]


def _plain(message: Any) -> Any:
    if isinstance(message, Mapping):
        return message
    if isinstance(blocks := getattr(message, "blocks", None), list | tuple):
        found = _of_llama_index(message, blocks)
    elif isinstance(kind := getattr(message, "type", None), str) and isinstance(content := getattr(message, "content", None), str | list):
        role = getattr(message, "role", kind) if kind == "chat" else _LANGCHAIN_ROLES.get(kind, kind)
        found = {"role": role, "content": content}
        if name := getattr(message, "name", None):
            found["name"] = name
        if calls := getattr(message, "tool_calls", None):
            found["tool_calls"] = [_call(call.get("name"), call.get("args"), call.get("id")) for call in calls]
    else:
        return message
    identity = getattr(message, "tool_call_id", None) or (getattr(message, "additional_kwargs", None) or {}).get("tool_call_id")
    return found if identity is None else {**found, "tool_call_id": identity}


def _of_llama_index(message: Any, blocks: Sequence[Any]) -> dict[str, Any]:
    content: list[Any] = []
    calls: list[Any] = []
    for block in blocks:
        kind = getattr(block, "block_type", "")
        if kind == "text":
            content.append({"type": "text", "text": block.text})
        elif kind == "tool_call":
            calls.append(_call(block.tool_name, block.tool_kwargs, block.tool_call_id))
        elif callable(dumped := getattr(block, "model_dump", None)):
            content.append(_of_block(kind, dumped(exclude_none=True)))
    calls = calls or list((getattr(message, "additional_kwargs", None) or {}).get("tool_calls") or ())
    role = getattr(message.role, "value", message.role)
    texts = [part["text"] for part in content if part["type"] == "text"]
    found = {"role": str(role), "content": "".join(texts) if len(texts) == len(content) < 2 else content}
    return {**found, "tool_calls": calls} if calls else found


def _of_block(kind: str, block: dict[str, Any]) -> dict[str, Any]:
    """A block of media as LangChain's standard blocks have it; another one as it is."""
    data = next((found for name in _LLAMA_INDEX_MEDIA if (found := block.get(name)) is not None), None)
    if data is None and "url" not in block and "path" not in block:
        return {**block, "type": kind}
    mime = next((found for name in ("image_mimetype", "video_mimetype", "document_mimetype", "format") if (found := block.get(name))), None)
    place = {"base64": data.decode("latin-1") if isinstance(data, bytes) else str(data)} if data is not None else {}
    return {
        "type": "file" if kind == "document" else kind,
        **place,
        "url": str(block.get("url") or block.get("path") or ""),
        "mime_type": mime,
    }


def _call(name: Any, arguments: Any, identity: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | tuple):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping):
                if part.get("type") in _TEXT_PARTS and isinstance(text := part.get("text"), str):
                    yield text
                elif part.get("type") == "tool_result":
                    yield from _texts(part.get("content"))


def _changed(content: Any, change: Change) -> Any:
    if isinstance(content, str):
        text = change(content)
        return content if text == content else text
    if isinstance(content, list | tuple):
        parts = [_changed_part(part, change) for part in content]
        return content if all(new is old for new, old in zip(parts, content, strict=True)) else parts
    return content


def _changed_part(part: Any, change: Change) -> Any:
    if isinstance(part, str):
        return _changed(part, change)
    if not isinstance(part, Mapping):
        return part
    key = "content" if part.get("type") == "tool_result" else "text" if part.get("type") in _TEXT_PARTS else None
    if key is None or (key == "text" and not isinstance(part.get("text"), str)):
        return part
    changed = _changed(part.get(key), change)
    return part if changed is part.get(key) else {**part, key: changed}
