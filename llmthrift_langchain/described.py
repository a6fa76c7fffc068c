"""A conversation as a routing policy sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from llmthrift_core.routing import RouteRequest, ToolCall
from llmthrift_core.routing.types import Once
from llmthrift_langchain.messages import has_images, question_of

if TYPE_CHECKING:
    from llmthrift_core.attribution import Attribution
    from llmthrift_core.routing.requirements import Requirements


def described(
    fields: Sequence[Mapping[str, Any]],
    system: str,
    bound: Mapping[str, Mapping[str, Any]],
    arguments: Mapping[str, Any],
    *,
    attribution: Attribution,
    required: Requirements,
    max_tier: str | None,
    metadata: Mapping[str, Any],
    run: str | None,
    kept_tokens: Callable[[str], int | None] | None = None,
) -> RouteRequest:
    """The request of a call.

    Args:
        fields: of the messages.
        bound: by tier, what was bound to its model.
        arguments: of the call.
        run: the outermost run around it.
        kept_tokens: of the prompt, by tier, in its provider's prompt cache.
    """
    return RouteRequest(
        question=question_of(fields),
        system=system,
        history_messages=len(fields),
        input_chars=sum(len(f["content"]) if isinstance(f["content"], str) else 0 for f in fields),
        has_tools=any("tools" in each for each in bound.values()) or "tools" in arguments,
        has_images=has_images(fields),
        structured=any("ls_structured_output_format" in each or "response_format" in each for each in bound.values()),
        attribution=attribution,
        max_tier=max_tier,
        required_quality=required.required_quality,
        max_latency_seconds=required.max_latency_seconds,
        run=run,
        tool_calls=Once(partial(_tool_calls, fields)),
        metadata=metadata,
        kept_tokens=kept_tokens,
    )


def _tool_calls(fields: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    """The tools that were called since the last question, in order."""
    found: list[ToolCall] = []
    for each in reversed(fields):
        if each["type"] in ("human", "HumanMessageChunk"):
            break
        found += [ToolCall(str(call.get("name")), call.get("args")) for call in reversed(each.get("tool_calls") or ())]
    return tuple(reversed(found))
