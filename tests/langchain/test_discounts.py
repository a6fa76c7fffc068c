"""Savings by routing and by the provider's cache add up to the plain price of the model that would have answered."""

from __future__ import annotations

from decimal import Decimal

import pytest
from langchain_openai import ChatOpenAI

from llmthrift_core import Thrift, Usage
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from llmthrift_langchain import ChatRouter

pytestmark = pytest.mark.loopback


def test_a_routed_and_cached_call_adds_up_to_the_baselines_plain_price() -> None:
    question = "What is the capital of France? " * 300
    with (
        LoopbackProvider(lambda asked: Answer("Paris.", cached_tokens=1_024)) as provider,
        Thrift(":memory:") as thrift,
    ):
        models = {
            name: ChatOpenAI(model=model, base_url=provider.openai_url, api_key="k")
            for name, model in (("simple", "gpt-4o-mini"), ("complex", "gpt-4o"))
        }
        router = ChatRouter(thrift, models=models, policy=lambda request: "simple")
        router.invoke(question)
        (billed,) = provider.usage_log
        found = thrift.savings()
        plain = Usage(input_tokens=billed.input_tokens, output_tokens=billed.output_tokens)
        assert found.without_usd == thrift.prices.cost(plain, "gpt-4o").usd
        assert (
            found.spent_usd
            == thrift.prices.cost(
                Usage(input_tokens=billed.input_tokens, output_tokens=billed.output_tokens, cache_read_tokens=1_024), "gpt-4o-mini"
            ).usd
        )
        # 1,024 tokens at gpt-4o's $2.50, of which its cache takes half.
        assert found.prefix_saved_usd == Decimal("0.00128")
