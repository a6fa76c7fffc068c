"""Generations to bytes and back: the only format that cached LangChain answers are stored in.

JSON of fixed fields, prefixed by the codec's version. Nothing in a stored row can name a class or be executed: a row decodes into
`Generation` or `ChatGeneration` with an `AIMessage`, or not at all.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation

_VERSION = b"lc1:"
_MARK = "llmthrift"
# Response metadata in which providers bill: a meter that reads it on a hit would bill the answer again.
_BILLED = frozenset({"token_usage", "usage", "usage_metadata", "model_usage", "llm_output"})
_NOTHING_BILLED = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


class CodecError(ValueError):
    """Bytes that are not a stored answer, or an answer that cannot be stored."""


def encode(generations: Sequence[Generation]) -> bytes:
    """Serialize the generations of one prompt.

    Raises:
        CodecError: a generation holds something that is not plain data, or is not an assistant's answer.
    """
    items: list[dict[str, Any]] = []
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            items.append({"info": _plain(generation.generation_info), "message": _encode_message(generation.message)})
        elif isinstance(generation, Generation):
            items.append({"info": _plain(generation.generation_info), "text": generation.text})
        else:
            raise CodecError(f"not a generation: {type(generation).__name__}")
    if not items:
        raise CodecError("no generations")
    return _VERSION + _dumps(items)


def decode(payload: bytes) -> list[Generation]:
    """The stored generations, every field checked for its type.

    Raises:
        CodecError: not written by this codec, truncated, or of unexpected types.
    """
    if not isinstance(payload, bytes) or not payload.startswith(_VERSION):
        raise CodecError("not written by this codec version")
    items = _loads(payload[len(_VERSION) :])
    if not isinstance(items, list) or not items:
        raise CodecError("no generations")
    try:
        return [_decode_item(item) for item in items]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CodecError(f"undecodable answer: {type(error).__name__}") from None


def served(generations: Sequence[Generation], mark: Mapping[str, Any]) -> list[Generation]:
    """Fresh copies of decoded generations, as a hit: a new message id, no billed usage, and the mark of the cache.

    The mark stands in `generation_info["llmthrift"]` and `response_metadata["llmthrift"]` of chat answers. Plain generations come
    back exactly as they were stored: LangChain fires no callback for them that could read a mark.
    """
    fresh: list[Generation] = []
    for generation in generations:
        if not isinstance(generation, ChatGeneration):
            fresh.append(Generation(text=generation.text, generation_info=copy.deepcopy(generation.generation_info)))
            continue
        stored = generation.message.__dict__
        fields = {name: _copied(value) for name, value in stored.items()}
        fields["id"] = "llmthrift-" + os.urandom(12).hex()
        fields["usage_metadata"] = dict(_NOTHING_BILLED)
        fields["response_metadata"][_MARK] = dict(mark)
        info = _copied(generation.generation_info) if generation.generation_info else {}
        info[_MARK] = dict(mark)
        message = AIMessage.model_construct(_fields_set=set(fields), **fields)
        fresh.append(ChatGeneration.model_construct(text=generation.text, generation_info=info, type="ChatGeneration", message=message))
    return fresh


def mark_of(generation: Generation) -> Mapping[str, Any] | None:
    """The mark that `served` left, or None for an answer that did not come from the cache."""
    info = generation.generation_info
    if info and isinstance(mark := info.get(_MARK), dict):
        return mark
    return None


def _encode_message(message: Any) -> dict[str, Any]:
    if isinstance(message, AIMessageChunk):
        message = message_chunk_to_message(message)
    if not isinstance(message, AIMessage):
        raise CodecError(f"not an assistant's message: {type(message).__name__}")
    content = message.content
    fields: dict[str, Any] = {"content": content if isinstance(content, str) else _strict(content)}
    for name in ("tool_calls", "invalid_tool_calls"):
        if value := getattr(message, name):
            fields[name] = _strict(value)
    for name in ("additional_kwargs", "response_metadata"):
        if value := _plain(getattr(message, name)):
            fields[name] = value
    if message.name is not None:
        fields["name"] = message.name
    return fields


def _decode_item(item: Mapping[str, Any]) -> Generation:
    info = item.get("info")
    if info is not None and not isinstance(info, dict):
        raise CodecError("info is not an object")
    if "text" in item:
        if not isinstance(item["text"], str):
            raise CodecError("text is not a string")
        return Generation(text=item["text"], generation_info=info)
    fields = item["message"]
    message = AIMessage(
        content=fields["content"],
        tool_calls=fields.get("tool_calls", []),
        invalid_tool_calls=fields.get("invalid_tool_calls", []),
        additional_kwargs=fields.get("additional_kwargs", {}),
        response_metadata={name: value for name, value in fields.get("response_metadata", {}).items() if name not in _BILLED},
        name=fields.get("name"),
    )
    return ChatGeneration(message=message, generation_info=info)


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The entries that are plain data. Metadata that is not (a parsed object, a response) is not worth losing the answer for."""
    if not values:
        return None if values is None else {}
    try:
        orjson.dumps(values)
        return dict(values)
    except TypeError:
        return {name: value for name, value in values.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    try:
        _strict(value)
    except CodecError:
        return False
    return True


def _strict(value: Any) -> Any:
    _dumps(value)
    return value


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        try:  # orjson refuses lone surrogates and integers beyond 64 bits, which JSON escapes can carry
            return json.dumps(value, ensure_ascii=True, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise CodecError(f"not plain data: {error}") from None


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except ValueError:
            raise CodecError("not JSON") from None


def _copied(value: Any) -> Any:
    """A deep copy of plain data, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()} if value else {}
    if isinstance(value, list):
        return [_copied(inner) for inner in value] if value else []
    return value
