"""llmthrift for LangChain: a callback that meters, a cache, and a chat model that routes."""

from llmthrift_langchain.cache import ThriftCache
from llmthrift_langchain.handler import ThriftCallbackHandler, thrift_callbacks
from llmthrift_langchain.router import ChatRouter, thrifty

__all__ = ["ChatRouter", "ThriftCache", "ThriftCallbackHandler", "thrift_callbacks", "thrifty"]
