"""Token counts of messages, where the same texts come again with every turn."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock
from llmthrift_core.outgoing.contents import Contents
from llmthrift_core.outgoing.media import tokens_of_image, tokens_of_media
from llmthrift_core.prompts.messages import texts_of
from llmthrift_core.usage.tokens import count_message_tokens, count_tokens

_MOST_CHARS: Final = 4_000_000
_FROM_CHARS: Final = 32  # a shorter text is counted as quickly as it is looked up
_PER_CALL: Final = 8  # what frames a tool call in a conversation
_PER_SCHEMA: Final = 16  # what frames a tool's definition
_UNKNOWN_MEDIA: Final = 1_600  # a file of which only its address is known


class _Remembered:
    """Counts by model and text, the last few million characters."""

    def __init__(self) -> None:
        self._lock = ForkedLock()
        self._counts: OrderedDict[tuple[str | None, str], int] = OrderedDict()
        self._chars = 0

    def count(self, text: str, model: str | None) -> int:
        if len(text) < _FROM_CHARS:
            return count_tokens(text, model).tokens
        key = (model, text)
        tokens = self._counts.get(key)
        if tokens is None:
            tokens = count_tokens(text, model).tokens
            if len(text) > _MOST_CHARS // 4:
                return tokens
            with self._lock:
                if key not in self._counts:
                    self._counts[key] = tokens
                    self._chars += len(text)
                while self._chars > _MOST_CHARS:
                    (_, oldest), _ = self._counts.popitem(last=False)
                    self._chars -= len(oldest)
        return tokens


_REMEMBERED: Final = _Remembered()


def tokens_of_text(text: str, model: str | None = None) -> int:
    """The tokens of a text."""
    return _REMEMBERED.count(text, model)


def is_exact(model: str | None) -> bool:
    """Whether the model's own tokenizer counts its texts here."""
    return count_tokens("", model).exact


@lru_cache(maxsize=256)
def tokens_of_frame(role: str, name: str | None, model: str | None) -> int:
    """What frames a message of this role."""
    return count_message_tokens(({"role": role, "name": name},), model).tokens - tokens_of_reply(model)


@lru_cache(maxsize=64)
def tokens_of_reply(model: str | None) -> int:
    """What primes the model's reply, once a call."""
    return count_message_tokens((), model).tokens


def tokens_of_calls(message: Mapping[str, Any], model: str | None) -> int:
    """The tool calls of an assistant's message."""
    total = 0
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list | tuple) else ():
        inner = call.get("function") if isinstance(call, Mapping) else None
        given = inner if isinstance(inner, Mapping) else call if isinstance(call, Mapping) else {"arguments": call}
        identity = call.get("id") if isinstance(call, Mapping) else None
        arguments = given.get("arguments", given.get("args"))
        texts = (given.get("name"), arguments if isinstance(arguments, str) else as_json(arguments), identity)
        total += _PER_CALL + sum(tokens_of_text(str(text), model) for text in texts if text)
    if isinstance(legacy := message.get("function_call"), Mapping):
        total += _PER_CALL + tokens_of_text(as_json(legacy), model)
    if identity := message.get("tool_call_id"):
        total += _PER_CALL + tokens_of_text(str(identity), model)
    return total


def tokens_of_other_parts(message: Mapping[str, Any], model: str | None) -> tuple[int, int]:
    """(tokens of pictures, sound and files; tokens of other blocks that are sent as JSON)."""
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return 0, 0
    contents = Contents()
    for part in content:
        if isinstance(part, Mapping) and part.get("type") == "tool_result":
            inner = part.get("content")
            contents.read([each for each in inner if isinstance(each, Mapping)] if isinstance(inner, list | tuple) else [])
        elif isinstance(part, Mapping):
            contents.read(part)
    own = sum(tokens_of_text(text, model) for text in texts_of(message)) - sum(
        tokens_of_text(part, model) for part in content if isinstance(part, str)
    )
    read = sum(tokens_of_text(text, model) for text in contents.texts)
    media = 0
    for each in contents.media:
        tokens = tokens_of_media(each, model or "")
        if tokens is None:
            tokens = tokens_of_image(None, each.detail, (model or "gpt-4o").lower()) if each.kind == "image" else _UNKNOWN_MEDIA
        media += tokens
    return media, max(0, read - own)


def tokens_of_message(message: Any, model: str | None = None) -> int:
    """All tokens of a message, with what frames it."""
    if not isinstance(message, Mapping):
        return tokens_of_text(str(message), model)
    name = message.get("name")
    total = tokens_of_frame(str(message.get("role", "")), str(name) if name else None, model)
    total += sum(tokens_of_text(text, model) for text in texts_of(message))
    return total + tokens_of_calls(message, model) + sum(tokens_of_other_parts(message, model))


def tokens_of_messages(messages: Iterable[Any], model: str | None = None) -> int:
    """All tokens of a chat's input, without its tools."""
    return tokens_of_reply(model) + sum(tokens_of_message(message, model) for message in messages)


def tokens_of_tool(definition: str, model: str | None = None) -> int:
    """A tool's definition, which is JSON."""
    return _PER_SCHEMA + tokens_of_text(definition, model)


def as_json(value: Any) -> str:
    """A value as compact JSON; what JSON does not have, as its text."""
    if value is None:
        return ""
    try:
        return json.dumps(value, default=str, ensure_ascii=False, skipkeys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # a circle
        return ""
