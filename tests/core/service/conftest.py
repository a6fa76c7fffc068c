from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI

from llmthrift_core import Thrift
from llmthrift_core.service import create_app
from llmthrift_core.service.direct.backend import DirectBackend
from llmthrift_core.service.direct.upstream import Upstream
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain.backend import LangChainBackend
from llmthrift_llamaindex.backend import LlamaIndexBackend

KINDS = ["langchain", "direct"]
_kind = ["langchain"]


def models(url: str) -> dict[str, Any]:
    """Two tiers of one provider."""
    names = {"economy": "gpt-4o-mini", "premium": "gpt-4o"}
    return {tier: ChatOpenAI(model=name, base_url=url, api_key="k", max_retries=0) for tier, name in names.items()}


def backend_of(kind: str, thrift: Thrift, url: str, **options: Any) -> Any:
    """Two tiers of one provider, through a framework or without one."""
    names = {"economy": "gpt-4o-mini", "premium": "gpt-4o"}
    if kind == "direct":
        return DirectBackend(thrift, {tier: Upstream(name, url, retries=0) for tier, name in names.items()}, **options)
    if kind == "llamaindex":
        llms = {tier: OpenAI(name, api_base=url, api_key="k", max_retries=0) for tier, name in names.items()}
        return LlamaIndexBackend(thrift, llms, **options)
    return LangChainBackend(thrift, models(url), **options)


@pytest.fixture(autouse=True)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """What `app_of` calls models by; LangChain, where a test says nothing else."""
    _kind[0] = getattr(request, "param", "langchain")
    yield _kind[0]
    _kind[0] = "langchain"


def app_of(thrift: Thrift, provider: LoopbackProvider, **options: Any) -> Any:
    service = {name: options.pop(name) for name in ("api_keys", "on_budget", "limits") if name in options}
    return create_app(thrift, backend=backend_of(_kind[0], thrift, provider.openai_url, **options), **service)


@pytest.fixture
def client(thrift: Thrift, provider: LoopbackProvider) -> Iterator[TestClient]:
    with TestClient(app_of(thrift, provider)) as client:
        yield client
