"""Real clients against the loopback provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI

from llmthrift_core.testing import LoopbackProvider
from tests.core.cache.gptcaches import nothing_is_installed, open_gptcache  # noqa: F401 - fixtures

Client = Callable[..., ChatOpenAI]


@pytest.fixture
def client(provider: LoopbackProvider) -> Client:
    """A ChatOpenAI for a model's name."""

    def make(model: str = "gpt-4o-mini", **options: Any) -> ChatOpenAI:
        given = {"base_url": provider.openai_url, "api_key": "sk-very-secret", "stream_usage": True, "max_retries": 0, **options}
        return ChatOpenAI(model=model, **given)

    return make


@pytest.fixture(autouse=True)
def _no_global_cache() -> Iterator[None]:
    yield
    set_llm_cache(None)
