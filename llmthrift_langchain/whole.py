"""A check whether LangChain's answers are whole and good, so that a cache may keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmthrift_core.cache.wholeness import TELL_THE_END, are_arguments, ends_in, flaw_of

_REASONING: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "reasoning_content"})


def flaw_of_generations(generations: Sequence[Generation]) -> str | None:
    """Why the answers to one prompt must not be kept: what is wrong with the first that has a flaw; None if all of them are whole."""
    return next((flaw for each in generations if (flaw := _flaw(each)) is not None), None)


def _flaw(generation: Generation) -> str | None:
    told = generation.generation_info
    ends = ends_in(told)
    if not isinstance(generation, ChatGeneration):
        return flaw_of(ends, says=bool(generation.text.strip()), must_end=told is not None and "finish_reason" in told)
    message = generation.message
    more, function = message.additional_kwargs, message.additional_kwargs.get("function_call")
    ends += ends_in(message.response_metadata)
    if more.get("refusal") or _has_refusal(message.content):
        ends.append("refusal")
    arguments = [function.get("arguments")] if isinstance(function, Mapping) else []
    # Of a stream, LangChain reads as much of the arguments as can be read of them.
    arguments += [call.get("args") for call in getattr(message, "tool_call_chunks", None) or ()]
    return flaw_of(
        ends,
        says=_says(message) or function is not None,
        must_end=message.response_metadata.get("model_provider") in TELL_THE_END,
        calls_are_whole=not getattr(message, "invalid_tool_calls", None) and all(map(are_arguments, arguments)),
    )


def _says(message: BaseMessage) -> bool:
    """Whether there is more than reasoning."""
    if getattr(message, "tool_calls", None) or message.additional_kwargs.get("audio"):
        return True
    if isinstance(message.content, str):
        return bool(message.content.strip())
    return any(_block_says(block) for block in message.content)


def _block_says(block: Any) -> bool:
    if isinstance(block, str):
        return bool(block.strip())
    kind = block.get("type")
    if kind in _REASONING:
        return False
    text = block.get("text")
    return bool(text.strip()) if isinstance(text, str) else kind != "text"


def _has_refusal(content: str | list[Any]) -> bool:
    return not isinstance(content, str) and any(isinstance(block, Mapping) and block.get("type") == "refusal" for block in content)
