"""The content of a LlamaIndex call, as far as it can be billed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import ChatMessage, ThinkingBlock, ToolCallBlock

from llmthrift_core.outgoing import Outgoing, Sent, outgoing_of
from llmthrift_llamaindex.tools import TOOLS

if TYPE_CHECKING:
    from llmthrift_llamaindex.messages import Asked

_UNSENT: Final = frozenset(
    {
        "usage",
        "stop_reason",
        "thinking_delta",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "llmthrift",
        "tool_call_id",
        "tool_calls",
    }
)
# The field that holds a media block's bytes, and the one that says their format.
_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "image": ("image", "image_mimetype"),
    "audio": ("audio", "format"),
    "video": ("video", "video_mimetype"),
    "document": ("data", "document_mimetype"),
}


def count_outgoing(asked: Asked, model: str, *parameters: Mapping[str, Any]) -> Outgoing:
    """Count what a call sends.

    Args:
        asked: messages, or a completion's prompt.
        model: whom it is sent to.
        parameters: of the call, in the order of precedence: its arguments, the model's fields.
    """
    given = [_with_tools(each) for each in parameters]
    return outgoing_of(asked if isinstance(asked, str) else map(_sent, asked), model, *given)


def _with_tools(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments with a router's tools as the list that a provider gets."""
    described = given.get("tools") if TOOLS in given else None
    return {**described["options"], **given, "tools": described["tools"]} if isinstance(described, Mapping) else given


def _sent(message: ChatMessage) -> Sent:
    content: list[Any] = []
    calls: list[tuple[str, Any, str | None]] = []
    for block in message.blocks:
        if isinstance(block, ToolCallBlock):
            calls.append((block.tool_name, block.tool_kwargs, block.tool_call_id))
        else:
            content.append(_plain(block))
    additional = message.additional_kwargs
    more = {key: value for key, value in additional.items() if value and key not in _UNSENT}
    if not calls and (raw := additional.get("tool_calls")):
        more["tool_calls"] = [call.model_dump() if hasattr(call, "model_dump") else call for call in _listed(raw)]
    return Sent(message.role.value, content, None, calls, additional.get("tool_call_id"), more)


def _plain(block: Any) -> Any:
    """A block as plain data, of a shape that the core knows."""
    if isinstance(block, ThinkingBlock):
        return block.content or ""
    kind = str(getattr(block, "block_type", ""))
    if kind not in _FIELDS:
        if isinstance(nested := getattr(block, "content", None), list):  # a source that may be cited
            return [getattr(block, "title", None) or "", *map(_plain, nested)]
        return {"type": kind, **block.model_dump(exclude={"block_type"}, exclude_none=True)}
    data_field, mime_field = _FIELDS[kind]
    url = getattr(block, "url", None)
    return {
        "type": kind,
        "bytes": getattr(block, data_field, None) or _read(getattr(block, "path", None)),
        "url": None if url is None else str(url),
        "mime_type": getattr(block, mime_field, None),
        "title": getattr(block, "title", None),
        "detail": getattr(block, "detail", None),
        "fps": getattr(block, "fps", None),
    }


def _read(path: Any) -> bytes | None:
    """The file that the integration is going to send; None where it cannot be read, which it will say itself."""
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
