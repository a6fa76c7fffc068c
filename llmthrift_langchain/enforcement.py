"""The moment at which a callback handler can refuse a call: at its start, or once the cache has missed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from langchain_core.globals import get_llm_cache
from langchain_core.messages import AIMessage

from llmthrift_langchain.cache import ThriftCache

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift
    from llmthrift_langchain.open_runs import OpenRun

_SAID: Final = ("text", "reasoning", "thinking", "args", "partial_json")
_warned = False


def will_ask_cache(caller: FrameType | None, thrift: Thrift) -> bool:
    """Whether the run that is starting will look into a ThriftCache of this database, so that a free hit must not be refused.

    Args:
        caller: the frame that starts it. A stream asks no cache; in doubt the answer is no, and the call is refused at its start.
    """
    if caller is None or caller.f_code.co_name not in ("generate", "agenerate"):
        return False
    cache = _cache_of(caller.f_locals.get("self"))
    return isinstance(cache, ThriftCache) and cache.thrift.shared is thrift.shared


def count_tool_calls(message: Any) -> int:
    """How many tool calls an answer asks for, those whose arguments cannot be read among them."""
    return len(message.tool_calls) + len(message.invalid_tool_calls) if isinstance(message, AIMessage) else 0


def text_of_event(event: Mapping[str, Any]) -> str:
    """What an event of a "v3" stream adds to the answer: text, reasoning, or arguments of a tool call."""
    delta = event.get("delta") if event.get("event") == "content-block-delta" else None
    values = delta.get("fields", delta) if isinstance(delta, Mapping) else {}
    return "".join(value for name in ("text", "reasoning", "args") if isinstance(value := values.get(name), str))


def text_of_blocks(content: Sequence[Any]) -> str:
    """What a piece of a stream that comes as blocks adds to the answer: text, reasoning, or arguments of a tool call."""
    return "".join(
        block if isinstance(block, str) else "".join(value for name in _SAID if isinstance(value := block.get(name), str))
        for block in content
        if isinstance(block, str | Mapping)
    )


def _cache_of(model: Any) -> Any:
    own = getattr(model, "cache", None)
    return get_llm_cache() if own is None or own is True else own


def warn_of_unserved_stream(run: OpenRun) -> None:
    """Warn, once per process, that a stream was not offered to the global ThriftCache."""
    global _warned
    if _warned or run.looked_up or not run.is_chat:
        return
    from llmthrift_langchain.cache import ThriftCache

    if isinstance(get_llm_cache(), ThriftCache):
        _warned = True
        warnings.warn(
            "a stream passed the global ThriftCache unserved: LangChain consults a cache for invoke and batch only. "
            "Wrap the model to cache its streams: model = thrifty(model, thrift)",
            stacklevel=2,
        )
