"""LlamaIndex messages, or a completion's prompt, as a shortening policy reads them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llama_index.core.base.llms.types import ChatMessage, ContentBlock, TextBlock, ToolCallBlock

from llmthrift_llamaindex.messages import Asked

_PLACE: Final = "llmthrift_place"  # of a message, or of a block in it, as the application gave them
_OTHER: Final = "block"  # a part that is no text, which every step leaves as it is


def prompt_of(asked: Asked) -> Any:
    """The prompt as it is where it is a text, else the messages in OpenAI's shape."""
    return asked if isinstance(asked, str) else [_dict_of(place, message) for place, message in enumerate(asked)]


def restore(prompt: Any, asked: Asked) -> Asked:
    """What a shortened prompt stands for: the application's own messages, with the texts that were changed."""
    if isinstance(asked, str):
        return prompt if isinstance(prompt, str) else "\n\n".join(str(each.get("content") or "") for each in prompt)
    restored: list[ChatMessage] = []
    for each in prompt:
        place = each.get(_PLACE)
        if place is None:
            restored.append(ChatMessage(role=each.get("role") or "user", content=each.get("content") or ""))
        else:
            restored.append(_restored(asked[place], each.get("content")))
    return restored


def _restored(message: ChatMessage, content: Any) -> ChatMessage:
    texts = [block for block in message.blocks if isinstance(block, TextBlock)]
    if isinstance(content, str) or content is None:
        if (texts[0].text if len(texts) == 1 else "" if not texts else None) == (content or ""):
            return message
        blocks: list[ContentBlock] = [block for block in message.blocks if not isinstance(block, TextBlock)]
        return message.model_copy(update={"blocks": [TextBlock(text=content), *blocks] if content else blocks})
    parts = [_block(message, part) for part in content]
    same = len(parts) == len(message.blocks) and all(new is old for new, old in zip(parts, message.blocks, strict=True))
    return message if same else message.model_copy(update={"blocks": parts})


def _block(message: ChatMessage, part: Any) -> ContentBlock:
    text = part if isinstance(part, str) else part.get("text")
    place = None if isinstance(part, str) else part.get(_PLACE)
    if place is None:
        return TextBlock(text=str(text or ""))
    block: ContentBlock = message.blocks[place]
    if not isinstance(block, TextBlock) or block.text == text:
        return block
    return TextBlock(text=str(text))


def _dict_of(place: int, message: ChatMessage) -> dict[str, Any]:
    blocks = message.blocks
    found: dict[str, Any] = {"role": str(message.role.value), "content": _content(blocks), _PLACE: place}
    calls = [block for block in blocks if isinstance(block, ToolCallBlock)]
    if calls:
        found["tool_calls"] = [
            {"id": call.tool_call_id, "type": "function", "function": {"name": call.tool_name, "arguments": call.tool_kwargs}}
            for call in calls
        ]
    elif told := message.additional_kwargs.get("tool_calls"):
        found["tool_calls"] = [call if isinstance(call, dict) else _dumped(call) for call in told]
    if (answers := message.additional_kwargs.get("tool_call_id")) is not None:
        found["tool_call_id"] = answers
    return found


def _content(blocks: Sequence[Any]) -> Any:
    if all(isinstance(block, ToolCallBlock) for block in blocks):
        return ""
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock):
        return blocks[0].text
    return [
        {"type": "text", "text": block.text, _PLACE: place} if isinstance(block, TextBlock) else {"type": _OTHER, _PLACE: place}
        for place, block in enumerate(blocks)
    ]


def _dumped(call: Any) -> dict[str, Any]:
    return call.model_dump() if hasattr(call, "model_dump") else {}
