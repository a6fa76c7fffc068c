"""llmthrift for LangChain: a callback that meters, a cache, embeddings, a chat model that routes, and middleware for agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.exports import lazy_exports, require_extra

require_extra("langchain")

from llmthrift_langchain.cache import ThriftCache  # noqa: E402 - not before it is known to be possible
from llmthrift_langchain.handler import ThriftCallbackHandler  # noqa: E402
from llmthrift_langchain.process_metering import thrift_callbacks  # noqa: E402
from llmthrift_langchain.router import ChatRouter  # noqa: E402
from llmthrift_langchain.thrifty_model import thrifty  # noqa: E402

if TYPE_CHECKING:
    from llmthrift_langchain.batch_model import BatchChatModel as BatchChatModel
    from llmthrift_langchain.batching_model import BatchingModel as BatchingModel
    from llmthrift_langchain.batching_model import batched as batched
    from llmthrift_langchain.context_compressor import ContextCompressor as ContextCompressor
    from llmthrift_langchain.decision_model import RoutingDecisionModel as RoutingDecisionModel
    from llmthrift_langchain.decision_policy import DecisionPolicy as DecisionPolicy
    from llmthrift_langchain.embeddings import ThriftEmbeddings as ThriftEmbeddings
    from llmthrift_langchain.middleware import ThriftMiddleware as ThriftMiddleware
    from llmthrift_langchain.shadow import ShadowHandler as ShadowHandler
    from llmthrift_langchain.shortening import PromptShortener as PromptShortener
    from llmthrift_langchain.tool_results import ShortResults as ShortResults

__all__ = [
    "BatchChatModel",
    "BatchingModel",
    "ChatRouter",
    "ContextCompressor",
    "DecisionPolicy",
    "PromptShortener",
    "RoutingDecisionModel",
    "ShadowHandler",
    "ShortResults",
    "ThriftCache",
    "ThriftCallbackHandler",
    "ThriftEmbeddings",
    "ThriftMiddleware",
    "batched",
    "thrift_callbacks",
    "thrifty",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "llmthrift_langchain.batch_model": ("BatchChatModel",),
        "llmthrift_langchain.batching_model": ("BatchingModel", "batched"),
        "llmthrift_langchain.context_compressor": ("ContextCompressor",),
        "llmthrift_langchain.decision_model": ("RoutingDecisionModel",),
        "llmthrift_langchain.decision_policy": ("DecisionPolicy",),
        "llmthrift_langchain.embeddings": ("ThriftEmbeddings",),
        "llmthrift_langchain.middleware": ("ThriftMiddleware",),
        "llmthrift_langchain.shadow": ("ShadowHandler",),
        "llmthrift_langchain.shortening": ("PromptShortener",),
        "llmthrift_langchain.tool_results": ("ShortResults",),
    },
    names=__all__,
    needs={
        "llmthrift_langchain.decision_model": ("langchain", "langchain_core.decisions"),
        "llmthrift_langchain.decision_policy": ("langchain", "langchain_core.decisions"),
        "llmthrift_langchain.middleware": ("models", "langchain"),
        "llmthrift_langchain.tool_results": ("models", "langchain"),
    },
)
