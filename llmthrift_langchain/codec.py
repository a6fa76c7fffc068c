"""Generations to bytes and back: the only format that cached LangChain answers are stored in.

JSON of fixed fields, prefixed by the codec's version. Nothing in a stored row can name a class or be executed: a row decodes into
`Generation` or `ChatGeneration` with an `AIMessage`, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel

from llmthrift_core.ledger import ids
from llmthrift_core.ledger.ids import message_id_of_hit

Model = TypeVar("Model", bound=BaseModel)
_VERSION = b"lc1:"
_new, _set_dict = object.__new__, object.__setattr__
_set_given, _set_extra, _set_private = (
    vars(BaseModel)[name].__set__ for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
_MARK = "llmthrift"
# Response metadata in which providers bill: a meter that reads it on a hit would bill the answer again.
_BILLED = frozenset({"token_usage", "usage", "usage_metadata", "model_usage", "llm_output"})
_NOTHING_BILLED = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
_TEXT_OR_NONE = (str, type(None))
_BROKEN_CALL = frozenset({"name", "args", "id", "error"})
# What LangChain reads of an answer beside its text, and the types that it expects there.
_BLOCK: Mapping[str, tuple[type, ...]] = dict.fromkeys(("text", "thinking", "reasoning", "refusal"), (str,)) | {
    "id": _TEXT_OR_NONE,
    "name": _TEXT_OR_NONE,
    "annotations": (list, type(None)),
    "citations": (list, type(None)),
    "summary": (list, str, type(None)),
    "extras": (dict, type(None)),
    "index": (int, str, type(None)),
}
_ADDITIONAL: Mapping[str, tuple[type, ...]] = {
    "tool_calls": (list, type(None)),
    "function_call": (dict, type(None)),
    "audio": (dict, type(None)),
    "refusal": _TEXT_OR_NONE,
    "reasoning_content": _TEXT_OR_NONE,
}
_METADATA: Mapping[str, tuple[type, ...]] = dict.fromkeys(("model_name", "model", "model_provider", "output_version"), _TEXT_OR_NONE) | {
    "logprobs": (dict, list, type(None)),
}


class Mark(dict[str, Any]):
    """What is said of a hit. A kind of its own: what a model puts under the same name is none."""


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


def decode(payload: bytes) -> list[Generation]:
    """Fresh generations: every field checked for its type, a new message id, and no usage that a meter could bill again.

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


def decode_chat(payload: bytes) -> list[Generation]:
    """As `decode`, for a chat model: an answer that is none of a chat model's is refused.

    Raises:
        CodecError: as `decode`.
    """
    generations = decode(payload)
    if not all(isinstance(each, ChatGeneration) for each in generations):
        raise CodecError("not the answer of a chat model")
    return generations


def decode_text(payload: bytes) -> list[Generation]:
    """As `decode`, for a completion model.

    Raises:
        CodecError: as `decode`.
    """
    generations = decode(payload)
    if any(isinstance(each, ChatGeneration) for each in generations):
        raise CodecError("not the answer of a completion model")
    return generations


def mark(generations: Sequence[Generation], signs: dict[str, Any]) -> None:
    """Mark decoded generations as a hit: in `generation_info["llmthrift"]` and `response_metadata["llmthrift"]` of chat answers.

    Plain generations stay exactly as they were stored: LangChain fires no callback for them that could read a mark.
    """
    for place, generation in enumerate(generations):
        if isinstance(generation, ChatGeneration):
            if (request_id := signs.get("request_id")) is not None:
                generation.message.id = message_id_of_hit(request_id, place)
            generation.message.response_metadata[_MARK] = Mark(signs)
            assert generation.generation_info is not None  # noqa: S101 - `decode` gives every chat answer one
            generation.generation_info[_MARK] = Mark(signs)


def mark_message(message: AIMessage, signs: dict[str, Any]) -> None:
    """Mark an answer of a model, in `response_metadata["llmthrift"]`: it is no hit, and handlers see no mark."""
    message.response_metadata = {**message.response_metadata, _MARK: Mark(signs)}


def mark_of(generation: Generation) -> Mapping[str, Any] | None:
    """The mark that `mark` left, or None for an answer that did not come from the cache."""
    info = generation.generation_info
    if info and isinstance(mark := info.get(_MARK), Mark):
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
    if info is not None and type(info) is not dict:
        raise CodecError("info is not an object")
    if "message" not in item:
        if type(item["text"]) is not str:
            raise CodecError("text is not a string")
        return Generation(text=item["text"], generation_info=info)
    fields = item["message"]
    content = fields["content"]
    if type(content) is str:
        text = content
    else:
        text = item["text"]
        if type(content) is not list or type(text) is not str or not all(map(_is_block, content)):
            raise CodecError("content is neither text nor blocks")
    tool_calls, broken = fields.get("tool_calls", []), fields.get("invalid_tool_calls", [])
    if type(tool_calls) is not list or not all(
        type(call["name"]) is str
        and type(call["args"]) is dict
        and type(call["id"]) in _TEXT_OR_NONE
        and call.get("type", "tool_call") == "tool_call"
        for call in tool_calls
    ):
        raise CodecError("tool_calls are not tool calls")
    if type(broken) is not list or not all(
        call.keys() >= _BROKEN_CALL and all(type(value) in _TEXT_OR_NONE for value in call.values()) for call in broken
    ):
        raise CodecError("invalid_tool_calls are not invalid tool calls")
    additional, metadata, name = fields.get("additional_kwargs", {}), fields.get("response_metadata", {}), fields.get("name")
    if type(additional) is not dict or type(metadata) is not dict or type(name) not in _TEXT_OR_NONE:
        raise CodecError("metadata is not an object")
    if not (_fits(additional, _ADDITIONAL) and _fits(metadata, _METADATA)):
        raise CodecError("metadata is of another type than LangChain reads")
    if not _BILLED.isdisjoint(metadata):
        metadata = {key: value for key, value in metadata.items() if key not in _BILLED}
    message = {
        "content": content,
        "additional_kwargs": additional,
        "response_metadata": metadata,
        "type": "ai",
        "name": name,
        "id": "llmthrift-" + ids.new_request_id(),
        "tool_calls": tool_calls,
        "invalid_tool_calls": broken,
        "usage_metadata": _NOTHING_BILLED.copy(),
    }
    whole = {"text": text, "generation_info": info or {}, "type": "ChatGeneration", "message": _instance(AIMessage, message, extra={})}
    return _instance(ChatGeneration, whole, extra=None)


def _is_block(block: Any) -> bool:
    """Whether LangChain reads this as a block of content."""
    if type(block) is str:
        return True
    return type(block) is dict and type(kind := block.get("type")) is str and _fits(block, _BLOCK) and (kind != "text" or "text" in block)


def _fits(values: dict[str, Any], types: Mapping[str, tuple[type, ...]]) -> bool:
    return all(type(value) in types[name] for name, value in values.items() if name in types)


def _instance(model: type[Model], fields: dict[str, Any], *, extra: dict[str, Any] | None) -> Model:
    """What pydantic's `model_construct` makes, in a quarter of its time: every field is given and of its type."""
    made = _new(model)
    _set_dict(made, "__dict__", fields)
    _set_given(made, set(fields))
    _set_extra(made, extra)
    _set_private(made, None)
    return made


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The entries that are plain data. Metadata that is not (a parsed object, a response) is not worth losing the answer for."""
    if not values:
        return None if values is None else {}
    values = {name: value for name, value in values.items() if not isinstance(value, Mark)}
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
            return json.loads(data, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise CodecError("not JSON") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
