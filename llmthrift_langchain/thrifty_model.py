"""`thrifty`: one chat model with cache, budgets and metering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmthrift_core.texts import require_thrift
from llmthrift_langchain.cache import ThriftCache
from llmthrift_langchain.router import ChatRouter

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift


def thrifty(model: Any, thrift: Thrift, *, cache: ThriftCache | bool = True, **options: Any) -> ChatRouter:
    """One chat model with cache, metering and single flight: the one-line way to cached streams.

    Args:
        model: a chat model, a bound chat model, or a name such as "openai:gpt-4o-mini".
        thrift: prices, cache and ledger.
        cache: True for the default policy; a ThriftCache for another one; False to only meter.
        options: as for `ChatRouter`.

    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_core import Thrift
    >>> from llmthrift_langchain import thrifty
    >>> model = thrifty(FakeListChatModel(responses=["one", "two"]), Thrift(":memory:"))
    >>> "".join(chunk.content for chunk in model.stream("Which?")), "".join(chunk.content for chunk in model.stream("Which?"))
    ('one', 'one')
    """
    require_thrift(thrift, "thrifty")
    return ChatRouter(thrift, models={"model": model}, cache=cache, **options)
