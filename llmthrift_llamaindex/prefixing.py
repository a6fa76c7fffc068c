"""The marks of a prompt cache in LlamaIndex messages: cache points, as Anthropic's integration takes them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import CacheControl, CachePoint, ChatMessage, TextBlock

from llmthrift_core.cache.keys import canonical_json
from llmthrift_core.calls.prefixing import block_of
from llmthrift_llamaindex.messages import Asked, canonical_messages
from llmthrift_llamaindex.tools import TOOLS

if TYPE_CHECKING:
    from llmthrift_core.prompt_caching.plan import Plan

_AN_HOUR: Final = 3_600


def blocks_of(asked: Asked, said: Mapping[str, Any], model: str) -> list[tuple[Hashable, int]]:
    """The parts of a prompt in the order in which the provider reads them: the tools, then each message. Empty where the application has
    marks of its own, which are its decision, or gives a text instead of messages."""
    if isinstance(asked, str) or any(_is_marked(message) for message in asked):
        return []
    tools = said.get(TOOLS)
    blocks = [block_of(canonical_json(tools).decode(), model)] if tools else []
    return blocks + [block_of(canonical_json(canonical_messages([message])).decode(), model) for message in asked]


def marked(asked: Asked, said: Mapping[str, Any], plan: Plan) -> Asked:
    """The messages with the plan's marks, each at the end of a message that can carry one."""
    if isinstance(asked, str):
        return asked
    changed, before = list(asked), 1 if said.get(TOOLS) else 0
    for mark in plan.marks:
        place = mark - 1 - before
        while place >= 0 and not _takes_mark(changed[place]):
            place -= 1
        if place >= 0:
            changed[place] = _with_mark(changed[place], plan)
    return changed


def _with_mark(message: ChatMessage, plan: Plan) -> ChatMessage:
    is_long = plan.terms is not None and plan.terms.ttl_seconds >= _AN_HOUR
    point = CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h" if is_long else "5m"))
    return message.model_copy(update={"blocks": [*message.blocks, point]})


def _takes_mark(message: ChatMessage) -> bool:
    # The integration sends the text of system messages alone, without what marks it, and keeps no mark in a tool's result.
    last = message.blocks[-1] if message.blocks else None
    return isinstance(last, TextBlock) and bool(last.text) and message.role.value in ("user", "assistant")


def _is_marked(message: ChatMessage) -> bool:
    return "cache_control" in message.additional_kwargs or any(isinstance(block, CachePoint) for block in message.blocks)
