"""llmthrift for LlamaIndex: a handler that meters, LLMs that cache, bound and route, embeddings, and retrieved nodes within limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmthrift_llamaindex.embeddings import ThriftEmbedding as ThriftEmbedding
    from llmthrift_llamaindex.handler import ThriftEventHandler as ThriftEventHandler
    from llmthrift_llamaindex.postprocessor import TokenBudgetPostprocessor as TokenBudgetPostprocessor
    from llmthrift_llamaindex.router import RouterLLM as RouterLLM
    from llmthrift_llamaindex.wrapped import thrifty as thrifty

_HOMES = {
    "RouterLLM": "router",
    "ThriftEmbedding": "embeddings",
    "ThriftEventHandler": "handler",
    "TokenBudgetPostprocessor": "postprocessor",
    "thrifty": "wrapped",
}

__all__ = ["RouterLLM", "ThriftEmbedding", "ThriftEventHandler", "TokenBudgetPostprocessor", "thrifty"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("llama_index", "llama_index_instrumentation"):
            raise
        from llmthrift_core.errors import MissingExtraError

        raise MissingExtraError("llamaindex", "llama-index-core") from None
