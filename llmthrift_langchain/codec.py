"""Generations to bytes and back: the only format that cached LangChain answers are stored in.

JSON of fixed fields, prefixed by the codec's version. Nothing in a stored row can name a class or be executed: a row decodes into
`Generation` or `ChatGeneration` with an `AIMessage`, or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)
_VERSION = b"lc1:"
_MARK = "llmthrift"
# Response metadata in which providers bill: a meter that reads it on a hit would bill the answer again.
_BILLED = frozenset({"token_usage", "usage", "usage_metadata", "model_usage", "llm_output"})
_NOTHING_BILLED = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
_TEXT_OR_NONE = (str, type(None))


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
            item: dict[str, Any] = {"message": _encode_message(generation.message)}
            if not isinstance(generation.message.content, str):
                item["text"] = str(generation.text)
            if generation.generation_info is not None:
                item["info"] = _plain(generation.generation_info)
            items.append(item)
        elif isinstance(generation, Generation):
            items.append({"info": _plain(generation.generation_info), "text": generation.text})
        else:
            raise CodecError(f"not a generation: {type(generation).__name__}")
    if not items:
        raise CodecError("no generations")
    return _VERSION + _dumps(items)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One decoded generation: plain data of checked types, from which `served` builds fresh objects.

    Attributes:
        text: the text of the generation.
        info: its generation_info.
        message: the fields of the chat message; None for a completion.
    """

    text: str
    info: dict[str, Any] | None
    message: dict[str, Any] | None


def decode(payload: bytes) -> list[StoredAnswer]:
    """The stored generations, every field checked for its type.

    Raises:
        CodecError: not written by this codec, truncated, or of unexpected types.
    """
    if type(payload) is not bytes or not payload.startswith(_VERSION):
        raise CodecError("not written by this codec version")
    items = _loads(payload[len(_VERSION) :])
    if type(items) is not list or not items:
        raise CodecError("no generations")
    try:
        return [_decode_item(item) for item in items]
    except (TypeError, KeyError, AttributeError) as error:
        raise CodecError(f"undecodable answer: {type(error).__name__}") from None


def served(answers: Sequence[StoredAnswer], mark: Mapping[str, Any]) -> list[Generation]:
    """Fresh generations, as a hit: a new message id, no billed usage, and the mark of the cache.

    The mark stands in `generation_info["llmthrift"]` and `response_metadata["llmthrift"]` of chat answers. Plain generations come
    back exactly as they were stored: LangChain fires no callback for them that could read a mark.
    """
    fresh: list[Generation] = []
    for answer in answers:
        info = None if answer.info is None else _copied(answer.info)
        if answer.message is None:
            fresh.append(Generation(text=answer.text, generation_info=info))
            continue
        fields = _copied(answer.message)
        fields["id"] = "llmthrift-" + os.urandom(12).hex()
        fields["usage_metadata"] = _NOTHING_BILLED.copy()
        fields["response_metadata"][_MARK] = dict(mark)
        info = info or {}
        info[_MARK] = dict(mark)
        message = _instance(AIMessage, fields, extra={})
        whole = {"text": answer.text, "generation_info": info, "type": "ChatGeneration", "message": message}
        fresh.append(_instance(ChatGeneration, whole, extra=None))
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


def _decode_item(item: Mapping[str, Any]) -> StoredAnswer:
    info = item.get("info")
    if info is not None and type(info) is not dict:
        raise CodecError("info is not an object")
    if "message" not in item:
        if type(item["text"]) is not str:
            raise CodecError("text is not a string")
        return StoredAnswer(item["text"], info, None)
    fields = item["message"]
    content = fields["content"]
    if type(content) is str:
        text = content
    else:
        text = item["text"]
        if type(content) is not list or type(text) is not str or not all(type(block) in (str, dict) for block in content):
            raise CodecError("content is neither text nor blocks")
    tool_calls, broken = fields.get("tool_calls", []), fields.get("invalid_tool_calls", [])
    if type(tool_calls) is not list or not all(
        type(call["name"]) is str and type(call["args"]) is dict and type(call["id"]) in _TEXT_OR_NONE for call in tool_calls
    ):
        raise CodecError("tool_calls are not tool calls")
    if type(broken) is not list or not all(type(value) in _TEXT_OR_NONE for call in broken for value in call.values()):
        raise CodecError("invalid_tool_calls are not invalid tool calls")
    additional, metadata, name = fields.get("additional_kwargs", {}), fields.get("response_metadata", {}), fields.get("name")
    if type(additional) is not dict or type(metadata) is not dict or type(name) not in _TEXT_OR_NONE:
        raise CodecError("metadata is not an object")
    message = {
        "content": content,
        "additional_kwargs": additional,
        "response_metadata": {key: value for key, value in metadata.items() if key not in _BILLED},
        "type": "ai",
        "name": name,
        "tool_calls": tool_calls,
        "invalid_tool_calls": broken,
    }
    return StoredAnswer(text, info, message)


def _instance(model: type[Model], fields: dict[str, Any], *, extra: dict[str, Any] | None) -> Model:
    """What pydantic's `model_construct` makes, in a quarter of its time: every field is given and of its type."""
    made = model.__new__(model)
    object.__setattr__(made, "__dict__", fields)
    object.__setattr__(made, "__pydantic_fields_set__", set(fields))
    object.__setattr__(made, "__pydantic_extra__", extra)
    object.__setattr__(made, "__pydantic_private__", None)
    return made


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The entries that are plain data. Metadata that is not (a parsed object, a response) is not worth losing the answer for."""
    if not values:
        return None if values is None else {}
    try:
        orjson.dumps(values)
        return dict(values)
    except TypeError:
        # langchain-openai keeps a parsed object beside the text, and takes a mapping of its fields just as well.
        dumped = {
            name: value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value for name, value in values.items()
        }
        return {name: value for name, value in dumped.items() if _is_plain(value)}


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
        except (TypeError, ValueError, RecursionError) as error:
            raise CodecError(f"not plain data: {type(error).__name__}") from None


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise CodecError("not JSON") from None


def _copied(value: Any) -> Any:
    """A deep copy of plain data, several times faster than copy.deepcopy."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()} if value else {}
    if isinstance(value, list):
        return [_copied(inner) for inner in value] if value else []
    return value
