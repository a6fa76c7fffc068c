"""An answer costs what its model costs, whichever was asked for, through every door."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal

import pytest
from langchain_core.globals import set_llm_cache
from llama_index.core.llms import LLMMetadata
from llama_index.llms.openai import OpenAI

import tests.contracts.doors as doors
from llmthrift_core import Thrift, Usage
from tests.contracts.doors import (
    METERING,
    MODEL,
    uninstall_handlers,
    with_everything,
    with_handler,
    with_llamaindex_everything,
    with_llamaindex_handler,
)

pytestmark = [
    pytest.mark.loopback,
    pytest.mark.filterwarnings("ignore:.*a global LLM cache does not serve streams.*"),
]
FOUND_BY_NAME = ["deepseek-reasoner", "grok-4", "anthropic/claude-sonnet-4.5", "qwen/qwen3-max", "openai/gpt-4o:batch", "sonar"]


@pytest.fixture(autouse=True)
def _no_global_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import llmthrift_langchain.enforcement as unserved

    monkeypatch.setattr(unserved, "_warned", True)
    monkeypatch.setattr(logging.getLogger("llmthrift.ledger"), "disabled", True)  # pytest's own handler writes to a file
    yield
    set_llm_cache(None)
    uninstall_handlers()


def costs(thrift: Thrift, model: str | None) -> tuple[Decimal | None, Decimal | None]:
    """What the one row says that its call cost, and what its tokens cost at the price of a model."""
    thrift.flush()
    (row,) = thrift.ledger.calls()
    usage = Usage(row.input_tokens, row.output_tokens)
    return row.cost_usd, None if model is None else thrift.prices.cost(usage, model).usd


def name_of(door: doors.MakeDoor) -> str:
    return door.__name__.removeprefix("with_")


@pytest.mark.parametrize("how", ["ainvoke", "stream"])
@pytest.mark.parametrize("door", METERING, ids=name_of)
@pytest.mark.parametrize(
    ("served", "price_of"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),  # another maker's: its own price, 100 times the one that was asked for
        ("claude-opus-99", None),  # another maker's, and no list knows what it costs
        ("prod-deployment-7", MODEL),  # a deployment's name: the one that was asked for
    ],
)
def test_an_answer_costs_what_its_model_costs(thrift, provider, monkeypatch, door, how, served, price_of):
    monkeypatch.setattr(provider, "_snapshots", {MODEL: served})
    door(thrift, provider).ask("What is your name?", how)
    paid, right = costs(thrift, price_of)
    assert paid == right
    assert thrift.report(by="model").total["unpriced"] == (price_of is None)


@pytest.mark.parametrize("how", ["invoke", "astream"])
@pytest.mark.parametrize("door", [with_handler, with_everything], ids=name_of)
@pytest.mark.parametrize("model", FOUND_BY_NAME)
def test_langchains_client_of_openai_reaches_other_sellers(thrift, provider, monkeypatch, door, how, model):
    monkeypatch.setattr(doors, "MODEL", model)
    door(thrift, provider).ask("What is your name?", how)
    paid, right = costs(thrift, model)
    assert paid == right > 0


class OpenAILike(OpenAI):
    """A LlamaIndex LLM that, like the integration of this name, does not look for its model among OpenAI's."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model, is_chat_model=True)


@pytest.mark.parametrize("how", ["invoke", "astream"])
@pytest.mark.parametrize("door", [with_llamaindex_handler, with_llamaindex_everything], ids=name_of)
@pytest.mark.parametrize("model", FOUND_BY_NAME)
def test_llamaindexes_client_of_openai_reaches_other_sellers(thrift, provider, monkeypatch, door, how, model):
    monkeypatch.setattr(doors, "MODEL", model)
    monkeypatch.setattr(doors, "OpenAI", OpenAILike)
    door(thrift, provider).ask("What is your name?", how)
    paid, right = costs(thrift, model)
    assert paid == right > 0
