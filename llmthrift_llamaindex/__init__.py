"""llmthrift for LlamaIndex: a handler that meters, LLMs that cache, bound and route, agents within budgets, embeddings, and nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports, require_extra

if TYPE_CHECKING:
    from llmthrift_llamaindex.agents import budgeted as budgeted
    from llmthrift_llamaindex.batch_llm import BatchLLM as BatchLLM
    from llmthrift_llamaindex.batching_llm import BatchingLLM as BatchingLLM
    from llmthrift_llamaindex.batching_llm import batched as batched
    from llmthrift_llamaindex.embeddings import ThriftEmbedding as ThriftEmbedding
    from llmthrift_llamaindex.handler import ThriftEventHandler as ThriftEventHandler
    from llmthrift_llamaindex.postprocessors import ContextPostprocessor as ContextPostprocessor
    from llmthrift_llamaindex.postprocessors import ShorteningPostprocessor as ShorteningPostprocessor
    from llmthrift_llamaindex.postprocessors import TokenBudgetPostprocessor as TokenBudgetPostprocessor
    from llmthrift_llamaindex.router import RouterLLM as RouterLLM
    from llmthrift_llamaindex.shadow import ShadowEventHandler as ShadowEventHandler
    from llmthrift_llamaindex.thrifty_model import thrifty as thrifty
    from llmthrift_llamaindex.tool_results import short_results as short_results

__all__ = [
    "BatchLLM",
    "BatchingLLM",
    "ContextPostprocessor",
    "RouterLLM",
    "ShadowEventHandler",
    "ShorteningPostprocessor",
    "ThriftEmbedding",
    "ThriftEventHandler",
    "TokenBudgetPostprocessor",
    "batched",
    "budgeted",
    "short_results",
    "thrifty",
]

require_extra("llamaindex")

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_llamaindex.agents": ("budgeted",),
        "llmthrift_llamaindex.batch_llm": ("BatchLLM",),
        "llmthrift_llamaindex.batching_llm": ("BatchingLLM", "batched"),
        "llmthrift_llamaindex.embeddings": ("ThriftEmbedding",),
        "llmthrift_llamaindex.handler": ("ThriftEventHandler",),
        "llmthrift_llamaindex.postprocessors": ("ContextPostprocessor", "ShorteningPostprocessor", "TokenBudgetPostprocessor"),
        "llmthrift_llamaindex.router": ("RouterLLM",),
        "llmthrift_llamaindex.shadow": ("ShadowEventHandler",),
        "llmthrift_llamaindex.tool_results": ("short_results",),
        "llmthrift_llamaindex.thrifty_model": ("thrifty",),
    },
)
