"""Responses to bytes and back: the only format that cached LlamaIndex answers are stored in.

JSON of fixed fields, prefixed by the codec's version. Nothing in a stored row can name a class or be executed: a row decodes into a chat
or completion response of text, reasoning, citations and tool calls, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    CompletionResponse,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic import BaseModel, ConfigDict, ValidationError

MARK: Final = "llmthrift"
_VERSION: Final = b"li1:"
_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {
    "text": TextBlock,
    "tool_call": ToolCallBlock,
    "thinking": ThinkingBlock,
    "citation": CitationBlock,
}
_CHAT: Final = frozenset(ChatResponse.model_fields)
_COMPLETION: Final = frozenset(CompletionResponse.model_fields)
# Where integrations repeat what was billed: a meter that reads it on a hit would bill the answer again.
_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")
_BILLED: Final = frozenset({"usage", "usage_metadata", *_COUNTS, MARK})
_NOTHING_BILLED: Final = dict.fromkeys((*_COUNTS, "input_tokens", "output_tokens"), 0)


class CodecError(ValueError):
    """Bytes that are not a stored answer, or an answer that cannot be stored."""


class CachedChatResponse(ChatResponse):
    """A chat response from the cache. Fields that an integration adds to its own class, such as citations, are kept."""

    model_config = ConfigDict(extra="allow")


class CachedCompletionResponse(CompletionResponse):
    """A completion response from the cache."""

    model_config = ConfigDict(extra="allow")


def encode(response: ChatResponse | CompletionResponse) -> bytes:
    """Serialize an answer.

    Raises:
        CodecError: it holds something that is not plain data, or a block that no cache keeps, such as a generated image.
    """
    fields: dict[str, Any] = {}
    if isinstance(response, ChatResponse):
        message = response.message
        fields["message"] = {
            "role": message.role.value,
            "blocks": [_encode_block(block) for block in message.blocks],
            "more": _plain(message.additional_kwargs),
        }
        known = _CHAT
    else:
        fields["text"] = response.text
        known = _COMPLETION
    if response.logprobs is not None:
        fields["logprobs"] = [[each.model_dump() for each in place] for place in response.logprobs]
    fields["more"] = _plain(response.additional_kwargs)
    if isinstance(mark := response.additional_kwargs.get(MARK), dict) and isinstance(tier := mark.get("tier"), str):
        fields["tier"] = tier
    if added := {name: value for name, value in vars(response).items() if name not in known}:
        fields["added"] = _plain(added)
    return _VERSION + _dumps(fields)


def decode(payload: bytes, *, is_chat: bool) -> ChatResponse | CompletionResponse:
    """A fresh response: every field checked for its type, and no usage that a meter could bill again.

    Raises:
        CodecError: not written by this codec, truncated, or of unexpected types.
    """
    if type(payload) is not bytes or not payload.startswith(_VERSION):
        raise CodecError("not written by this codec version")
    try:
        fields = _decode_json(payload[len(_VERSION) :].decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise CodecError("not JSON") from None
    try:
        return _decoded(fields, is_chat=is_chat)
    except (TypeError, KeyError, AttributeError, ValidationError, ValueError) as error:
        raise CodecError(f"undecodable answer: {type(error).__name__}") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_decode_json: Final = json.JSONDecoder(parse_constant=_refuse).decode


class Mark(dict[str, Any]):
    """What is said of an answer. A kind of its own: what a model puts under the same name is none."""


def mark(response: ChatResponse | CompletionResponse, signs: Mapping[str, Any]) -> None:
    """Say what llmthrift knows of an answer, in `additional_kwargs["llmthrift"]`; of a hit in `raw["llmthrift"]` too."""
    about = response.additional_kwargs.get(MARK)
    if not isinstance(about, Mark):
        response.additional_kwargs[MARK] = about = Mark()
    about.update(signs)
    if "cache" in about:
        response.raw = {"model": about.get("model"), "usage": _NOTHING_BILLED.copy(), MARK: dict(about)}


def mark_of(response: Any) -> Mapping[str, Any]:
    """What `mark` left; empty where it left nothing."""
    more = getattr(response, "additional_kwargs", None)
    found = more.get(MARK) if isinstance(more, Mapping) else None
    return found if isinstance(found, Mark) else {}


def _encode_block(block: Any) -> dict[str, Any]:
    kind = block.block_type
    if kind not in _BLOCKS:
        raise CodecError(f"a block of type {kind!r} is not kept")
    dumped: dict[str, Any] = block.model_dump(mode="json")
    return dumped


def _decoded(fields: Mapping[str, Any], *, is_chat: bool) -> ChatResponse | CompletionResponse:
    added = _object(fields.get("added", {}))
    more = _object(fields["more"])
    if "tier" in fields:
        more[MARK] = Mark(tier=_text(fields["tier"]))
    probabilities = fields.get("logprobs")
    given: dict[str, Any] = {**added, "additional_kwargs": more}
    if probabilities is not None:
        given["logprobs"] = [[LogProb(**each) for each in place] for place in probabilities]
    if not is_chat:
        return CachedCompletionResponse(text=_text(fields["text"]), **given)
    stored = fields["message"]
    blocks: list[Any] = [_BLOCKS[block["block_type"]].model_validate(block) for block in stored["blocks"]]
    message = ChatMessage(role=MessageRole(stored["role"]), blocks=blocks, additional_kwargs=_object(stored["more"]))
    return CachedChatResponse(message=message, **given)


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise CodecError("not an object")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise CodecError("not a text")
    return value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are plain data and bill nothing. Metadata that is neither is not worth losing the answer for."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if name in _BILLED:
            continue
        dumped = _dumped(value)
        try:
            _dumps(dumped)
        except CodecError:
            continue
        kept[str(name)] = dumped
    return kept


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_dumped(item) for item in value]
    return value


def _dumps(value: Any) -> bytes:
    try:  # escapes carry lone surrogates; NaN is no JSON
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"not plain data: {type(error).__name__}") from None
