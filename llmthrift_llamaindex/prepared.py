"""What is known of a call of a LlamaIndex model before it is made: whom it is for, and its key in the exact cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import LLM

from llmthrift_core.errors import ConfigurationError
from llmthrift_llamaindex.call import DrivenCall
from llmthrift_llamaindex.codec import encode
from llmthrift_llamaindex.identity import model_of, provider_of
from llmthrift_llamaindex.response import response_of
from llmthrift_llamaindex.thrifty_model import OneModel, ThriftyLLM, thrifty

if TYPE_CHECKING:
    from llmthrift_core.calls.request import CacheUse, Request
    from llmthrift_core.thrift import Thrift


class Prepared:
    """One model, wrapped as `thrifty` does it, for whoever makes its calls in another way.

    Attributes:
        llm: as the application has it. wrapped: the same, for single calls.
    """

    def __init__(self, llm: Any, thrift: Thrift, cache: Any) -> None:
        if isinstance(llm, ThriftyLLM):
            raise ConfigurationError("give the model itself, not one that thrifty() has wrapped: this one has all of that")
        self.llm: LLM = llm
        self.wrapped = thrifty(llm, thrift, cache=cache)
        self.name, self.provider = model_of(llm), provider_of(llm)
        self._thrift = thrift

    def request(self, messages: Sequence[ChatMessage], arguments: Mapping[str, Any]) -> Request:
        """The request of a single call, which is not made."""
        return DrivenCall(OneModel(cast("ThriftyLLM", self.wrapped)), "chat", list(messages), dict(arguments)).request

    def encoded(self, response: ChatResponse) -> bytes | None:
        """An answer as the cache keeps it; None where it must not be kept."""
        found = response_of(response, [], self.name, self.provider, storable=True)
        cache = self._thrift.cache
        if found.flaw is not None and (flaw := found.flaw()) is not None:
            cache.note_not_kept(flaw)
            return None
        try:
            return encode(response)
        except ValueError as error:
            cache.note_uncacheable(str(error))
            return None


def key_of(use: CacheUse | None) -> bytes | None:
    """The key under which an answer is asked for and kept; None where it is not."""
    return None if use is None or use.mode == "off" else use.key
