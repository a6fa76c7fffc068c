"""LangChain consults its global cache for invoke and batch only. A stream passes it by: say so once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from langchain_core.globals import get_llm_cache

if TYPE_CHECKING:
    from llmthrift_langchain.open_runs import OpenRun

_warned = False


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
