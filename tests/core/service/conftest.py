from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langchain_openai import ChatOpenAI

from llmthrift_core import Thrift
from llmthrift_core.service import create_app
from llmthrift_core.testing import LoopbackProvider


def models(provider: LoopbackProvider) -> dict[str, Any]:
    """Two tiers of one provider."""
    names = {"economy": "gpt-4o-mini", "premium": "gpt-4o"}
    return {tier: ChatOpenAI(model=name, base_url=provider.openai_url, api_key="k", max_retries=0) for tier, name in names.items()}


def app_of(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    from llmthrift_langchain.backend import LangChainBackend

    service = {name: options.pop(name) for name in ("api_keys", "on_budget", "limits") if name in options}
    return create_app(thrift, backend=LangChainBackend(thrift, models(provider), **options), **service)


@pytest.fixture
def client(thrift: Thrift, provider: LoopbackProvider) -> Iterator[TestClient]:
    with TestClient(app_of(thrift, provider)) as client:
        yield client
