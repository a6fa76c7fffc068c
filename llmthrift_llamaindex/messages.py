"""The canonical form of LlamaIndex messages: what of a conversation decides the answer, and nothing else.

Tool-call ids are replaced by their order of appearance, which keeps a result tied to its call; signatures, usage and stop reasons that
integrations leave in `additional_kwargs` change from run to run and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock, ToolCallBlock

from llmthrift_core.cache.keys import UncacheableError

_VOLATILE: Final = frozenset({"usage", "stop_reason", "thinking_delta", "prompt_tokens", "completion_tokens", "total_tokens", "llmthrift"})
_WORDS: Final = ("text", "thinking", "tool_call", "cache")
Asked = Sequence[ChatMessage] | str


def canonical_messages(messages: Sequence[ChatMessage]) -> list[Any]:
    """What decides the answer, as nested lists and dicts ready for canonical JSON.

    Raises:
        UncacheableError: a picture or document that is named by a path, whose content may change.
    """
    ids: dict[str, int] = {}
    canonical: list[Any] = []
    for message in messages:
        item: list[Any] = [str(message.role.value), [_block(block, ids) for block in message.blocks]]
        if message.additional_kwargs and (more := _more(message, ids)):
            item.append(more)
        canonical.append(item)
    return canonical


def text_of(message: ChatMessage) -> str:
    """The text blocks of a message, joined."""
    blocks = message.blocks
    if len(blocks) == 1 and type(blocks[0]) is TextBlock:
        return blocks[0].text
    return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def question_of(messages: Sequence[ChatMessage]) -> str:
    """The text of the last user message, or "" if there is none."""
    return next((text_of(message) for message in reversed(messages) if message.role.value == "user"), "")


def system_of(messages: Sequence[ChatMessage]) -> str:
    """The text of the system messages."""
    return "\n".join(text_of(message) for message in messages if message.role.value in ("system", "developer"))


def has_media(messages: Sequence[ChatMessage]) -> bool:
    """Whether any message carries something other than words: an image, a document, audio."""
    return any(block.block_type not in _WORDS for message in messages for block in message.blocks)


def has_tool_turns(messages: Sequence[ChatMessage]) -> bool:
    """Whether a tool was called in this conversation."""
    return any(
        message.role.value in ("tool", "function")
        or "tool_calls" in message.additional_kwargs
        or any(isinstance(block, ToolCallBlock) for block in message.blocks)
        for message in messages
    )


def before_tools(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The conversation as it was when the loop of tools that it ends with began; all of it, if it ends with no such loop."""
    end = len(messages)
    while end and (messages[end - 1].role.value in ("tool", "function") or has_tool_turns(messages[end - 1 : end])):
        end -= 1
    return messages[:end] or messages


def _block(block: Any, ids: dict[str, int]) -> Any:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ToolCallBlock):
        return {"call": _ordinal(block.tool_call_id, ids), "name": block.tool_name, "arguments": block.tool_kwargs}
    if isinstance(block, ThinkingBlock):
        return {"thinking": block.content}
    if getattr(block, "path", None) is not None:
        raise UncacheableError(f"a {block.block_type} given by its path cannot be part of a cache key: the file may change; give its bytes")
    return {name: str(value) if name == "url" else value for name, value in block.model_dump().items() if value is not None}


def _more(message: ChatMessage, ids: dict[str, int]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    for name, value in message.additional_kwargs.items():
        if value is None or name in _VOLATILE:
            continue
        if name == "tool_call_id":
            more["answers"] = _ordinal(value, ids)
        elif name == "tool_calls":
            # Blocks say the same in one form for every provider; this is for integrations that make none.
            if not any(isinstance(block, ToolCallBlock) for block in message.blocks):
                more["calls"] = [_call(call, ids) for call in value]
        else:
            more[name] = value
    return more


def _call(call: Any, ids: dict[str, int]) -> Any:
    dumped = call if isinstance(call, Mapping) else call.model_dump() if hasattr(call, "model_dump") else None
    if dumped is None:
        raise UncacheableError(f"a tool call of type {type(call).__name__} cannot be part of a cache key")
    fields = {name: value for name, value in dumped.items() if name not in ("id", "index")}
    return {**fields, "call": _ordinal(dumped.get("id"), ids)}


def _ordinal(identity: Any, ids: dict[str, int]) -> int | None:
    return None if identity is None else ids.setdefault(str(identity), len(ids))
