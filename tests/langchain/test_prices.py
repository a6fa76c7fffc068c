"""What an answer costs through OpenAI's client, whoever it reaches."""

from __future__ import annotations

import pytest

from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.testing import Answer
from llmthrift_core.usage import Usage
from llmthrift_langchain import ThriftCallbackHandler

pytestmark = pytest.mark.loopback


@pytest.mark.parametrize("model", ["deepseek-chat", "grok-4", "llama-3.3-70b-versatile", "anthropic/claude-sonnet-4.5", "gpt-4o-mini"])
def test_a_model_costs_the_same_as_where_only_its_name_is_known(thrift, client, provider, model):
    provider.answerer = lambda question: Answer("yes")
    client(model).invoke("Is it?", {"callbacks": [ThriftCallbackHandler(thrift)]})
    (row,) = thrift.ledger.calls()
    right = PriceCatalog().cost(Usage(row.input_tokens, row.output_tokens), model).usd
    assert row.cost_usd == right
    assert right > 0
