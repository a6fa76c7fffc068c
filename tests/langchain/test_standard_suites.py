"""LangChain's own suites, with nothing overridden but fixtures and capability flags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import AsyncCacheTestSuite, ChatModelIntegrationTests, SyncCacheTestSuite
from langchain_tests.unit_tests import ChatModelUnitTests

from llmthrift_core import Thrift
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, ThriftCache


class TestSyncCache(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, thrift: Thrift) -> BaseCache:
        return ThriftCache(thrift)


class TestAsyncCache(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, thrift: Thrift) -> BaseCache:
        return ThriftCache(thrift)


class TestSyncSemanticCache(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, thrift: Thrift) -> BaseCache:
        return ThriftCache(thrift, semantic=True)


class TestAsyncSemanticCache(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, thrift: Thrift) -> BaseCache:
        return ThriftCache(thrift, semantic=True)


class _Router:
    """A router over two real clients that talk to the loopback provider."""

    @pytest.fixture(autouse=True)
    def _open(self, provider: LoopbackProvider) -> Iterator[None]:
        with Thrift(":memory:") as thrift:
            self._thrift = thrift
            self._provider = provider
            yield

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        def client(model: str) -> ChatOpenAI:
            return ChatOpenAI(model=model, base_url=self._provider.openai_url, api_key="none", stream_usage=True)

        return {
            "thrift": self._thrift,
            "models": {"simple": client("gpt-4o-mini"), "complex": client("gpt-4o")},
            "cache": False,
        }


@pytest.mark.loopback
class TestRouterUnit(_Router, ChatModelUnitTests):
    pass


@pytest.mark.loopback
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema")
class TestRouterIntegration(_Router, ChatModelIntegrationTests):
    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def returns_usage_metadata(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "gpt-4.1-mini"
